"""Open datasets and print their content as JSON, one line each: `python -P -m tasks.catalog.describe_main cifar10`.

Runs in a separate process, started by `tasks.datasets.manifest`, because opening some datasets imports torch. Exit code
0; 3 if a dataset is missing or unreadable; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backbones.io.card_files import CardNameError
from backbones.io.errors import counted
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import ContentDigests
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.file_states import ReadFile
from tasks.datasets.manifest import Manifest, ReadingProgress, Unreadable, manifest_of
from tasks.datasets.presence import files_place
from tasks.datasets.readers import embedded
from tasks.datasets.registry import notes_on_links, open_dataset

SHOWN = 5
"""Maximum number of broken images that are named."""
PROGRESS_S = 0.3


def describe(
    card: DatasetCard,
    data_root: Path,
    cache_folder: Path | None = None,
    *,
    decode: bool = False,
    thorough: bool = False,
) -> Manifest | Unreadable:
    """Content of the dataset, or the reason why it cannot be opened; with `decode`, problems include broken images."""
    place = files_place(card, data_root, cache_folder) if cache_folder is not None else None
    before = ContentDigests.load(place).known
    digests = ContentDigests.load(place, thorough=thorough, advance=_Progress(card.name))
    try:
        if card.reader == "shapes" and not decode:
            return embedded.manifest(card)
        dataset = open_dataset(card, data_root, cache_folder, digests=digests)
    except DataError as error:
        return Unreadable(name=card.name, error=str(error))
    newest = max([digests.newest_change_ns / 1e9, *(split.newest_change for split in dataset.splits.values())])
    found = manifest_of(dataset, card, newest, digests.record().fingerprint)
    if thorough and place is not None:
        found = found.model_copy(update={"problems": (*found.problems, *_hidden_changes(before, digests))})
    manifest = found.model_copy(update={"notes": (*found.notes, *notes_on_links(dataset.splits.values()))})
    if not decode:
        return manifest
    broken = list(_broken(dataset))
    more = [f"and {len(broken) - SHOWN} more broken images"] if len(broken) > SHOWN else []
    return manifest.model_copy(update={"problems": (*manifest.problems, *broken[:SHOWN], *more)})


def _hidden_changes(before: Mapping[str, ReadFile], digests: ContentDigests) -> Iterator[str]:
    """Description of files whose content changed although size, times and inode did not."""
    changed = [
        path
        for path, one in digests.used.items()
        if path in before and before[path].state == one.state and before[path].digest != one.digest
    ]
    if changed:
        yield (
            f"{counted(len(changed), 'file')} changed although sizes and times are unchanged, "
            f"e.g. {changed[0]}: results measured since then are based on other data; measure again"
        )


@dataclass
class _Progress:
    """Prints the number of files read, a few times per second."""

    name: str
    printed: float = field(default_factory=time.monotonic)
    """Time of the last line on the monotonic clock, in seconds."""

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.printed > PROGRESS_S:
            self.printed = time.monotonic()
            print(ReadingProgress(name=self.name, done=done, total=total).model_dump_json(), flush=True)


def _broken(dataset: Dataset) -> Iterator[str]:
    """Description of all images, and targets of images, that cannot be decoded."""
    for split in dataset.splits.values():
        sources: list[Any] = [split.images, *split.targets.values()]
        for source in sources:
            for index in range(len(source)):
                try:
                    source[index]
                except DataError as error:
                    yield str(error)


def main(arguments: list[str]) -> int:
    """Print one line of JSON per dataset."""
    parser = argparse.ArgumentParser(
        prog="tasks.catalog.describe_main", description="Print the content of datasets as JSON lines."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="dataset, or imagefolder:/path")
    parser.add_argument("--data-root", type=Path, default=Path("data"), metavar="DIR")
    parser.add_argument("--cards", type=Path, action="append", default=[], metavar="DIR", help="folder of your cards")
    parser.add_argument("--stdin", action="store_true", help="read dataset cards from standard input, one JSON a line")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="folder for digests of files")
    parser.add_argument("--thorough", action="store_true", help="read every file, also those with a stored digest")
    parser.add_argument("--decode", action="store_true", help="decode every image and report the broken ones")
    options = parser.parse_args(arguments)
    try:
        catalog = TaskCatalog.load(options.cards)
        cards = [catalog.dataset(name) for name in options.names]
        if options.stdin:
            cards += [DatasetCard.model_validate_json(line) for line in sys.stdin if line.strip()]
    except (CardNameError, ValidationError) as error:
        parser.error(str(error))
    complete = True
    for card in cards:
        answer = describe(card, options.data_root, options.cache, decode=options.decode, thorough=options.thorough)
        complete &= isinstance(answer, Manifest)
        print(answer.model_dump_json(), flush=True)
    return 0 if complete else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
