"""Every score of a run is recomputed exactly from its per-sample outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.catalog.protocols import PROTOCOLS, FewShotParameters, KnnParameters, LinearParameters
from tasks.datasets.card import MetricName
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, PoolInputs, Samples
from tasks.metrics.outcome import Outcome
from tasks.metrics.rescore import rescore
from tasks.protocols import few_shot, knn, linear
from tasks.reporter import SilentReporter

CLASSES = 5
COUNT = 240
DIMENSIONS = 12


def samples(seed: int, several: bool = False, labels: int = CLASSES) -> Samples:
    """Images of overlapping classes; the last class may be missing."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, labels, COUNT)
    centres = np.random.default_rng(0).normal(size=(CLASSES, DIMENSIONS))
    features = (centres[label] + 1.5 * generator.normal(size=(COUNT, DIMENSIONS))).astype(np.float32)
    given = (np.eye(CLASSES)[label] + (generator.random((COUNT, CLASSES)) < 0.2) > 0).astype(np.int64)
    return Samples(features, given if several else label, np.arange(COUNT))


def many_shot(metric: MetricName, labels: int = CLASSES) -> ManyShotInputs:
    several = metric == "map11"
    train, val, test = samples(1, several), samples(2, several), samples(3, several, labels)
    return ManyShotInputs(train, val, test, tuple("abcde"), metric)


def of_linear(metric: MetricName, labels: int = CLASSES) -> Outcome:
    return linear.evaluate(many_shot(metric, labels), LinearParameters(strengths=6), 0, SilentReporter())


def of_knn(metric: MetricName, labels: int = CLASSES) -> Outcome:
    parameters = KnnParameters(neighbours=(3, 9), headline=5)
    return knn.evaluate(BankInputs.of(many_shot(metric, labels)), parameters, 0, SilentReporter())


def of_episodes(_metric: MetricName, _labels: int = CLASSES) -> Outcome:
    pool = PoolInputs(samples(4), tuple("abcde"))
    return few_shot.evaluate(pool, FewShotParameters(ways=3, episodes=40), 0, SilentReporter())


PROTOCOL: dict[Callable[..., Outcome], str] = {of_linear: "linear", of_knn: "knn", of_episodes: "few-shot-5"}


@pytest.mark.parametrize("measure", PROTOCOL)
@pytest.mark.parametrize("metric", ["accuracy", "mean-per-class", "map11"])
def test_scores_and_interval_follow_from_the_predictions(measure: Callable[[Any], Outcome], metric: str) -> None:
    outcome = measure(metric)
    way = rescore(PROTOCOL[measure], outcome.predictions)
    assert way is not None
    found, interval = way.metrics(outcome.predictions), way.interval(outcome.predictions, outcome.headline)
    assert {name: found[name] for name in outcome.metrics} == pytest.approx(dict(outcome.metrics), abs=1e-9)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((outcome.interval.low, outcome.interval.high), abs=1e-9)


@pytest.mark.parametrize("measure", [of_linear, of_knn])
def test_a_class_that_no_test_image_has_changes_nothing(measure: Callable[[Any, int], Outcome]) -> None:
    outcome = measure("mean-per-class", CLASSES - 2)
    way = rescore(PROTOCOL[measure], outcome.predictions)
    assert way is not None
    interval = way.interval(outcome.predictions, "mean-per-class")
    assert interval is not None
    assert interval.low == pytest.approx(outcome.interval.low, abs=1e-9)


def test_one_changed_prediction_changes_the_score() -> None:
    outcome = of_knn("accuracy")
    arrays = {**outcome.predictions, "predicted": outcome.predictions["predicted"].copy()}
    wrong = int(np.flatnonzero(arrays["predicted"] == arrays["label"])[0])
    arrays["predicted"][wrong] = (arrays["label"][wrong] + 1) % CLASSES
    way = rescore("knn", arrays)
    assert way is not None
    assert way.metrics(arrays)["accuracy"] == pytest.approx(outcome.metrics["accuracy"] - 100 / COUNT)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_built_in_protocol_declares_a_rescorer_and_it_needs_its_arrays(protocol: str) -> None:
    assert PROTOCOLS[protocol].rescore is not None
    assert rescore(protocol, {"pixels": np.zeros(3)}) is None


def test_predictions_of_a_protocol_that_is_not_installed_are_not_rescored() -> None:
    assert rescore("unheard-of", of_knn("accuracy").predictions) is None
