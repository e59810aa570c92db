"""Summary of a dataset's content, readable without numpy or torch.

Computing one means opening the dataset in a process with numpy and perhaps torchvision (`tasks.catalog.describe_main`);
it is stored in a cache folder and valid until one of the dataset's files changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, TypeAdapter, ValidationError

from backbones.io.card_files import CardModel
from backbones.io.errors import counted
from backbones.io.files import write_if_possible
from backbones.io.subprocess_query import stream_module
from tasks.datasets.card import DatasetCard
from tasks.datasets.file_states import FileRecord
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.presence import files_place, presence, signature

if TYPE_CHECKING:
    from tasks.datasets.dataset import Dataset

DESCRIBE = "tasks.catalog.describe_main"
SECONDS = 1800.0
"""Time limit of the process without progress in seconds (a slow network disk lists a hundred thousand images)."""


class SplitFacts(CardModel):
    """A source split: number of images, and the digests of images, and of labels and targets."""

    images: int
    images_digest: str
    labels_digest: str


class Manifest(CardModel):
    """Content of a dataset. `digest` is `Dataset.manifest_digest`, part of every result key."""

    name: str
    digest: str
    classes: tuple[str, ...]
    multi_label: bool
    splits: dict[str, SplitFacts]
    problems: tuple[str, ...] = ()
    """Differences from the card: numbers of images or classes."""
    notes: tuple[str, ...] = ()
    """Notes for readers of results."""
    named_digest: str = ""
    """`digest` of earlier versions, from file names and sizes; empty if unknown."""
    newest_change: float = 0.0
    """Latest change time of its files and folders in seconds since the epoch; 0 without files."""
    files_digest: str = ""
    """Digest of its files and their content (`FileRecord.fingerprint`)."""


class Unreadable(CardModel):
    """Reason why a dataset could not be opened: one sentence with the path and a fix."""

    name: str
    error: str = Field(min_length=1)


class ReadingProgress(CardModel):
    """Progress of a dataset being opened: number of files read, and number to read."""

    name: str
    done: int
    total: int


Answer = Manifest | Unreadable
OnProgress = Callable[[ReadingProgress], None]
LINE: TypeAdapter[Manifest | Unreadable | ReadingProgress] = TypeAdapter(Manifest | Unreadable | ReadingProgress)


class _Kept(CardModel):
    signature: str
    manifest: Manifest


def manifest_of(dataset: Dataset, card: DatasetCard, newest_change: float = 0.0, files_digest: str = "") -> Manifest:
    """Summary of an opened dataset whose files last changed at `newest_change` (seconds since the epoch)."""
    splits = {
        name: SplitFacts(
            images=len(split.images), images_digest=split.images_digest, labels_digest=split.annotations_digest
        )
        for name, split in dataset.splits.items()
    }
    return Manifest(
        name=card.name,
        digest=dataset.manifest_digest,
        classes=dataset.classes,
        multi_label=dataset.multi_label,
        splits=splits,
        problems=(
            *differences(
                card,
                len(dataset.classes),
                {name: facts.images for name, facts in splits.items()},
                len({identifier for split in dataset.splits.values() for identifier in split.identifiers}),
            ),
            *_changed(card, dataset),
        ),
        notes=dataset.notes,
        named_digest=dataset.named_digest,
        newest_change=newest_change,
        files_digest=files_digest,
    )


def known_manifest(card: DatasetCard, data_root: Path, cache_folder: Path) -> Manifest | None:
    """The stored manifest if the dataset exists and all its files are unchanged; else None.

    Starts no process and reads no data: 100,000 files take about half a second on a local disk.
    """
    try:
        kept = _Kept.model_validate_json(_place(card, data_root, cache_folder).read_bytes())
    except (OSError, ValidationError):
        return None
    if presence(card, data_root).status != "present" or kept.signature != signature(card, data_root):
        return None
    if LAYOUTS[card.reader].embedded:
        return kept.manifest
    record = FileRecord.read(files_place(card, data_root, cache_folder))
    unchanged = record is not None and record.fingerprint == kept.manifest.files_digest and record.holds()
    return kept.manifest if unchanged else None


def remember_manifest(card: DatasetCard, data_root: Path, cache_folder: Path, manifest: Manifest) -> None:
    """Store a manifest under the dataset's current signature; disk errors are ignored, as it can be recomputed."""
    kept = _Kept(signature=signature(card, data_root), manifest=manifest)
    write_if_possible(_place(card, data_root, cache_folder), kept.model_dump_json().encode())


