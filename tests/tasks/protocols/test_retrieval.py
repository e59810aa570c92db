"""Retrieval: equal to plain loops and to scikit-learn, with each query excluded from the gallery; intervals cover."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import average_precision_score

from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.retrieval_parameters import RetrievalParameters
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, Samples
from tasks.metrics.jackknife import GROUPS, percent_interval
from tasks.metrics.rescore import rescore
from tasks.protocols.retrieval import evaluate
from tasks.reporter import SilentReporter
from tests.tasks.memory import peak_bytes
from tests.tasks.protocols.layer_inputs import layer_inputs

Floats = npt.NDArray[np.float64]
PARAMETERS = RetrievalParameters(recalls=(1, 5))


@pytest.fixture(scope="module")
def inputs() -> BankInputs:
    return BankInputs.of(layer_inputs())


def unit(features: Floats) -> Floats:
    rows: Floats = features / np.linalg.norm(features, axis=1, keepdims=True)
    return rows


def plain(features: Floats, labels: npt.NDArray[np.int64]) -> tuple[list[float], list[float], list[int]]:
    """From whole rankings: average precision by scikit-learn, MAP@R and the first relevant rank by a loop."""
    rows = unit(features)
    precisions, at_r, first = [], [], []
    for query, row in enumerate(rows):
        others = np.delete(np.arange(len(rows)), query)
        similarity, right = rows[others] @ row, labels[others] == labels[query]
        precisions.append(100 * average_precision_score(right, similarity))
        order = right[np.argsort(-similarity, kind="stable")]
        count = int(right.sum())
        hits = [order[: rank + 1].mean() for rank in range(count) if order[rank]]
        at_r.append(100 * float(np.sum(hits)) / count)
        first.append(int(np.argmax(order)) + 1)
    return precisions, at_r, first


def test_scores_are_those_of_whole_rankings(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, PARAMETERS, 0, SilentReporter())
    precisions, at_r, first = plain(inputs.test.features[:].astype(np.float64), inputs.test.labels)
    assert outcome.predictions["average_precision"][:, 0] == pytest.approx(np.array(precisions), rel=1e-5)
    assert outcome.predictions["map_at_r"][:, 0] == pytest.approx(np.array(at_r), rel=1e-5)
    assert outcome.predictions["first_rank"][:, 0].tolist() == first
    assert outcome.value == outcome.metrics["map"] == pytest.approx(np.mean(precisions), rel=1e-5)
    assert outcome.metrics["recall@1"] == pytest.approx(100 * np.mean(np.array(first) <= 1))
    assert outcome.metrics["recall@5"] > outcome.metrics["recall@1"]


def test_a_group_that_is_left_out_is_neither_query_nor_gallery(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, PARAMETERS, 0, SilentReporter())
    left = np.arange(len(inputs.test)) % GROUPS != 3
    precisions, at_r, first = plain(inputs.test.features[:][left].astype(np.float64), inputs.test.labels[left])
    for name, expected in (("average_precision", precisions), ("map_at_r", at_r), ("first_rank", first)):
        column = outcome.predictions[name][:, 4]
        assert np.isnan(column[~left]).all()
        assert column[left] == pytest.approx(np.array(expected), rel=1e-5)


def test_training_images_are_ranked_on_request(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, RetrievalParameters(gallery="train"), 0, SilentReporter())
    bank, test = (unit(one.features[:].astype(np.float64)) for one in (inputs.bank, inputs.test))
    expected = [
        100 * average_precision_score(inputs.bank.labels == label, bank @ row)
        for row, label in zip(test, inputs.test.labels, strict=True)
    ]
    assert outcome.predictions["average_precision"][:, 0] == pytest.approx(np.array(expected), rel=1e-5)


def test_equally_similar_images_rank_in_the_order_of_the_dataset_and_single_ones_are_no_queries() -> None:
    warnings: list[str] = []

    class Listener(SilentReporter):
        def warn(self, message: str) -> None:
            warnings.append(message)

    features = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    labels = np.array([0, 1, 0, 2])
    role = Samples(features, labels, np.arange(4))
    outcome = evaluate(
        BankInputs.of(ManyShotInputs(role, role, role, ("a", "b", "c"), "accuracy")), PARAMETERS, 0, Listener()
    )
    assert outcome.predictions["average_precision"][[0, 2], 0].tolist() == [50.0, 100.0]
    assert warnings == ["2 of 4 test images have no image of their class to find: no queries"]
    assert outcome.diagnostics["queries"] == 2


def test_stored_ranks_give_scores_and_interval_again(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, PARAMETERS, 0, SilentReporter())
    rescorer = rescore("retrieval", outcome.predictions)
    assert rescorer is not None
    assert not PROTOCOLS["retrieval"].descriptive
    assert rescorer.metrics(outcome.predictions) == outcome.metrics
    assert rescorer.interval(outcome.predictions, "map") == outcome.interval
    damaged = {**outcome.predictions, "average_precision": outcome.predictions["average_precision"] * 0}
    assert rescorer.metrics(damaged)["map"] == 0.0


def drawn(generator: np.random.Generator, images: int, spread: float) -> BankInputs:
    labels = np.arange(images) % 4
    means = np.random.default_rng(5).standard_normal((4, 8))
    rows = (means[labels] + spread * generator.standard_normal((images, 8))).astype(np.float32)
    role = Samples(rows, labels, np.arange(images))
    return BankInputs.of(ManyShotInputs(role, role, role, ("a", "b", "c", "d"), "accuracy"))


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_intervals_cover_the_expected_score_of_other_images(spread: float) -> None:
    generator = np.random.default_rng(0)
    outcomes = [evaluate(drawn(generator, 60, spread), PARAMETERS, 0, SilentReporter()) for _ in range(100)]
    truth = float(np.mean([outcome.value for outcome in outcomes]))
    covered = np.mean([one.interval.low <= truth <= one.interval.high for one in outcomes])
    assert 0.9 <= covered <= 0.995
    width = np.median([one.interval.high - one.interval.low for one in outcomes])
    assert width < 6 * np.std([one.value for one in outcomes])


def test_an_interval_stays_within_a_hundred_percent() -> None:
    bounds = percent_interval(np.array([99.0, *np.linspace(97, 100, GROUPS)]), 1.0)
    assert bounds.high == 100.0
    assert percent_interval(np.full(11, 100.0), 2.0).low == 98.0


def test_memory_beyond_the_features_does_not_grow_with_the_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.solvers.nearest_neighbours.HELD", 1_024)
    few, many = (drawn(np.random.default_rng(0), images, 1.0) for images in (80, 320))
    small, large = (peak_bytes(partial(evaluate, one, PARAMETERS, 0, SilentReporter())) for one in (few, many))
    assert (large - small) / 240 < 700
