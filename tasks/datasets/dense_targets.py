"""Targets of dense protocols for an image: class masks, surface normals, depth, or boxes, read on access.

They are stored in `SourceSplit.targets`, by kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Kind = Literal["masks", "normals", "boxes", "depth", "relevance", "keypoint-pairs"]
IGNORED = -1
"""Mask value of pixels without a known class, excluded from training and scores."""

Mask = npt.NDArray[np.int16]
"""[h, w] class indices, or `IGNORED`; of the image's size."""
NormalMap = npt.NDArray[np.float32]
"""[h, w, 3] unit vectors, x right, y down, z into the scene; zeros where unknown."""
DepthMap = npt.NDArray[np.float32]
"""[h, w] distances along the optical axis, in metres or in scene units; 0 where unknown."""


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
