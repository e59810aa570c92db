"""What every reader gives: named source splits of images with labels, and digests that name their content.

A *source split* is what the dataset's authors made (`train`, `val`, `test`, or `all` when there is only one).
Protocols make the splits they need from these (`tasks.datasets.splits`), so that an image is encoded once whoever asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.datasets.dense_targets import Kind, Targets

Labels = npt.NDArray[np.int64]
"""[n] class indices; [n, classes] of 0, 1 and `LEFT_OPEN` for multi-label data; [n, 0] where there are targets only."""
LEFT_OPEN = -1
"""Of an image and a class: neither an example nor a negative, as where VOC marks all objects of the class difficult."""


class DataError(Exception):
    """The data on disk are not what the card says. The message names the path and the way out."""


class ImageSource(Protocol):
    """The images of one source split, by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image; raises `DataError` naming the file when it cannot be decoded."""
        ...


@dataclass(frozen=True)
class SourceSplit:
    """Images and labels of one source split.

    `images_digest` names the content of the images and their order only, so two datasets that label the same images
    differently share their features; `labels_digest` names the labels.
    """

    name: str
    images: ImageSource
    labels: Labels
    identifiers: Sequence[str]
    """One stable name per image (its relative path, or `kind/split/index`)."""
    images_digest: str
    labels_digest: str
    targets: Mapping[Kind, Targets[Any]] = field(default_factory=dict)
    """What dense protocols learn, by kind; as many of each as there are images."""
    named_digest: str = ""
    """Names files by their names and sizes, as versions before digests of content did; empty for arrays, and for images
    that are read in another way than then.
    """
    newest_change: float = 0.0
    """The latest change time of the files and their folders in seconds since the epoch; 0 without files."""

    @property
    def annotations_digest(self) -> str:
        """Names labels and targets together; the labels' own digest where there is nothing else."""
        return digest_annotations(self.labels_digest, {kind: one.digest for kind, one in self.targets.items()})

    @property
    def named_annotations_digest(self) -> str:
        """The same with the digests that earlier versions made of targets."""
        parts = {kind: getattr(one, "named_digest", one.digest) for kind, one in self.targets.items()}
        return digest_annotations(self.labels_digest, parts)


@dataclass(frozen=True)
class Dataset:
    """A dataset that has been found complete."""

    name: str
    classes: tuple[str, ...]
    multi_label: bool
    splits: Mapping[str, SourceSplit]
    notes: tuple[str, ...] = ()
    """What a reader of results should know: a split that had to be derived, say. Not part of the identity."""

    @property
    def manifest_digest(self) -> str:
        """Names images, labels, classes and splits together: part of every result's key."""
        parts = [(split.name, split.images_digest, split.annotations_digest) for split in self.splits.values()]
        return digest_manifest(self.classes, parts)

    @property
    def named_digest(self) -> str:
        """The manifest's digest as earlier versions made it, of the names and sizes of files."""
        parts = [
            (split.name, split.named_digest or split.images_digest, split.named_annotations_digest)
            for split in self.splits.values()
        ]
        return digest_manifest(self.classes, parts)


def digest_annotations(labels: str, targets: Mapping[Kind, str]) -> str:
    """One digest for labels and the targets that have one; the labels' own without targets."""
    named = {kind: digest for kind, digest in targets.items() if digest}
    return digest_lines([labels, *(f"{kind}:{named[kind]}" for kind in sorted(named))]) if named else labels


def digest_manifest(classes: Iterable[str], splits: Iterable[tuple[str, str, str]]) -> str:
    """SHA-256 over class names and, per split, its name and the digests of its images and labels."""
    return digest_lines([*classes, *(":".join(parts) for parts in splits)])


def digest_lines(lines: Iterable[str]) -> str:
    """SHA-256 over lines, as 64 hexadecimal digits."""
    whole = hashlib.sha256()
    for line in lines:
        whole.update(line.encode())
        whole.update(b"\n")
    return whole.hexdigest()


def digest_labels(labels: Labels) -> str:
    """SHA-256 of the label array's shape and values."""
    return hashlib.sha256(str(labels.shape).encode() + np.ascontiguousarray(labels).tobytes()).hexdigest()
