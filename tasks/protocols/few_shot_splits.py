"""Accuracies of a few-shot pool's random halves: see `tasks.metrics.pool_splits`.

For every draw, each half gives `shots` images of every class as support, and others of its images are queries. An
image's chance of being classified correctly in an episode of `ways` classes follows from the number of classes whose
mean is closer than its own, over all choices of the others, so classes need not be drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.catalog.protocols import FewShotParameters

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

SPLITS, DRAWS = 160, 4
MOST_CLASSES = 20
"""Maximum number of classes compared at once; more are divided into random groups."""
MOST_QUERIES = 64
"""Queries of a class from one half in one draw."""
EVERY = 20
"""Splits between two progress reports."""


@dataclass(frozen=True)
class _Pool:
    """Images by class: `rows` of the pool, and the class of each, 0 to `classes` - 1."""

    rows: Indices
    place: Indices
    counts: Indices
    half: Indices
    """Images of every class in one half."""
    shots: Indices
    """Support images of every class in one half: fewer than requested if a half would have no queries left."""


def split_accuracies(
    features: npt.NDArray[np.floating] | Tensor,
    labels: npt.NDArray[np.integer],
    parameters: FewShotParameters,
    seed: int,
    *,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda _splits: None,
) -> tuple[Floats, Indices] | None:
    """Accuracies in percent [splits, draws, 2, 2] of `features` [n, d], and the number of images of every class.

    Only classes with enough images for an episode take part. The halves depend on labels, parameters and seed alone.
    None when fewer than `ways` classes have four images, so that both halves have support and queries.
    """
    pool = _pool(labels, parameters.shots, parameters.shots + parameters.queries)
    if len(pool.counts) < parameters.ways:
        return None
    images = features if isinstance(features, Tensor) else torch.from_numpy(np.array(features, dtype=np.float32))
    images = images.to(device=device, dtype=torch.float32)
    images = images - images.mean(dim=0)
    found, generator = np.empty((SPLITS, DRAWS, 2, 2), dtype=np.float32), np.random.default_rng((seed, 2409))
    for split in range(SPLITS):
        side = _sides(pool, generator)
        for draw in range(DRAWS):
            found[split, draw] = _accuracies(images, pool, side, parameters.ways, generator)
        if (split + 1) % EVERY == 0:
            advance(EVERY)
    return found, pool.counts


def _pool(labels: npt.NDArray[np.integer], shots: int, needed: int) -> _Pool:
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    usable = counts >= max(needed, 4)
    number = np.where(usable, np.cumsum(usable) - 1, -1)[inverse]
    rows = np.flatnonzero(number >= 0)
    half = counts[usable] // 2
    return _Pool(rows, number[rows], counts[usable], half, np.minimum(shots, half - 1))


def _rank_within(group: Indices, generator: np.random.Generator) -> Indices:
    """Random rank of every element among those of its group, from 0."""
    order = np.lexsort((generator.random(len(group)), group))
    ordered = group[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))
    return rank


def _sides(pool: _Pool, generator: np.random.Generator) -> Indices:
    """0 or 1 for the images of the two halves, 2 for the odd one of a class."""
    found: Indices = np.minimum(_rank_within(pool.place, generator) // pool.half[pool.place], 2)
    return found


def _accuracies(
    images: Tensor, pool: _Pool, side: Indices, ways: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """One draw: accuracy in percent [2, 2] by the half of the support and by the half of the queries."""
    classes = len(pool.counts)
    rank, shots = _rank_within(3 * pool.place + side, generator), pool.shots[pool.place]
    support = np.flatnonzero((rank < shots) & (side < 2))
    query = np.flatnonzero((rank >= shots) & (rank < shots + MOST_QUERIES) & (side < 2))
    centroids = _centroids(images, pool, side, support)
    right = np.empty((len(query), 2))
    for group in np.array_split(
        generator.permutation(classes), max(1, min(-(-classes // MOST_CLASSES), classes // ways))
    ):
        own = np.flatnonzero(np.isin(pool.place[query], group))
        where = np.argsort(group)[np.searchsorted(np.sort(group), pool.place[query[own]])]
        right[own] = _chances(images, pool.rows[query[own]], where, centroids[:, group], ways)
    cell = 2 * pool.place[query] + side[query]
    weight = 1.0 / (np.bincount(cell, minlength=2 * classes)[cell] * classes)
    halves = [(right * (weight * (side[query] == half))[:, None]).sum(axis=0) for half in (0, 1)]
    return 100.0 * np.stack(halves, axis=1)


def _centroids(images: Tensor, pool: _Pool, side: Indices, support: Indices) -> Tensor:
    """Means [2, classes, d] of every half's support."""
    order = support[np.lexsort((pool.place[support], side[support]))]
    starts = np.cumsum(np.r_[0, np.tile(pool.shots, 2)[:-1]])
    rows = torch.from_numpy(pool.rows[order]).to(images.device)
    offsets = torch.from_numpy(starts).to(images.device)
    means = torch.nn.functional.embedding_bag(rows, images, offsets, mode="mean")
    return means.view(2, len(pool.counts), -1)


def _chances(images: Tensor, rows: Indices, own: Indices, centroids: Tensor, ways: int) -> npt.NDArray[np.float64]:
    """Chance [queries, 2] of a correct answer under each half's `centroids` [2, classes, d]; `own` is the true one."""
    halves, classes, width = centroids.shape
    flat = centroids.reshape(halves * classes, width)
    wanted = images[torch.from_numpy(rows).to(images.device)]
    near = (wanted @ flat.T - 0.5 * (flat * flat).sum(dim=1)).view(len(rows), halves, classes)
    true = torch.from_numpy(own).to(images.device)[:, None, None].expand(-1, halves, 1)
    closer = (near > near.gather(2, true)).sum(dim=2)
    every = comb(classes - 1, ways - 1)
    chance = torch.tensor([comb(classes - 1 - rivals, ways - 1) / every for rivals in range(classes)])
    return np.asarray(chance.to(torch.float64)[closer.cpu()].numpy(), dtype=np.float64)
