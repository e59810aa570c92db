"""Few-shot classification: 5 ways, 5, 20 or 50 shots, 15 queries, 600 episodes, nearest centroid.

Source: paper appendix A.3; few_shot.py of linusericsson/ssl-transfer. There every episode encodes its images again;
here episodes index features that were encoded once, which gives the same accuracies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from tasks.protocols import few_shot_splits
from tasks.reporter import Reporter

Indices = npt.NDArray[np.int64]

CACHED_FLOATS, DEVICE_FLOATS = 1 << 20, 1 << 24
"""Bytes of query features gathered at once: 4 MB on a CPU, so that they remain in its cache until they are
multiplied; 64 MB on other devices.
"""


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

    `room` is the memory for query features in bytes.
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
) -> tuple[few_shot_splits.Floats, Indices] | None:
    """Accuracies of halves, for the variance over pools; None for a pool that is too small."""
    reporter.phase("halves of the pool", few_shot_splits.SPLITS, "splits")
    return few_shot_splits.split_accuracies(
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
