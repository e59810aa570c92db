"""First and second moments of features, in total and by groups, computed in one pass. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tasks.features.shards import StoredRows

Floats = npt.NDArray[np.float64]
BLOCK = 4_096
GROUPS = 8


@dataclass(frozen=True)
class Moments:
    """Sums over images in float64."""

    count: int
    gram: Floats
    """[d, d] sum of outer products, not centred."""
    class_sums: Floats
    """[classes, d]."""
    class_counts: Floats
    """[classes]."""

    @property
    def mean(self) -> Floats:
        """[d]."""
        mean: Floats = self.class_sums.sum(axis=0) / self.count
        return mean

    @property
    def covariance(self) -> Floats:
        """[d, d], divided by the number of images."""
        covariance: Floats = self.gram / self.count - np.outer(self.mean, self.mean)
        return covariance

    def __sub__(self, other: Moments) -> Moments:
        return Moments(
            self.count - other.count,
            self.gram - other.gram,
            self.class_sums - other.class_sums,
            self.class_counts - other.class_counts,
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.gram + other.gram,
            self.class_sums + other.class_sums,
            self.class_counts + other.class_counts,
        )


def grouped_moments(
    features: StoredRows,
    labels: npt.NDArray[np.integer],
    rows: npt.NDArray[np.int64],
    classes: int,
    device: str = "cpu",
) -> list[Moments]:
    """Moments of jackknife groups (every eighth of the selected rows, and so on), without empty groups."""
    chosen = [rows[first::GROUPS] for first in range(GROUPS)]
    return [_moments(features, labels, one, classes, device) for one in chosen if len(one)]


def jackknife_arrays(groups: list[Moments], scores: Mapping[str, Callable[[Moments], float]]) -> dict[str, Floats]:
    """By `jackknife:NAME`, the score of all images followed by the scores without each group."""
    whole = total(groups)
    parts = [whole, *(whole - one for one in groups if one.count < whole.count)]
    return {f"jackknife:{name}": np.array([score(part) for part in parts]) for name, score in scores.items()}


def _moments(
    features: StoredRows, labels: npt.NDArray[np.integer], rows: npt.NDArray[np.int64], classes: int, device: str
) -> Moments:
    width = features.shape[1]
    gram = torch.zeros(width, width, dtype=torch.float64, device=device)
    sums = torch.zeros(classes, width, dtype=torch.float64, device=device)
    for start in range(0, len(rows), BLOCK):
        chosen = rows[start : start + BLOCK]
        block = torch.from_numpy(features.take(chosen)).to(device).double()
        gram += block.T @ block
        sums.index_add_(0, torch.from_numpy(labels[chosen].astype(np.int64)).to(device), block)
    counts = np.bincount(labels[rows], minlength=classes).astype(np.float64)
    return Moments(len(rows), gram.cpu().numpy(), sums.cpu().numpy(), counts)


def total(groups: list[Moments]) -> Moments:
    """Moments of all groups together."""
    whole = groups[0]
    for one in groups[1:]:
        whole = whole + one
    return whole
