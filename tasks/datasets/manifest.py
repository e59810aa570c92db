"""What a dataset turned out to hold, as a small record that the console can read without numpy or torch.

Making one means opening the dataset, which takes a process with numpy and perhaps torchvision
(`tasks.catalog.describe_main`); it is kept in a cache folder for as long as none of the dataset's files changes.
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
from backbones.io.file_digests import write_if_possible
from backbones.io.subprocess_query import stream_module
from tasks.datasets.card import DatasetCard
from tasks.datasets.file_states import FileRecord
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.presence import files_place, presence, signature

if TYPE_CHECKING:
    from tasks.datasets.dataset import Dataset

DESCRIBE = "tasks.catalog.describe_main"
SECONDS = 1800.0
"""How long the process may take without progress (a slow network disk that lists a hundred thousand images)."""


class SplitFacts(CardModel):
    """One source split: how many images, and the digests that name them and their labels and targets."""

    images: int
    images_digest: str
    labels_digest: str


class Manifest(CardModel):
    """A dataset as it was found. `digest` is `Dataset.manifest_digest`, part of every result's key."""

    name: str
    digest: str
    classes: tuple[str, ...]
    multi_label: bool
    splits: dict[str, SplitFacts]
    problems: tuple[str, ...] = ()
    """Where it differs from what its card says: numbers of images or classes."""
    notes: tuple[str, ...] = ()
    """What a reader of results should know."""
    named_digest: str = ""
    """`digest` as versions before digests of content made it, of the names and sizes of files; empty if unknown."""
    newest_change: float = 0.0
    """The latest change time of its files and folders in seconds since the epoch; 0 where there are none."""
    files_digest: str = ""
    """Names the files that it was made from, and their content (`FileRecord.fingerprint`)."""


class Unreadable(CardModel):
    """Why a dataset could not be opened: one sentence with the path and the way out."""

    name: str
    error: str = Field(min_length=1)


class ReadingProgress(CardModel):
    """A dataset that is pending: how many of its files have been read, of those that have to be."""

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
    """The record of an opened dataset, whose files last changed at `newest_change` (seconds since the epoch)."""
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
    """The kept record, if the dataset is there and every one of its files is as it was; else None.

    Starts no process and reads no data: 100,000 files take about half a second on a local disk.
    """
    try:
        kept = _Kept.model_validate_json(_place(card, data_root, cache_folder).read_bytes())
    except (OSError, ValidationError):
        return None
    if presence(card, data_root).status != "present" or kept.signature != signature(card, data_root):
        return None
    return kept.manifest if _files_hold(kept.manifest, card, data_root, cache_folder) else None


def _files_hold(manifest: Manifest, card: DatasetCard, data_root: Path, cache_folder: Path) -> bool:
    """Whether no file of the dataset changed since the manifest was made; one without files has none to change."""
    if LAYOUTS[card.reader].embedded:
        return True
    record = FileRecord.read(files_place(card, data_root, cache_folder))
    return record is not None and record.fingerprint == manifest.files_digest and record.holds()


def remember_manifest(card: DatasetCard, data_root: Path, cache_folder: Path, manifest: Manifest) -> None:
    """Keep a record under the dataset's present signature. A disk that cannot take it costs time, nothing else."""
    kept = _Kept(signature=signature(card, data_root), manifest=manifest)
    write_if_possible(_place(card, data_root, cache_folder), kept.model_dump_json().encode())


def manifests(
    cards: Iterable[DatasetCard],
    data_root: Path,
    cache_folder: Path,
    on_progress: OnProgress = lambda _progress: None,
) -> dict[str, Answer]:
    """The records of datasets by name: kept ones, and for the others one process that opens them all.

    That process reads the files that are new or may have changed, which takes a while for many.

    A dataset that is missing or cannot be read is answered by `Unreadable`.
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
    """Open datasets in a process of their own, and with `decode` every one of their images.

    Digests of files are remembered in `cache_folder`; `thorough` reads every file, whatever is remembered.
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
        card.name: answers.get(card.name) or Unreadable(name=card.name, error=failure or "it gave no answer")
        for card in cards
    }


def _parsed(line: str) -> Answer | ReadingProgress | None:
    try:
        return LINE.validate_json(line)
    except ValidationError:
        return None


def _changed(card: DatasetCard, dataset: Dataset) -> tuple[str, ...]:
    """Whether images or labels have changed since the dataset was added, as far as the card records."""
    digest = dataset.manifest_digest
    if card.manifest in (None, digest, dataset.named_digest):
        return ()
    return (f"it has changed since it was added: its manifest is {digest[:12]}, and was {str(card.manifest)[:12]}",)


def _place(card: DatasetCard, data_root: Path, cache_folder: Path) -> Path:
    """One file per dataset and data root."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", card.name)[-60:]
    whole = f"{card.name}\0{os.path.abspath(data_root)}"  # noqa: PTH100
    whole += "" if card.orientation == "upright" else f"\0{card.orientation}"
    name = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return cache_folder / "manifests" / f"{readable}.{name}.json"


def differences(card: DatasetCard, classes: int, counts: Mapping[str, int], distinct: int) -> tuple[str, ...]:
    """Where numbers of classes and images differ from the published ones.

    `distinct` is how many different images there are; the card's `all` means these where no split has that name.
    """
    found = {"all": distinct, **counts}
    problems = [] if card.classes in (None, classes) else [f"{classes} classes, published are {card.classes}"]
    for name, published in card.images.items():
        if found.get(name, 0) != published:
            problems.append(f"{found.get(name, 0):,} images in {name}, published are {published:,}")
    return tuple(problems)
