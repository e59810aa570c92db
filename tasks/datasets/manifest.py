"""What a dataset turned out to hold, as a small record that the console can read without numpy or torch.

Making one means opening the dataset, which takes a process with numpy and perhaps torchvision
(`tasks.catalog.describe_main`); it is kept in a cache folder for as long as the dataset's key files do not change.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, TypeAdapter, ValidationError

from backbones.io.card_files import CardModel
from backbones.io.file_digests import write_if_possible
from backbones.io.subprocess_query import last_error_line, run_module
from tasks.datasets.card import DatasetCard
from tasks.datasets.presence import presence, signature

if TYPE_CHECKING:
    from tasks.datasets.dataset import Dataset

DESCRIBE = "tasks.catalog.describe_main"
SECONDS = 1800.0
"""How long listing the files of datasets may take (a slow network disk, a hundred thousand images)."""


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


class Unreadable(CardModel):
    """Why a dataset could not be opened: one sentence with the path and the way out."""

    name: str
    error: str = Field(min_length=1)


Answer = Manifest | Unreadable
ANSWER: TypeAdapter[Manifest | Unreadable] = TypeAdapter(Manifest | Unreadable)


class _Kept(CardModel):
    signature: str
    manifest: Manifest


def manifest_of(dataset: Dataset, card: DatasetCard) -> Manifest:
    """The record of an opened dataset."""
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
            *_changed(card, dataset.manifest_digest),
        ),
        notes=dataset.notes,
    )


def known_manifest(card: DatasetCard, data_root: Path, cache_folder: Path) -> Manifest | None:
    """The kept record, if the dataset is there and its key files are as they were; else None. Starts no process."""
    try:
        kept = _Kept.model_validate_json(_place(card, data_root, cache_folder).read_bytes())
    except (OSError, ValidationError):
        return None
    if presence(card, data_root).status != "present" or kept.signature != signature(card, data_root):
        return None
    return kept.manifest


def remember_manifest(card: DatasetCard, data_root: Path, cache_folder: Path, manifest: Manifest) -> None:
    """Keep a record under the dataset's present signature. A disk that cannot take it costs time, nothing else."""
    kept = _Kept(signature=signature(card, data_root), manifest=manifest)
    write_if_possible(_place(card, data_root, cache_folder), kept.model_dump_json().encode())


def manifests(cards: Iterable[DatasetCard], data_root: Path, cache_folder: Path) -> dict[str, Answer]:
    """The records of datasets by name: kept ones, and for the others one process that opens them all.

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
    fresh = ask(unknown, data_root)
    for card in unknown:
        answer = fresh[card.name]
        if isinstance(answer, Manifest):
            remember_manifest(card, data_root, cache_folder, answer)
    return {**answers, **fresh}


def ask(cards: Sequence[DatasetCard], data_root: Path, *, decode: bool = False) -> dict[str, Answer]:
    """Open datasets in a process of their own, and with `decode` every one of their images."""
    if not cards:
        return {}
    options = ["--stdin", "--data-root", str(data_root), *(["--decode"] if decode else [])]
    lines = "".join(f"{card.model_dump_json()}\n" for card in cards)
    try:
        done = run_module(DESCRIBE, *options, given=lines, seconds=None if decode else SECONDS)
    except subprocess.TimeoutExpired:
        return {
            card.name: Unreadable(name=card.name, error=f"listing the data took over {SECONDS:.0f} s") for card in cards
        }
    answers = _parse(done.stdout.splitlines())
    failure = f"the process that opens datasets failed: {last_error_line(done)}"
    return {card.name: answers.get(card.name) or Unreadable(name=card.name, error=failure) for card in cards}


def _parse(lines: Iterable[str]) -> Mapping[str, Answer]:
    answers: dict[str, Answer] = {}
    for line in lines:
        try:
            answer = ANSWER.validate_json(line)
        except ValidationError:
            continue
        answers[answer.name] = answer
    return answers


def _changed(card: DatasetCard, digest: str) -> tuple[str, ...]:
    """Whether images or labels are others than when the dataset was added."""
    if card.manifest in (None, digest):
        return ()
    return (f"it has changed since it was added: its manifest is {digest[:12]}, and was {str(card.manifest)[:12]}",)


def _place(card: DatasetCard, data_root: Path, cache_folder: Path) -> Path:
    """One file per dataset and data root."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", card.name)[-60:]
    name = hashlib.sha256(f"{card.name}\0{os.path.abspath(data_root)}".encode()).hexdigest()[:16]  # noqa: PTH100
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
