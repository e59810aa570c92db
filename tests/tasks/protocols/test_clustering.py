"""Clustering: equal to scikit-learn's k-means and scores, independent of labels, with intervals over other images."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tasks.catalog.retrieval_parameters import ClusteringParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, Samples
from tasks.metrics.rescore import rescore
from tasks.metrics.retrieval import adjusted_rand_index, contingency, normalised_mutual_information
from tasks.protocols.clustering import evaluate
from tasks.reporter import SilentReporter
from tasks.solvers.kmeans import best_of, lloyd, plus_plus
from tests.tasks.memory import peak_bytes

PARAMETERS = ClusteringParameters(restarts=3)
CLASSES = ("a", "b", "c", "d")


def drawn(images: int, seed: int, spread: float = 0.6) -> BankInputs:
    labels = np.arange(images) % 4
    means = np.random.default_rng(5).standard_normal((4, 6))
    rows = means[labels] + spread * np.random.default_rng(seed).standard_normal((images, 6))
    role = Samples(rows.astype(np.float32), labels, np.arange(images))
    return BankInputs.of(ManyShotInputs(role, role, role, CLASSES, "accuracy"))


def unit(inputs: BankInputs) -> npt.NDArray[np.floating]:
    rows = inputs.test.features[:]
    unit_rows: npt.NDArray[np.floating] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit_rows


def test_iterations_end_where_scikit_learns_do_from_the_same_start() -> None:
    inputs = drawn(200, 1)
    start = plus_plus(inputs.test.features, 4, np.random.default_rng(0))
    found = lloyd(inputs.test.features, start)
    other = KMeans(4, init=start.numpy(), n_init=1, tol=0.0, algorithm="lloyd").fit(unit(inputs))
    assert found.converged
    assert np.array_equal(found.labels, other.labels_)
    assert found.inertia == pytest.approx(other.inertia_, rel=1e-5)


def test_a_cluster_without_rows_takes_the_furthest_row_and_the_best_start_counts() -> None:
    rows = np.array([[1, 0], [1, 0.1], [0, 1], [-1, 0]], np.float32)
    found = lloyd(rows, torch.tensor([[1.0, 0.0], [5.0, 5.0], [5.0, 5.0]]))
    assert sorted(np.bincount(found.labels).tolist()) == [1, 1, 2]
    every = [lloyd(rows, plus_plus(rows, 2, np.random.default_rng(seed))).inertia for seed in range(5)]
    assert best_of(rows, 2, 5, np.random.default_rng).inertia == min(every)
    with pytest.raises(ValueError, match="4 rows are too few for 5 clusters"):
        best_of(rows, 5, 1, np.random.default_rng)


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_scikit_learns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, 5, 60), generator.integers(0, 3, 60)
    table = contingency(first, second)
    assert normalised_mutual_information(table) == pytest.approx(100 * normalized_mutual_info_score(first, second))
    assert adjusted_rand_index(table) == pytest.approx(100 * adjusted_rand_score(first, second))


def test_equal_partitions_agree_whatever_their_numbers() -> None:
    labels = np.arange(20) % 4
    table = contingency(3 - labels, labels)
    assert normalised_mutual_information(table) == pytest.approx(100.0)
    assert adjusted_rand_index(table) == pytest.approx(100.0)
    assert normalised_mutual_information(contingency(labels * 0, labels * 0)) == 100.0


def test_stored_clusters_give_scores_and_interval_again() -> None:
    inputs = drawn(120, 2)
    outcome = evaluate(inputs, PARAMETERS, 0, SilentReporter())
    cluster = outcome.predictions["cluster"][:, 0]
    assert outcome.value == pytest.approx(100 * normalized_mutual_info_score(inputs.test.labels, cluster))
    assert outcome.metrics["ari"] == pytest.approx(100 * adjusted_rand_score(inputs.test.labels, cluster))
    rescorer = rescore("clustering", outcome.predictions)
    assert rescorer is not None
    assert rescorer.metrics(outcome.predictions) == outcome.metrics
    assert rescorer.interval(outcome.predictions, "nmi") == outcome.interval


def test_the_same_seed_gives_the_same_clusters() -> None:
    inputs = drawn(120, 2, spread=2.0)
    one, other = (evaluate(inputs, PARAMETERS, 4, SilentReporter()) for _ in range(2))
    assert np.array_equal(one.predictions["cluster"], other.predictions["cluster"])


def test_as_many_images_as_classes_are_refused() -> None:
    with pytest.raises(DataError, match="4 test images of as many classes cannot be clustered"):
        evaluate(drawn(4, 0), PARAMETERS, 0, SilentReporter())


@pytest.mark.parametrize("spread", [0.3, 0.7])
def test_intervals_cover_the_expected_score_of_other_images(spread: float) -> None:
    outcomes = [evaluate(drawn(100, 10 + seed, spread), PARAMETERS, 0, SilentReporter()) for seed in range(40)]
    truth = float(np.mean([one.value for one in outcomes]))
    assert np.mean([one.interval.low <= truth <= one.interval.high for one in outcomes]) >= 0.9


def test_memory_beyond_the_features_grows_by_a_few_numbers_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.solvers.kmeans.BLOCK", 100)
    few, many = drawn(200, 0), drawn(600, 0)
    one = ClusteringParameters(restarts=1)
    small, large = (peak_bytes(partial(evaluate, inputs, one, 0, SilentReporter())) for inputs in (few, many))
    assert (large - small) / 400 < 600
