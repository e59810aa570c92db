"""Few-shot classification: 5 ways, 5, 20 or 50 shots, 15 queries, 600 episodes, nearest centroid.

Source: paper appendix A.3; few_shot.py of linusericsson/ssl-transfer. There every episode encodes its images again;
here episodes index features that were encoded once, which gives the same accuracies.

Accuracies of random halves of the pool, see `tasks.metrics.pool_splits`: for every draw, each half gives `shots` images
of every class as support, and others of its images are queries. An image's chance of being classified correctly in an
episode of `ways` classes follows from the number of classes whose mean is closer than its own, over all choices of the
others, so classes need not be drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import comb

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.catalog.protocols import FewShotParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import PoolInputs
from tasks.metrics.confidence_intervals import episodes as interval_over_episodes
from tasks.metrics.confidence_intervals import over_pools
from tasks.metrics.outcome import Outcome
from tasks.metrics.pool_splits import COUNTS, SPLITS
from tasks.reporter import Reporter

Indices = npt.NDArray[np.int64]

CACHED_FLOATS, DEVICE_FLOATS = 1 << 20, 1 << 24
"""Number of query feature values gathered at once: 4 MB on a CPU, so that they remain in its cache until they are
multiplied; 64 MB on other devices.
"""
Floats = npt.NDArray[np.float32]

HALVINGS, DRAWS = 160, 4
MOST_CLASSES = 20
"""Maximum number of classes compared at once; more are divided into random groups."""
MOST_QUERIES = 64
"""Queries of a class from one half in one draw."""
EVERY = 20
"""Splits between two progress reports."""


class TooFewImagesError(ValueError):
    """The pool is too small for a single episode."""


@dataclass(frozen=True)
class Episodes:
    """Image indices of each episode.

    `classes` [episodes, ways] are labels, `support` [episodes, ways, shots] and `query` [episodes, ways, queries] are
    rows of the pool. `excluded` are the classes omitted because they have too few images.
    """

    classes: Indices
    support: Indices
    query: Indices
    excluded: tuple[int, ...]


def sample_episodes(
    labels: npt.NDArray[np.integer], *, ways: int, shots: int, queries: int, episodes: int, seed: int
) -> Episodes:
    """Draw episodes from `labels` [n]: distinct classes in an episode, distinct images in a class.

    The draw depends on the arguments alone, so all backbones have the same episodes. Raises TooFewImagesError when
    fewer than `ways` classes have `shots + queries` images, naming the others.
    """
    names, counts = np.unique(labels, return_counts=True)
    usable = counts >= shots + queries
    if usable.sum() < ways:
        raise TooFewImagesError(_shortage(names[~usable], counts[~usable], int(usable.sum()), ways, shots + queries))
    rows = np.argsort(labels, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    generator = np.random.default_rng(seed)
    chosen = np.flatnonzero(usable)[_distinct(generator, np.full(episodes, usable.sum()), ways)]
    picked = _distinct(generator, counts[chosen].ravel(), shots + queries).reshape(episodes, ways, shots + queries)
    images = rows[first[chosen][:, :, None] + picked]
    left_out = tuple(int(name) for name in names[~usable])
    return Episodes(names[chosen].astype(np.int64), images[..., :shots], images[..., shots:], left_out)


def _shortage(names: Indices, counts: Indices, usable: int, ways: int, needed: int) -> str:
    if not len(names):
        return (
            f"the dataset has {usable} classes and an episode {ways}: use a dataset with more classes, or fewer ways "
            f"(`--set few-shot.ways={max(usable, 2)}`)"
        )
    short = ", ".join(f"{name} ({count})" for name, count in zip(names[:20], counts[:20], strict=True))
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (
        f"{usable} classes have the {needed} images that an episode needs per class, {ways} are needed; "
        f"too few images in class {short}{more}: use fewer shots, or a larger pool"
    )


def _distinct(generator: np.random.Generator, sizes: npt.NDArray[np.integer], count: int) -> Indices:
    """For each of `sizes` [r], `count` distinct numbers below it in random order, [r, count].

    The i-th draw is uniform over the remaining numbers: its rank among them is converted to a number by skipping those
    drawn, in ascending order.
    """
    uniform = generator.random((count, len(sizes)))
    taken = np.zeros((0, len(sizes)), dtype=np.int64)
    out = np.empty((count, len(sizes)), dtype=np.int64)
    for draw in range(count):
        number = (uniform[draw] * (sizes - draw)).astype(np.int64)
        for earlier in taken:
            number += number >= earlier
        out[draw] = number
        taken = np.sort(np.concatenate([taken, number[None]]), axis=0)
    return np.ascontiguousarray(out.T)


def episode_accuracies(
    features: npt.NDArray[np.floating] | Tensor, episodes: Episodes, *, device: str = "cpu"
) -> npt.NDArray[np.float64]:
    """Accuracy in percent of every episode [episodes], nearest centroid over `features` [n, d] (float16 or float32)."""
    pool = features if isinstance(features, Tensor) else torch.from_numpy(np.array(features, dtype=np.float32))
    pool = pool.to(device=device, dtype=torch.float32)
    count, ways, queries = episodes.query.shape
    floats = CACHED_FLOATS if pool.device.type == "cpu" else DEVICE_FLOATS
    batch = max(1, floats // (ways * queries * pool.shape[1]))
    images = pool.new_empty(min(batch, count) * ways * queries, pool.shape[1])  # new memory for every batch costs more
    parts = [
        _batch_accuracies(pool, episodes.support[start : start + batch], episodes.query[start : start + batch], images)
        for start in range(0, count, batch)
    ]
    return np.concatenate(parts)


def _batch_accuracies(pool: Tensor, support: Indices, query: Indices, room: Tensor) -> npt.NDArray[np.float64]:
    """Distances |q - c|^2 differ between classes only by |c|^2 - 2 q.c, here about the mean centroid for precision.

    `room` [rows, d] is allocated memory for the query features.
    """
    count, ways, queries = query.shape
    shots = torch.from_numpy(support).to(pool.device).flatten(0, 1)
    centroids = torch.nn.functional.embedding_bag(shots, pool, mode="mean").view(count, ways, -1)
    middle = centroids.mean(dim=1, keepdim=True)
    offsets = centroids - middle
    rows = torch.from_numpy(query.ravel()).to(pool.device)
    torch.index_select(pool, 0, rows, out=room[: len(rows)])  # pool[rows] takes four times as long
    images = room[: len(rows)].view(count, ways * queries, -1)
    closeness = images @ offsets.transpose(1, 2)
    closeness -= (offsets * (middle + 0.5 * offsets)).sum(dim=2)[:, None]
    truth = torch.arange(ways, device=pool.device).repeat_interleave(queries)
    right = (closeness.argmax(dim=2) == truth).double().mean(dim=1)
    return np.asarray(100.0 * right.cpu().numpy(), dtype=np.float64)


Accuracies = npt.NDArray[np.float64]

BLOCK = 100
"""Episodes between two progress reports."""


def evaluate(inputs: PoolInputs, parameters: FewShotParameters, seed: int, reporter: Reporter) -> Outcome:
    """Draw episodes from the pool, classify each one's queries by the nearest class mean, average over episodes.

    The interval is over other pools of images; that over other episodes on this pool, the published one, is a
    diagnostic. Episodes depend on labels, parameters and seed alone: all backbones have the same ones. Raises
    `DataError` if the pool is too small.
    """
    episodes = _drawn(inputs, parameters, seed)
    accuracies = _accuracies(inputs, episodes, reporter)
    halves = _halves(inputs, parameters, seed, reporter)
    predictions: dict[str, npt.NDArray[np.generic]] = {
        "accuracy": accuracies,
        "classes": episodes.classes.astype(np.int32),
    }
    if halves is not None:
        predictions |= {SPLITS: halves[0], COUNTS: halves[1]}
    drawn = interval_over_episodes(accuracies)
    if halves is None:
        reporter.warn("the pool is too small for two halves: the interval is over episodes and not over images")
    return Outcome(
        headline="accuracy",
        metrics={"accuracy": float(accuracies.mean())},
        interval=over_pools(accuracies, *halves) if halves else drawn,
        samples={"pool": len(inputs.pool), "episodes": len(accuracies)},
        diagnostics={
            "episode_deviation": float(accuracies.std()),
            "episode_interval": [drawn.low, drawn.high],
            "excluded_classes": [inputs.classes[number] for number in episodes.excluded],
        },
        predictions=predictions,
    )


def _halves(
    inputs: PoolInputs, parameters: FewShotParameters, seed: int, reporter: Reporter
) -> tuple[Floats, Indices] | None:
    """Accuracies of halves, for the variance over pools; None for a pool that is too small."""
    reporter.phase("halves of the pool", HALVINGS, "splits")
    return split_accuracies(
        inputs.pool.features,
        inputs.pool.labels,
        parameters,
        seed,
        device=inputs.device,
        advance=reporter.advance,
    )


def _drawn(inputs: PoolInputs, parameters: FewShotParameters, seed: int) -> Episodes:
    labels = inputs.pool.labels
    if labels.ndim != 1:
        raise DataError("episodes need one label per image, and this dataset has several: choose linear or knn")
    try:
        return sample_episodes(
            labels,
            ways=parameters.ways,
            shots=parameters.shots,
            queries=parameters.queries,
            episodes=parameters.episodes,
            seed=seed,
        )
    except TooFewImagesError as error:
        raise DataError(str(error)) from error


def _accuracies(inputs: PoolInputs, episodes: Episodes, reporter: Reporter) -> Accuracies:
    total = len(episodes.query)
    reporter.phase("episodes", total, "episodes")
    pool = torch.from_numpy(np.array(inputs.pool.features, dtype=np.float32)).to(inputs.device)
    accuracies = np.empty(total)
    for start in range(0, total, BLOCK):
        block = slice(start, min(start + BLOCK, total))
        part = replace(
            episodes, classes=episodes.classes[block], support=episodes.support[block], query=episodes.query[block]
        )
        accuracies[block] = episode_accuracies(pool, part, device=inputs.device)
        reporter.advance(block.stop - block.start)
        reporter.metric("accuracy", float(accuracies[: block.stop].mean()), step=block.stop)
    return accuracies


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
    found, generator = np.empty((HALVINGS, DRAWS, 2, 2), dtype=np.float32), np.random.default_rng((seed, 2409))
    for split in range(HALVINGS):
        # 0 or 1 for the images of the two halves, 2 for the odd one of a class
        side = np.minimum(_rank_within(pool.place, generator) // pool.half[pool.place], 2)
        for draw in range(DRAWS):
            found[split, draw] = _half_accuracies(images, pool, side, parameters.ways, generator)
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
    counts = np.bincount(group)
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def _half_accuracies(
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
        where = np.full(classes, -1)
        where[group] = np.arange(len(group))
        own = np.flatnonzero(where[pool.place[query]] >= 0)
        right[own] = _chances(images, pool.rows[query[own]], where[pool.place[query[own]]], centroids[:, group], ways)
    cell = 2 * pool.place[query] + side[query]
    weight = 1.0 / (np.bincount(cell, minlength=2 * classes)[cell] * classes)
    halves = [(right * (weight * (side[query] == half))[:, None]).sum(axis=0) for half in (0, 1)]
    return 100.0 * np.stack(halves, axis=1)


def _centroids(images: Tensor, pool: _Pool, side: Indices, support: Indices) -> Tensor:
    """Means [2, classes, d] of every half's support."""
    order = support[np.lexsort((pool.place[support], side[support]))]
    sizes = np.tile(pool.shots, 2)
    rows = torch.from_numpy(pool.rows[order]).to(images.device)
    offsets = torch.from_numpy(np.cumsum(sizes) - sizes).to(images.device)
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
    chances: npt.NDArray[np.float64] = _chance_by_rivals(classes, ways)[closer.cpu().numpy()]
    return chances


@cache
def _chance_by_rivals(classes: int, ways: int) -> npt.NDArray[np.float64]:
    """Chance [classes] that none of the 0 to `classes` - 1 nearer classes is among the others of an episode."""
    every = comb(classes - 1, ways - 1)
    chance = [comb(classes - 1 - rivals, ways - 1) / every for rivals in range(classes)]
    return np.asarray(chance, dtype=np.float32).astype(np.float64)
