"""Scores over several draws of training images, from a jackknife over groups, or over few-shot episodes: differences,
joint variation, and the two intervals of a few-shot accuracy.

k-shot results hold predictions [n, draws]; results of retrieval, clustering and of features' spectra hold a score of
all images and without each of the groups, under `jackknife:METRIC`. Draws and groups are the same for every backbone.

Episodes drawn with replacement share images, so the interval over episodes does not apply to another set of images,
however many episodes are drawn. Runs store accuracies of halves of their pool, from which the interval over images
follows (`tasks.metrics.pool_splits`). For runs of earlier versions, the number of episodes is limited to those without
common images, which is conservative. Source: Lafargue et al.: Oops, I Sampled it Again, arXiv 2409.02850.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.statistics.paired_tests import PairedTest, student
from ssl_console.analysis.statistics.weighted_metrics import Spread
from ssl_console.workspace.result import ResultRecord
from tasks.metrics.outcome import EPISODE_FACTOR, OVER_POOLS
from tasks.metrics.standard_errors import crossed_error, jackknife_error

Arrays = Mapping[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]
OVER_DRAWS = "paired over images and draws"
OVER_GROUPS = "paired jackknife over groups"


def has_draws(arrays: Arrays) -> bool:
    """Whether every image was classified after each of several draws of training images."""
    return "label" in arrays and "predicted" in arrays and arrays["predicted"].ndim == 2


def has_groups(metric: str, arrays: Arrays) -> bool:
    """Whether the scores without each group of images are stored."""
    return len(arrays.get(f"jackknife:{metric}", ())) > 2


def draws_test(first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    """Difference of mean accuracies over other images and other draws, in points; the draws of all seeds count."""
    ours, theirs = (np.concatenate([_right(one) for one in runs], axis=1) for runs in (first, second))
    gaps = ours - theirs
    error, degrees = crossed_error(gaps) if min(gaps.shape) > 1 else (0.0, 1.0)
    return student(float(gaps.mean()), error, degrees, len(gaps), OVER_DRAWS)


def groups_test(metric: str, first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    """Difference of scores, averaged over seeds, over other images."""
    gaps = _averaged(metric, first) - _averaged(metric, second)
    images = next((len(one["index"]) for one in first if "index" in one), len(gaps) - 1)
    return student(float(gaps[0]), jackknife_error(gaps[1:]), len(gaps) - 2, images, OVER_GROUPS)


def spread_of_draws(values: Floats, arrays: Sequence[Arrays]) -> Spread:
    """Scores of several backbones over the same images and draws."""
    right = np.stack([_right(one) for one in arrays])
    centred = right - right.mean(axis=(1, 2), keepdims=True)
    parts = [_directions(centred.mean(axis=2)), _directions(centred.mean(axis=1))]
    return Spread(values, np.concatenate(parts, axis=1))


def spread_of_groups(values: Floats, metric: str, arrays: Sequence[Arrays]) -> Spread:
    """Scores of several backbones over the same groups of images."""
    without = np.stack([_averaged(metric, [one])[1:] for one in arrays])
    groups = without.shape[1]
    return Spread(values, (without - without.mean(axis=1, keepdims=True)) * np.sqrt((groups - 1) / groups))


def _directions(means: Floats) -> Floats:
    """A factor [backbones, backbones] of the covariance of means, from centred `means` [backbones, samples]."""
    samples = means.shape[1]
    size, vectors = np.linalg.eigh(means @ means.T / (samples * max(samples - 1, 1)))
    factor: Floats = vectors * np.sqrt(np.maximum(size, 0.0))
    return factor


def _right(arrays: Arrays) -> Floats:
    """[n, draws] 100 where the predicted class is correct."""
    right: Floats = np.where(arrays["predicted"] == arrays["label"][:, None], 100.0, 0.0)
    return right


def _averaged(metric: str, runs: Sequence[Arrays]) -> Floats:
    averaged: Floats = np.mean([one[f"jackknife:{metric}"].astype(np.float64) for one in runs], axis=0)
    return averaged


@dataclass(frozen=True)
class EpisodeIntervals:
    """Half-widths of both, in percentage points."""

    mean: float
    episodes: float
    """Half-width for the mean over all possible episodes on these images."""
    data: float | None
    """Half-width for the mean on other images of the same kind; None if the pool suffices for fewer than two
    episodes.
    """
    disjoint: int
    """Number of episodes without common images."""
    kept: bool = False
    """Whether the result's own interval is the one over other images."""

    @property
    def beside(self) -> tuple[str, str]:
        """Title and text of the interval that is not the result's own."""
        if self.kept:
            return "other episodes", f"±{self.episodes:.2f} on the same images, as for published scores"
        half = "unknown" if self.data is None else f"±{self.data:.2f}"
        return "other images", f"{half}, from the {self.disjoint} episodes that can be drawn without a common image"


def episode_intervals(
    mean: float, deviation: float, episodes: int, pool: int, *, ways: int, shots: int, queries: int
) -> EpisodeIntervals:
    """Both intervals of the `mean` of `episodes` accuracies of population standard `deviation`, all in percent.

    The episodes were drawn from `pool` images, each with `shots + queries` images of `ways` classes.
    """
    disjoint = min(pool // (ways * (shots + queries)), episodes)
    return EpisodeIntervals(
        mean=mean,
        episodes=EPISODE_FACTOR * deviation / math.sqrt(episodes),
        data=EPISODE_FACTOR * deviation / math.sqrt(disjoint) if disjoint > 1 else None,
        disjoint=disjoint,
    )


def of_record(record: ResultRecord) -> EpisodeIntervals | None:
    """Both intervals of a few-shot result; None for other protocols."""
    sizes = {name: record.parameters.get(name) for name in ("ways", "shots", "queries")}
    deviation = record.diagnostics.get("episode_deviation")
    episodes, pool = record.samples.get("episodes"), record.samples.get("pool")
    if not isinstance(deviation, int | float) or not episodes or not pool:
        return None
    ways, shots, queries = (size for size in sizes.values() if isinstance(size, int))
    found = episode_intervals(record.result.value, deviation, episodes, pool, ways=ways, shots=shots, queries=queries)
    if record.interval_method != OVER_POOLS:
        return found
    return replace(found, data=(record.result.ci_high - record.result.ci_low) / 2, kept=True)
