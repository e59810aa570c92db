"""Paired test of two backbones from the stored predictions of their runs on one task.

Also for scores over several draws of training images, from a jackknife over groups, or over few-shot episodes: their
differences, joint variation, and the two intervals of a few-shot accuracy.

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

from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.analysis.statistics import paired_tests
from ssl_console.analysis.statistics.distributions import normal_two_sided
from ssl_console.analysis.statistics.paired_tests import PairedTest, student
from ssl_console.analysis.statistics.weighted_metrics import Spread, per_sample, statistic
from ssl_console.workspace.result import ResultRecord
from tasks.metrics.outcome import EPISODE_FACTOR, NORMAL_95, OVER_POOLS
from tasks.metrics.pool_splits import COUNTS, SPLITS
from tasks.metrics.standard_errors import crossed_error, jackknife_error

ONE_LABEL = frozenset({"accuracy", "mean-per-class"})
SEVERAL_LABELS = "map11"
GIVEN = ("index", "label", "true_boxes", "true_labels", "colour")
"""Arrays that identify the test samples and their labels: equal for every backbone."""


AGAIN = "`ssl-console run --force` measures it again, from the features that are stored"
Arrays = Mapping[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]
OVER_DRAWS = "paired over images and draws"
OVER_GROUPS = "paired jackknife over groups"


class Unpaired(Exception):  # noqa: N818 - an answer, not a fault
    """Two runs cannot be compared sample by sample; the message contains the reason."""


def paired_test(metric: str, first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    """Test the difference of the first minus the second, each with one set of arrays per seed, in order of seeds.
    Raises Unpaired if the arrays are not of the same samples or not of a kind that can be tested.
    """
    every = [*first, *second]
    if all({"accuracy", "classes"} <= set(arrays) for arrays in every):
        return _episodes(first, second)
    if all(map(has_draws, every)):
        return _over_draws(first, second)
    if metric in ONE_LABEL and all({"label", "predicted"} <= set(arrays) for arrays in every):
        _same(every, ("index", "label"), "test images")
        right, rival = _right(first), _right(second)
        if metric == "accuracy":
            return paired_tests.accuracy(right, rival)
        return paired_tests.mean_per_class(right, rival, _integers(first[0]["label"]))
    if metric == SEVERAL_LABELS and all({"label", "scores"} <= set(arrays) for arrays in every):
        _same(every, ("index", "label"), "test images")
        return paired_tests.average_precision(_scores(first), _scores(second), _integers(first[0]["label"]))
    return _of_images(metric, first, second)


def _over_draws(first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    """Difference of mean accuracies over other images and other draws, in points; the draws of all seeds count."""
    _same([*first, *second], ("index", "label"), "test images")
    if sum(one["predicted"].shape[1] for one in first) != sum(one["predicted"].shape[1] for one in second):
        raise Unpaired("they were measured with different draws of training images")
    ours, theirs = (np.concatenate([_correct_in_draws(one) for one in runs], axis=1) for runs in (first, second))
    gaps = ours - theirs
    error, degrees = crossed_error(gaps) if min(gaps.shape) > 1 else (0.0, 1.0)
    return student(float(gaps.mean()), error, degrees, len(gaps), OVER_DRAWS)


def _over_groups(metric: str, first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    """Difference of scores, averaged over seeds, over other images."""
    groups = {len(arrays[f"jackknife:{metric}"]) for arrays in (*first, *second)}
    if len(groups) > 1:
        raise Unpaired("their images were left out in different groups")
    gaps = _averaged(metric, first) - _averaged(metric, second)
    images = next((len(one["index"]) for one in first if "index" in one), len(gaps) - 1)
    return student(float(gaps[0]), jackknife_error(gaps[1:]), len(gaps) - 2, images, OVER_GROUPS)


def _of_images(metric: str, first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    """Test by values whose mean is the score, or by the score as a function of image weights."""
    every = [*first, *second]
    _same(every, GIVEN, "test images")
    if all(has_groups(metric, arrays) for arrays in every):
        return _over_groups(metric, first, second)
    sizes = len(first), len(second)
    ours, theirs = (
        [values for one in runs if (values := per_sample(metric, one)) is not None] for runs in (first, second)
    )
    if (len(ours), len(theirs)) == sizes:
        return paired_tests.means(np.stack(ours), np.stack(theirs))
    whose, others = ([one for one in (statistic(metric, arrays) for arrays in runs) if one] for runs in (first, second))
    if (len(whose), len(others)) == sizes:
        return paired_tests.weighted(whose, others, len(every[0]["index"]))
    raise Unpaired(f"its runs store nothing from which {metric} can be computed by sample")


def unpaired_test(first: RankingCell, second: RankingCell) -> PairedTest:
    """Test from both intervals, for runs without matching predictions. It ignores correlation over samples, so it is
    less powerful than a paired test.
    """
    difference = first.value - second.value
    half = math.hypot(first.half_width or 0.0, second.half_width or 0.0)
    error = half / NORMAL_95
    p = normal_two_sided(difference / error) if error > 0 else float(difference == 0)
    samples = min(first.n, second.n)
    return PairedTest(difference, difference - half, difference + half, p, error, samples, "intervals, not paired")


def _episodes(first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    """Episodes share images and are not independent samples: runs without stored halves of their pool cannot be
    compared.
    """
    if len(first) != len(second):
        raise Unpaired("they were measured with different seeds, so on different episodes")
    for one, other in zip(first, second, strict=True):
        _same([one, other], ("classes", COUNTS), "episodes")
    if not all(SPLITS in arrays for arrays in (*first, *second)):
        raise Unpaired(f"a run stored no halves of its pool, and episodes share images: {AGAIN}")
    ours, theirs = ([arrays["accuracy"].astype(np.float64) for arrays in runs] for runs in (first, second))
    gaps = [
        one[SPLITS].astype(np.float64) - other[SPLITS].astype(np.float64)
        for one, other in zip(first, second, strict=True)
    ]
    return paired_tests.pools(ours, theirs, gaps, _integers(first[0][COUNTS]))


def _right(runs: Sequence[Arrays]) -> npt.NDArray[np.bool_]:
    return np.stack([arrays["predicted"] == arrays["label"] for arrays in runs])


def _scores(runs: Sequence[Arrays]) -> npt.NDArray[np.float64]:
    return np.stack([arrays["scores"].astype(np.float64) for arrays in runs])


def _integers(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    return labels.astype(np.int64)


def _same(runs: Sequence[Arrays], names: Sequence[str], what: str) -> None:
    for name in names:
        held = [arrays[name] for arrays in runs if name in arrays]
        if any(not np.array_equal(held[0], other) for other in held[1:]):
            raise Unpaired(f"their predictions are not of the same {what}")


def has_draws(arrays: Arrays) -> bool:
    """Whether every image was classified after each of several draws of training images."""
    return "label" in arrays and "predicted" in arrays and arrays["predicted"].ndim == 2


def has_groups(metric: str, arrays: Arrays) -> bool:
    """Whether the scores without each group of images are stored."""
    return len(arrays.get(f"jackknife:{metric}", ())) > 2


def spread_of_draws(values: Floats, arrays: Sequence[Arrays]) -> Spread:
    """Scores of several backbones over the same images and draws."""
    right = np.stack([_correct_in_draws(one) for one in arrays])
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


def _correct_in_draws(arrays: Arrays) -> Floats:
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
    def other_interval(self) -> tuple[str, str]:
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
