"""Opens datasets and prints what they hold as JSON, one line each: `python -P -m tasks.catalog.describe_main cifar10`.

A process of its own because opening some datasets imports torch; `tasks.datasets.manifest` starts it. Exit code 0, or
3 when a dataset is missing or cannot be read, or 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backbones.io.card_files import CardNameError
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.manifest import Manifest, Unreadable, manifest_of
from tasks.datasets.readers import embedded
from tasks.datasets.registry import open_dataset
from tasks.datasets.symlinks import notes_on_links

SHOWN = 5
"""How many broken images are named."""


def describe(card: DatasetCard, data_root: Path, *, decode: bool = False) -> Manifest | Unreadable:
    """What the dataset holds, or why it cannot be opened; with `decode`, broken images are among the problems."""
    try:
        if card.reader == "shapes" and not decode:
            return embedded.manifest(card)
        dataset = open_dataset(card, data_root)
    except DataError as error:
        return Unreadable(name=card.name, error=str(error))
    found = manifest_of(dataset, card)
    manifest = found.model_copy(update={"notes": (*found.notes, *notes_on_links(dataset.splits.values()))})
    if not decode:
        return manifest
    broken = list(_broken(dataset))
    more = [f"and {len(broken) - SHOWN} more broken images"] if len(broken) > SHOWN else []
    return manifest.model_copy(update={"problems": (*manifest.problems, *broken[:SHOWN], *more)})


def _broken(dataset: Dataset) -> Iterator[str]:
    """The sentence about every image, and every target of one, that cannot be decoded."""
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
        prog="tasks.catalog.describe_main", description="What datasets hold, as JSON lines."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="dataset, or imagefolder:/path")
    parser.add_argument("--data-root", type=Path, default=Path("data"), metavar="DIR")
    parser.add_argument("--cards", type=Path, action="append", default=[], metavar="DIR", help="folder of your cards")
    parser.add_argument("--stdin", action="store_true", help="read dataset cards from standard input, one JSON a line")
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
        answer = describe(card, options.data_root, decode=options.decode)
        complete &= isinstance(answer, Manifest)
        print(answer.model_dump_json(), flush=True)
    return 0 if complete else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
