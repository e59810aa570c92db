"""Paired test of two backbones from the stored predictions of their runs on one task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.analysis.statistics import paired_tests
from ssl_console.analysis.statistics.distributions import normal_two_sided
from ssl_console.analysis.statistics.draws_and_groups import draws_test, groups_test, has_draws, has_groups
from ssl_console.analysis.statistics.paired_tests import PairedTest
from ssl_console.analysis.statistics.weighted_metrics import per_sample, statistic
from tasks.metrics.outcome import NORMAL_95
from tasks.metrics.pool_splits import COUNTS, SPLITS

Arrays = Mapping[str, npt.NDArray[np.generic]]

ONE_LABEL = frozenset({"accuracy", "mean-per-class"})
SEVERAL_LABELS = "map11"
GIVEN = ("index", "label", "true_boxes", "true_labels", "colour")
"""Arrays that identify the test samples and their labels: equal for every backbone."""


AGAIN = "`ssl-console run --force` measures it again, from the features that are stored"


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
        return _of_one_label(metric, first, second)
    if metric == SEVERAL_LABELS and all({"label", "scores"} <= set(arrays) for arrays in every):
        _same(every, ("index", "label"), "test images")
        return paired_tests.average_precision(_scores(first), _scores(second), _integers(first[0]["label"]))
    return _of_images(metric, first, second)


def _of_one_label(metric: str, first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    right, rival = _right(first), _right(second)
    if metric == "accuracy":
        return paired_tests.accuracy(right, rival)
    return paired_tests.mean_per_class(right, rival, _integers(first[0]["label"]))


def _over_draws(first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    _same([*first, *second], ("index", "label"), "test images")
    if sum(one["predicted"].shape[1] for one in first) != sum(one["predicted"].shape[1] for one in second):
        raise Unpaired("they were measured with different draws of training images")
    return draws_test(first, second)


def _over_groups(metric: str, first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    if len({len(arrays[f"jackknife:{metric}"]) for arrays in (*first, *second)}) > 1:
        raise Unpaired("their images were left out in different groups")
    return groups_test(metric, first, second)


def _of_images(metric: str, first: Sequence[Arrays], second: Sequence[Arrays]) -> PairedTest:
    """Test by values whose mean is the score, or by the score as a function of image weights."""
    every = [*first, *second]
    _same(every, GIVEN, "test images")
    if all(has_groups(metric, arrays) for arrays in every):
        return _over_groups(metric, first, second)
    ours, theirs = ([per_sample(metric, arrays) for arrays in runs] for runs in (first, second))
    if _all_known(*ours, *theirs):
        return paired_tests.means(_stacked(ours), _stacked(theirs))
    whose, others = ([one for one in (statistic(metric, arrays) for arrays in runs) if one] for runs in (first, second))
    if (len(whose), len(others)) == (len(first), len(second)):
        return paired_tests.weighted(whose, others, len(every[0]["index"]))
    raise Unpaired(f"its runs store nothing from which {metric} can be computed by sample")


def _all_known(*arrays: npt.NDArray[np.float64] | None) -> bool:
    return all(array is not None for array in arrays)


def _stacked(arrays: Sequence[npt.NDArray[np.float64] | None]) -> npt.NDArray[np.float64]:
    return np.stack([one for one in arrays if one is not None])


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