def manifests(
    cards: Iterable[DatasetCard],
    data_root: Path,
    cache_folder: Path,
    on_progress: OnProgress = lambda _progress: None,
) -> dict[str, Answer]:
    """Manifests of datasets by name: stored ones, and the others computed by one process.

    That process reads the files that are new or may have changed, which may take long for many files.

    A dataset that is missing or cannot be read yields `Unreadable`.
    """
    answers: dict[str, Answer] = {}
    unknown: list[DatasetCard] = []
    for card in cards:
        found = presence(card, data_root)
        if found.status != "present":
            answers[card.name] = Unreadable(name=card.name, error=f"{found.missing[0]} is missing: {found.advice}")
        elif (kept := known_manifest(card, data_root, cache_folder)) is not None:
            answers[card.name] = kept
        else:
            unknown.append(card)
    fresh = ask(unknown, data_root, cache_folder, on_progress=on_progress)
    for card in unknown:
        answer = fresh[card.name]
        if isinstance(answer, Manifest):
            remember_manifest(card, data_root, cache_folder, answer)
    return {**answers, **fresh}


def ask(
    cards: Sequence[DatasetCard],
    data_root: Path,
    cache_folder: Path | None = None,
    *,
    decode: bool = False,
    thorough: bool = False,
    on_progress: OnProgress = lambda _progress: None,
) -> dict[str, Answer]:
    """Open datasets in a separate process, and with `decode` decode all of their images.

    Digests of files are stored in `cache_folder`; with `thorough` every file is read again.
    """
    if not cards:
        return {}
    options = ["--stdin", "--data-root", str(data_root), *(["--decode"] if decode else [])]
    options += ["--cache", str(cache_folder)] if cache_folder is not None else []
    options += ["--thorough"] if thorough else []
    lines = "".join(f"{card.model_dump_json()}\n" for card in cards)
    answers: dict[str, Answer] = {}

    def take(line: str) -> None:
        answer = _parsed(line)
        if isinstance(answer, ReadingProgress):
            on_progress(answer)
        elif answer is not None:
            answers[answer.name] = answer

    try:
        failure = stream_module(DESCRIBE, *options, given=lines, take=take, silence_s=None if decode else SECONDS)
    except subprocess.TimeoutExpired:
        failure = f"listing the data took over {SECONDS:.0f} s without any progress"
    failure = failure and f"the process that opens datasets failed: {failure}"
    return {
        card.name: answers.get(card.name) or Unreadable(name=card.name, error=failure or "no result") for card in cards
    }


def _parsed(line: str) -> Answer | ReadingProgress | None:
    try:
        return LINE.validate_json(line)
    except ValidationError:
        return None


def _changed(card: DatasetCard, dataset: Dataset) -> tuple[str, ...]:
    """Whether images or labels have changed since the dataset was added, if the card records their digest."""
    digest = dataset.manifest_digest
    if card.manifest in (None, digest, dataset.named_digest):
        return ()
    return (f"it has changed since it was added: its manifest is {digest[:12]}, and was {str(card.manifest)[:12]}",)


def _place(card: DatasetCard, data_root: Path, cache_folder: Path) -> Path:
    """A file per dataset and data root."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", card.name)[-60:]
    whole = f"{card.name}\0{os.path.abspath(data_root)}"  # noqa: PTH100
    whole += "" if card.orientation == "upright" else f"\0{card.orientation}"
    name = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return cache_folder / "manifests" / f"{readable}.{name}.json"


def differences(card: DatasetCard, classes: int, counts: Mapping[str, int], distinct: int) -> tuple[str, ...]:
    """Differences of the numbers of classes and images from the published ones.

    `distinct` is the number of distinct images, compared with the card's `all` if no split has that name.
    """
    found = {"all": distinct, **counts}
    problems = [] if card.classes in (None, classes) else [f"{classes} classes, published are {card.classes}"]
    for name, published in card.images.items():
        if found.get(name, 0) != published:
            problems.append(f"{counted(found.get(name, 0), 'image')} in {name}, published are {published:,}")
    return tuple(problems)
