"""The layer curve: equal to nearest neighbours on each block alone, with the best layer selected on validation
images."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tasks.catalog.head_parameters import LayersParameters
from tasks.metrics.rescore import rescore
from tasks.protocols.layers import evaluate
from tasks.reporter import SilentReporter
from tests.tasks.protocols.layer_inputs import layer_inputs

PARAMETERS = LayersParameters(neighbours=5)


def test_every_place_is_what_scikit_learns_neighbours_give_on_that_block_alone() -> None:
    inputs = layer_inputs()
    outcome = evaluate(inputs, PARAMETERS, 0, SilentReporter())
    assert inputs.layers is not None
    labels = np.concatenate([inputs.train.labels, inputs.val.labels])
    for column in inputs.layers.columns:
        place = [(column.block, column.pooling)]
        bank = np.concatenate([inputs.layers.train.select(place)[:], inputs.layers.val.select(place)[:]])
        search = NearestNeighbors(n_neighbors=5, metric="cosine").fit(bank.astype(np.float64))
        distance, index = search.kneighbors(inputs.layers.test.select(place)[:].astype(np.float64))
        votes = np.zeros((len(distance), 3))
        for row, (far, near) in enumerate(zip(distance, index, strict=True)):
            np.add.at(votes[row], labels[near], np.exp((1 - far) / 0.07))
        predicted = outcome.predictions[f"predicted@{column.block}-{column.pooling}"]
        assert np.array_equal(predicted, votes.argmax(axis=1))


def test_the_curve_has_every_place_and_the_best_on_validation_is_the_score() -> None:
    outcome = evaluate(layer_inputs(), PARAMETERS, 0, SilentReporter())
    curve = outcome.diagnostics["curve"]
    assert isinstance(curve, list)
    assert len(curve) == 8
    best = max(curve, key=lambda point: point["validation_score"])  # type: ignore[index,call-overload,arg-type,return-value]
    assert outcome.value == best["score"]  # type: ignore[index,call-overload]
    assert outcome.hyperparameters == {"block": best["block"], "pooling": best["pooling"]}  # type: ignore[index,call-overload]
    assert outcome.interval.low < outcome.value < outcome.interval.high


def test_deeper_blocks_that_carry_more_score_higher() -> None:
    metrics = evaluate(layer_inputs(), PARAMETERS, 0, SilentReporter()).metrics
    assert metrics["accuracy@4-cls"] > metrics["accuracy@1-cls"] + 10


def test_stored_predictions_give_the_whole_curve_again() -> None:
    outcome = evaluate(layer_inputs(), PARAMETERS, 0, SilentReporter())
    rescorer = rescore("layers", outcome.predictions)
    assert rescorer is not None
    again = rescorer.metrics(outcome.predictions)
    assert {name: again[name] for name in outcome.metrics} == pytest.approx(dict(outcome.metrics))
