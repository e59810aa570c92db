"""Correlation of scores that need no training with results: the right pairs, coefficients as scipy gives them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr, weightedtau

from ssl_console.analysis.correlations import known_scores, mean_by_protocol, score_correlations, weighted_tau
from ssl_console.workspace.result import Result
from tests.ssl_console.analysis.test_rank_intervals import result

NAMES = ("a", "b", "c", "d", "e")
LOGME = dict(zip(NAMES, (0.1, 0.5, 0.2, 0.9, 0.4), strict=True))
ACCURACY = dict(zip(NAMES, (50.0, 70.0, 65.0, 90.0, 60.0), strict=True))


def results() -> list[Result]:
    scores = [
        result(name, "transferability/cars", value, metric="logme", protocol="transferability", dataset="cars")
        for name, value in LOGME.items()
    ]
    linear = [result(name, "linear/cars", value, protocol="linear", dataset="cars") for name, value in ACCURACY.items()]
    errors = [
        result(name, "normals/cars", value, protocol="normals", dataset="cars", metric="x", higher_is_better=False)
        for name, value in ACCURACY.items()
    ]
    other = [result(name, "linear/pets", 10.0, protocol="linear", dataset="pets") for name in NAMES]
    return [*scores, *linear, *errors, *other]


def metrics_of(run_id: str) -> dict[str, float]:
    name = run_id.partition("-")[0]
    return {"logme": LOGME[name], "parc": -LOGME[name]} if "transferability" in run_id else {"accuracy": 1.0}


def test_a_score_meets_the_results_on_its_own_dataset_with_their_sign() -> None:
    linear, normals = score_correlations(results(), "logme", metrics_of)
    assert (linear.task, normals.task) == ("linear/cars", "normals/cars")
    expected = spearmanr(list(LOGME.values()), list(ACCURACY.values())).statistic
    assert linear.spearman is not None
    assert normals.spearman is not None
    assert linear.spearman.value == pytest.approx(expected)
    assert normals.spearman.value == pytest.approx(-expected)
    assert linear.spearman.low < expected < linear.spearman.high


def test_every_metric_of_a_describing_protocol_and_every_protocol_is_a_score() -> None:
    assert next(one.score for one in score_correlations(results(), "parc", metrics_of)).startswith("parc of")
    by_task = score_correlations(results(), "linear", metrics_of)
    assert [(one.score, one.task) for one in by_task] == [("linear/cars", "normals/cars")]
    assert score_correlations(results(), "nothing", metrics_of) == []
    assert known_scores(results(), metrics_of) == ["linear", "normals", "logme", "parc"]


def test_means_are_by_protocol() -> None:
    means = mean_by_protocol(score_correlations(results(), "logme", metrics_of))
    assert means["linear"][0] == 1
    assert means["linear"][1] == pytest.approx(-means["normals"][1])


@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_tau_is_scipys(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.permutation(8).tolist(), generator.permutation(8).tolist()
    assert weighted_tau(x, y) == pytest.approx(weightedtau(x, y).statistic)


def test_scores_that_do_not_vary_have_no_coefficient() -> None:
    assert weighted_tau([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert weighted_tau([1.0, 2.0], [1.0, 2.0]) is None
