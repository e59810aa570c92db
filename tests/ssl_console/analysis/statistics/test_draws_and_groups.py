"""Comparisons of results over several draws, and of results with a jackknife: they run, and false alarms are rare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ssl_console.analysis.rank_intervals import ties_with_best
from ssl_console.analysis.ranking import rank
from ssl_console.analysis.statistics.paired_from_predictions import Unpaired, paired_test
from ssl_console.workspace.per_class_accuracy import per_class
from ssl_console.workspace.predictions import Arrays
from tests.ssl_console.analysis.test_rank_intervals import result

Measured = Callable[..., Arrays]
IMAGES, DRAWS, GROUPS = 120, 5, 10


def k_shot(generator: np.random.Generator, hard: npt.NDArray[np.float64], better: float = 0.0) -> Arrays:
    """Correct where the random effects of a draw and of the backbone exceed the difficulty of the image."""
    luck = 0.4 * generator.standard_normal((1, DRAWS)) + better
    wrong = hard[:, None] > luck + generator.standard_normal((IMAGES, DRAWS))
    return {"index": np.arange(IMAGES), "label": np.zeros(IMAGES, np.int64), "predicted": wrong.astype(np.int32)}


def retrieval(generator: np.random.Generator, hard: npt.NDArray[np.float64], better: float = 0.0) -> Arrays:
    values = 50 + 10 * (better - hard + generator.standard_normal(IMAGES))
    groups = np.arange(IMAGES) % GROUPS
    without = [values[groups != number].mean() for number in range(GROUPS)]
    return {"index": np.arange(IMAGES), "jackknife:map": np.array([values.mean(), *without])}


@pytest.mark.parametrize(("metric", "measured"), [("accuracy", k_shot), ("map", retrieval)])
def test_equal_backbones_differ_in_one_of_twenty_comparisons(metric: str, measured: Measured) -> None:
    generator = np.random.default_rng(0)
    alarms = []
    for _ in range(300):
        hard = generator.standard_normal(IMAGES)
        alarms.append(paired_test(metric, [measured(generator, hard)], [measured(generator, hard)]).p_value < 0.05)
    assert 0.01 <= np.mean(alarms) <= 0.08


@pytest.mark.parametrize(("metric", "measured"), [("accuracy", k_shot), ("map", retrieval)])
def test_a_better_backbone_is_found_and_the_other_is_no_tie_with_it(metric: str, measured: Measured) -> None:
    generator = np.random.default_rng(1)
    hard = generator.standard_normal(IMAGES)
    arrays = {"a-t": measured(generator, hard, 1.0), "b-t": measured(generator, hard), "c-t": measured(generator, hard)}
    test = paired_test(metric, [arrays["a-t"]], [arrays["b-t"]])
    assert 0 < test.low < test.difference < test.high
    rows = [result(name, "t", value, metric=metric) for name, value in (("a", 80), ("b", 60), ("c", 60))]
    assert ("b", "t") not in ties_with_best(rank(rows), arrays.get)


def test_other_draws_and_other_groups_are_not_compared_sample_by_sample() -> None:
    generator = np.random.default_rng(2)
    hard = generator.standard_normal(IMAGES)
    one, other = k_shot(generator, hard), k_shot(generator, hard)
    with pytest.raises(Unpaired, match="different draws"):
        paired_test("accuracy", [one], [{**other, "predicted": other["predicted"][:, :3]}])
    one, other = retrieval(generator, hard), retrieval(generator, hard)
    with pytest.raises(Unpaired, match="different groups"):
        paired_test("map", [one], [{**other, "jackknife:map": other["jackknife:map"][:6]}])


def test_predictions_of_several_draws_have_no_recall_by_class(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, **k_shot(np.random.default_rng(0), np.zeros(IMAGES)))  # type: ignore[arg-type]
    assert per_class(path) == ()
