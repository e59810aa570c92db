"""The nearest-neighbour protocol: roles, headline, interval, predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tasks.catalog.protocols import KnnParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, Samples
from tasks.protocols.knn import evaluate
from tasks.reporter import SilentReporter


def samples(count: int, seed: int, *, multi_label: bool = False) -> Samples:
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    means = np.random.default_rng(99).standard_normal((3, 16))
    features = (means[labels] + 1.2 * generator.standard_normal((count, 16))).astype(np.float32)
    wanted = (np.stack([labels != 2, labels != 0], axis=1) if multi_label else labels).astype(np.int64)
    return Samples(features, wanted, np.arange(count))


@pytest.fixture
def inputs() -> BankInputs:
    roles = ManyShotInputs(samples(90, 1), samples(30, 2), samples(60, 3), ("a", "b", "c"), "accuracy")
    return BankInputs.of(roles)


def test_training_and_validation_images_vote_together(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, KnnParameters(neighbours=(5,), headline=5), 0, SilentReporter())
    bank = np.concatenate([samples(90, 1).features, samples(30, 2).features])
    labels = np.concatenate([samples(90, 1).labels, samples(30, 2).labels])
    distance, index = NearestNeighbors(n_neighbors=5, metric="cosine").fit(bank).kneighbors(samples(60, 3).features)
    votes = np.zeros((60, 3))
    for row, (far, near) in enumerate(zip(distance, index, strict=True)):
        np.add.at(votes[row], labels[near], np.exp((1 - far) / 0.07))
    assert np.array_equal(outcome.predictions["predicted"], votes.argmax(axis=1))


def test_the_headline_is_k_20_and_every_k_is_reported(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, KnnParameters(), 0, SilentReporter())
    assert outcome.headline == "accuracy"
    assert outcome.value == outcome.metrics["accuracy@20"]
    assert {"accuracy@10", "accuracy@20", "accuracy@100", "accuracy@200"} <= set(outcome.metrics)
    assert outcome.interval.low < outcome.value < outcome.interval.high
    assert dict(outcome.samples) == {"train": 90, "val": 30, "test": 60}


def test_predictions_repeat_the_headline(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, KnnParameters(), 0, SilentReporter())
    right = outcome.predictions["predicted"] == outcome.predictions["label"]
    assert 100 * right.mean() == pytest.approx(outcome.value)


def test_more_neighbours_than_images_is_told(inputs: BankInputs) -> None:
    warnings: list[str] = []

    class Listener(SilentReporter):
        def warn(self, message: str) -> None:
            warnings.append(message)

    evaluate(inputs, KnnParameters(), 0, Listener())
    assert warnings == ["only 120 training images: every k above that uses them all"]


def test_multi_label_votes_are_ranked_by_average_precision() -> None:
    train, val, test = (samples(count, seed, multi_label=True) for seed, count in enumerate((90, 30, 60)))
    inputs = BankInputs.of(ManyShotInputs(train, val, test, ("a", "b"), "map11"))
    outcome = evaluate(inputs, KnnParameters(), 0, SilentReporter())
    assert outcome.headline == "map11"
    assert 67 < outcome.value <= 100


def test_a_metric_that_does_not_fit_the_labels_is_refused(inputs: BankInputs) -> None:
    wrong = replace(inputs, metric="map11")
    with pytest.raises(DataError, match="one label per image, which does not fit the metric map11"):
        evaluate(wrong, KnnParameters(), 0, SilentReporter())
