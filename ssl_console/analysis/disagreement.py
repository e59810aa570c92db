"""Test images that one backbone classifies correctly and another wrongly. Pure; needs numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssl_console.workspace.predictions import Arrays


@dataclass(frozen=True)
class SampleAnswer:
    """One test image, and the predictions of both backbones."""

    position: int
    """Index in the test set."""
    label: int
    first: int
    second: int


@dataclass(frozen=True)
class Disagreement:
    """Two backbones on the same test images."""

    only_first: tuple[SampleAnswer, ...]
    """Number of images that only the first classifies correctly."""
    only_second: tuple[SampleAnswer, ...]
    both: int
    neither: int

    @property
    def images(self) -> int:
        """All test images."""
        return len(self.only_first) + len(self.only_second) + self.both + self.neither


def disagreement(first: Arrays | None, second: Arrays | None) -> Disagreement | str:
    """Compare the predicted classes image by image; if that is impossible, the reason."""
    if first is None or second is None:
        return "the predictions of a run are missing"
    if any(
        not {"label", "predicted", "index"} <= set(arrays) or arrays["predicted"].ndim != 1
        for arrays in (first, second)
    ):
        return "this task has no single predicted class for each test image"
    if first["label"].ndim != 1:
        return "this task has several labels for each test image"
    if any(not np.array_equal(first[name], second[name]) for name in ("index", "label")):
        return "the two runs were not tested on the same images"
    labels = first["label"]
    right = first["predicted"] == labels, second["predicted"] == labels
    rows = list(zip(labels.tolist(), first["predicted"].tolist(), second["predicted"].tolist(), strict=True))

    def chosen(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[SampleAnswer, ...]:
        return tuple(SampleAnswer(position, *rows[position]) for position in np.flatnonzero(mask).tolist())

    return Disagreement(
        chosen(right[0] & ~right[1]),
        chosen(right[1] & ~right[0]),
        int((right[0] & right[1]).sum()),
        int((~right[0] & ~right[1]).sum()),
    )
