"""Result of every reader: named source splits of images with labels and targets, and digests of their content.

A *source split* is one published by the dataset's authors (`train`, `val`, `test`, or `all` for a single one).
Protocols derive the splits they need from these (`tasks.datasets.splits`), so that an image is encoded once for all of
them. Targets of dense protocols are read on access, from `SourceSplit.targets` by kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

Kind = Literal["masks", "normals", "boxes", "depth", "relevance", "keypoint-pairs"]
IGNORED = -1
"""Mask value of pixels without a known class, excluded from training and scores."""

Mask = npt.NDArray[np.int16]
"""[h, w] class indices, or `IGNORED`; of the image's size."""
NormalMap = npt.NDArray[np.float32]
"""[h, w, 3] unit vectors, x right, y down, z into the scene; zeros where unknown."""
DepthMap = npt.NDArray[np.float32]
"""[h, w] distances along the optical axis, in metres or in scene units; 0 where unknown."""
Labels = npt.NDArray[np.int64]
"""[n] class indices; [n, classes] of 0, 1 and `LEFT_OPEN` for multi-label data; [n, 0] where there are targets only."""
LEFT_OPEN = -1
"""Label of a class for which an image is neither a positive nor a negative, e.g. if VOC marks all its objects
difficult."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects of one image.

    `corners` float32 [k, 4] are x0 y0 x1 y1 in pixels, x1 and y1 exclusive; `labels` int64 [k]; `difficult` bool [k]
    marks objects that are not counted (VOC).
    """

    corners: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Relevance:
    """Relevant database images of a query, as int64 rows of the split `train`."""

    easy: npt.NDArray[np.int64]
    hard: npt.NDArray[np.int64]
    junk: npt.NDArray[np.int64]
    """Images that count neither as correct nor as wrong."""


@dataclass(frozen=True, eq=False)
class KeypointPair:
    """Keypoints of an image, and the same points in another image of its split.

    Points float32 [k, 2] are x and y in pixels, a whole number being the middle of a pixel.
    """

    target: int
    """Row of the other image."""
    source_points: npt.NDArray[np.float32]
    target_points: npt.NDArray[np.float32]
    box: tuple[float, float, float, float]
    """x0 y0 x1 y1 of the object in the other image, in pixels."""
    category: int
    """Index in `Targets.classes`."""

    def __str__(self) -> str:
        """Every value, for digests."""
        points = [self.source_points.tolist(), self.target_points.tolist()]
        return f"{self.target} {self.category} {list(self.box)} {points}"


KeypointPairs = tuple[KeypointPair, ...]
"""Pairs whose source is one image; empty for an image that is only a target."""


TargetT_co = TypeVar("TargetT_co", covariant=True)


class Targets(Protocol[TargetT_co]):
    """Targets of one kind for every image of a split, by index."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in masks or of boxes; empty for normals."""
        ...

    @property
    def digest(self) -> str:
        """Digest of all targets, part of the dataset's manifest; empty if they follow from the images."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TargetT_co:
        """Target of an image; raises `DataError` with the file name if it cannot be read."""
        ...


@dataclass(frozen=True, eq=False)
class HeldTargets(Generic[TargetT_co]):
    """Targets in memory."""

    held: tuple[TargetT_co, ...]
    digest: str
    classes: tuple[str, ...] = ()
    frames: tuple[tuple[int, int] | None, ...] = ()
    """Declared image size (width, height) of each target; empty if none declares it."""

    def frame(self, index: int) -> tuple[int, int] | None:
        """Width and height of the image the target was made for; None if not declared."""
        return self.frames[index] if self.frames else None

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, index: int) -> TargetT_co:
        return self.held[index]


class DataError(Exception):
    """The data on disk do not match the card. The message names the path and a fix."""


class ImageSource(Protocol):
    """Images of one source split, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image; raises `DataError` with the file name if it cannot be decoded."""
        ...


@dataclass(frozen=True)
class SourceSplit:
    """Images and labels of one source split.

    `images_digest` depends on the content and order of the images only, so two datasets that label the same images
    differently share their features; `labels_digest` depends on the labels.
    """

    name: str
    images: ImageSource
    labels: Labels
    identifiers: Sequence[str]
    """A stable name per image (its relative path, or `kind/split/index`)."""
    images_digest: str
    labels_digest: str
    targets: Mapping[Kind, Targets[Any]] = field(default_factory=dict)
    """Targets of dense protocols, by kind; one per image."""
    named_digest: str = ""
    """Digest of file names and sizes, as in earlier versions; empty for arrays, and for images that are read
    differently now."""
    newest_change: float = 0.0
    """Latest change time of the files and their folders in seconds since the epoch; 0 without files."""

    @property
    def annotations_digest(self) -> str:
        """Digest of labels and targets; that of the labels if there are no targets."""
        return digest_annotations(self.labels_digest, {kind: one.digest for kind, one in self.targets.items()})

    @property
    def named_annotations_digest(self) -> str:
        """As `annotations_digest`, with the target digests of earlier versions."""
        parts = {kind: getattr(one, "named_digest", one.digest) for kind, one in self.targets.items()}
        return digest_annotations(self.labels_digest, parts)


@dataclass(frozen=True)
class Dataset:
    """A complete dataset."""

    name: str
    classes: tuple[str, ...]
    multi_label: bool
    splits: Mapping[str, SourceSplit]
    notes: tuple[str, ...] = ()
    """Notes for readers of results, e.g. on a derived split. Not part of the identity."""

    @property
    def manifest_digest(self) -> str:
        """Digest of images, labels, classes and splits: part of every result key."""
        parts = [(split.name, split.images_digest, split.annotations_digest) for split in self.splits.values()]
        return digest_manifest(self.classes, parts)

    @property
    def named_digest(self) -> str:
        """Manifest digest of earlier versions, from file names and sizes."""
        parts = [
            (split.name, split.named_digest or split.images_digest, split.named_annotations_digest)
            for split in self.splits.values()
        ]
        return digest_manifest(self.classes, parts)


def digest_annotations(labels: str, targets: Mapping[Kind, str]) -> str:
    """Digest of labels and of targets with a digest; that of the labels without targets."""
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
