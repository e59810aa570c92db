"""k-means on rows of unit length: k-means++ initialisation and Lloyd's iterations, in blocks over memory-mapped rows.

Memory use is a block of rows, the centres, and three numbers per row. Sums are products with one-hot matrices, which
are reproducible bit for bit on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.cpu.matmul import matmul_transposed
from tasks.features.shards import FeatureRows
from tasks.solvers.nearest_neighbours import unit_blocks

BLOCK = 4_096
MOST_ITERATIONS = 300
"""As in scikit-learn."""

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Clusters:
    """A clustering at a fixed point, or after `MOST_ITERATIONS`."""

    labels: Indices
    """[n] index of the nearest centre, the first one on a tie."""
    centres: Tensor
    """[k, d] float32."""
    inertia: float
    """Sum of squared distances to the nearest centre."""
    converged: bool


def best_of(
    rows: FeatureRows,
    clusters: int,
    restarts: int,
    generators: Callable[[int], np.random.Generator],
    device: str = "cpu",
) -> Clusters:
    """The clustering of least inertia over several k-means++ initialisations, the first one on a tie.

    `generators` returns the generator of each restart. Raises ValueError for fewer rows than clusters.
    """
    if clusters > len(rows):
        raise ValueError(f"{len(rows)} rows are too few for {clusters} clusters")
    starts = (plus_plus(rows, clusters, generators(number), device) for number in range(restarts))
    return min((lloyd(rows, start) for start in starts), key=lambda found: found.inertia)


def plus_plus(rows: FeatureRows, clusters: int, generator: np.random.Generator, device: str = "cpu") -> Tensor:
    """Centres [k, d] among the rows, each drawn by its squared distance to the earlier ones (Arthur, SODA 2007)."""
    chosen = [int(generator.integers(len(rows)))]
    nearest = np.full(len(rows), np.inf)
    for _ in range(clusters - 1):
        nearest = np.minimum(nearest, _distances(rows, _unit_row(rows, chosen[-1], device)))
        nearest[chosen] = 0.0
        ends = nearest.cumsum()
        point = generator.random() * ends[-1]
        drawn = int(np.searchsorted(ends, point, side="right")) if ends[-1] > 0 else len(set(chosen))
        chosen.append(min(drawn, len(rows) - 1))
    return torch.cat([_unit_row(rows, row, device) for row in chosen])


def lloyd(rows: FeatureRows, centres: Tensor, left_out: npt.NDArray[np.bool_] | None = None) -> Clusters:
    """Lloyd's iterations from `centres` [k, d] until no assignment changes.

    Rows in `left_out` [n] do not move centres but are assigned too. An empty cluster receives the row furthest from its
    centre.
    """
    counted: Floats = np.ones(len(rows)) if left_out is None else np.where(left_out, 0.0, 1.0)
    labels = np.full(len(rows), -1)
    for _ in range(MOST_ITERATIONS):
        step = _step(rows, centres, counted)
        if np.array_equal(step.labels, labels):
            return Clusters(labels, centres, step.inertia, converged=True)
        labels, centres = step.labels, step.moved(rows, centres)
    return Clusters(labels, centres, step.inertia, converged=False)


@dataclass(frozen=True)
class _Step:
    labels: Indices
    distances: Floats
    sums: Tensor
    counts: Tensor
    counted: Floats

    @property
    def inertia(self) -> float:
        return float(self.distances @ self.counted)

    def moved(self, rows: FeatureRows, centres: Tensor) -> Tensor:
        """Mean of each cluster's rows."""
        empty = torch.nonzero(self.counts == 0).flatten().tolist()
        found = (self.sums / self.counts.clamp_min(1.0)[:, None]).float()
        furthest = np.argsort(-self.distances * self.counted, kind="stable")[: len(empty)]
        for number, row in zip(empty, furthest, strict=True):
            found[number] = _unit_row(rows, int(row), str(centres.device))[0]
        return found


def _step(rows: FeatureRows, centres: Tensor, counted: Floats) -> _Step:
    labels, distances = np.empty(len(rows), np.int64), np.empty(len(rows))
    sums = torch.zeros(centres.shape, dtype=torch.float64, device=centres.device)
    counts = torch.zeros(len(centres), dtype=torch.float64, device=centres.device)
    squares = (centres**2).sum(dim=1)
    for first, block in unit_blocks(rows, BLOCK, str(centres.device)):
        part = slice(first, first + len(block))
        gap, label = (squares - 2 * matmul_transposed(block, centres)).min(dim=1)
        weight = torch.from_numpy(counted[part]).to(block.device)
        member = torch.zeros(len(block), len(centres), device=block.device)
        member.scatter_(1, label[:, None], weight.float()[:, None])
        sums += (member.T @ block).double()
        counts += member.sum(dim=0).double()
        labels[part] = label.cpu().numpy()
        distances[part] = (gap + (block**2).sum(dim=1)).clamp_min(0).double().cpu().numpy()
    return _Step(labels, distances, sums, counts, counted)


def _distances(rows: FeatureRows, centre: Tensor) -> Floats:
    """Squared distances [n] to one centre [1, d]."""
    found = np.empty(len(rows))
    for first, block in unit_blocks(rows, BLOCK, str(centre.device)):
        found[first : first + len(block)] = ((block - centre) ** 2).sum(dim=1).double().cpu().numpy()
    return found


def _unit_row(rows: FeatureRows, row: int, device: str) -> Tensor:
    return next(block for _, block in unit_blocks(_OneRow(rows, row), 1, device))


@dataclass(frozen=True)
class _OneRow:
    """A single row of a matrix."""

    rows: FeatureRows
    row: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.rows.shape[1])

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _rows: slice, /) -> npt.NDArray[np.floating] | Tensor:
        return self.rows[self.row : self.row + 1]
