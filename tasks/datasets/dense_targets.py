"""Targets of dense protocols for an image: class masks, surface normals, depth, or boxes, read when asked for.

A split's targets stand beside its images and labels, by kind (`SourceSplit.targets`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Kind = Literal["masks", "normals", "boxes", "depth", "relevance"]
IGNORED = -1
"""In a mask: no class is known, and the pixel counts neither in training nor in a score."""

Mask = npt.NDArray[np.int16]
"""[h, w] class indices, or `IGNORED`; as large as the image."""
NormalMap = npt.NDArray[np.float32]
"""[h, w, 3] unit vectors, x right, y down, z into the scene; zeros where the direction is not known."""
DepthMap = npt.NDArray[np.float32]
"""[h, w] distances along the optical axis, in metres or in scene units; 0 where the depth is not known."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects of one image.

    `corners` float32 [k, 4] are x0 y0 x1 y1 in pixels, x1 and y1 exclusive; `labels` int64 [k]; `difficult` bool [k]
    marks objects that a detector may find or miss (VOC).
    """

    corners: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Relevance:
    """Images of the database that a query should find, as int64 rows of the split `train`."""

    easy: npt.NDArray[np.int64]
    hard: npt.NDArray[np.int64]
    junk: npt.NDArray[np.int64]
    """Neither right nor wrong."""


TargetT_co = TypeVar("TargetT_co", covariant=True)


class Targets(Protocol[TargetT_co]):
    """One kind of target for every image of a split, by position."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in masks or of boxes; empty for normals."""
        ...

    @property
    def digest(self) -> str:
        """Names all of them: part of the dataset's manifest. Empty where they follow from what names the images."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TargetT_co:
        """The target of the image at that place; raises `DataError` naming the file when it cannot be read."""
        ...


@dataclass(frozen=True, eq=False)
class HeldTargets(Generic[TargetT_co]):
    """Targets in memory."""

    held: tuple[TargetT_co, ...]
    digest: str
    classes: tuple[str, ...] = ()
    frames: tuple[tuple[int, int] | None, ...] = ()
    """Width and height that each target declares to be made for; empty where none does."""

    def frame(self, index: int) -> tuple[int, int] | None:
        """Width and height of the image that the target was made for; None where it does not declare them."""
        return self.frames[index] if self.frames else None

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, index: int) -> TargetT_co:
        return self.held[index]
