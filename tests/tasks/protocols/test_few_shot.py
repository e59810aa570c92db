"""The few-shot protocol: definition of an episode, interval, and identical episodes for all backbones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tasks.catalog.protocols import FewShotParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import PoolInputs, Samples
from tasks.metrics.outcome import Outcome
from tasks.protocols.few_shot import (
    HALVINGS,
    TooFewImagesError,
    episode_accuracies,
    evaluate,
    sample_episodes,
    split_accuracies,
)
from tasks.reporter import SilentReporter

CLASSES = tuple("abcdefgh")
SMALL = FewShotParameters(shots=5, episodes=150)


def pool(dimension: int = 12, per_class: int = 30, classes: int = 8, noise: float = 1.5) -> PoolInputs:
    generator = np.random.default_rng(5)
    labels = np.repeat(np.arange(classes), per_class)
    means = generator.standard_normal((classes, dimension))
    features = means[labels] + noise * generator.standard_normal((len(labels), dimension))
    return PoolInputs(Samples(features.astype(np.float32), labels, np.arange(len(labels))), CLASSES[:classes])


def by_the_description(inputs: PoolInputs, parameters: FewShotParameters, seed: int) -> npt.NDArray[np.float64]:
    """One episode at a time, as described in the paper."""
    episodes = sample_episodes(
        inputs.pool.labels,
        ways=parameters.ways,
        shots=parameters.shots,
        queries=parameters.queries,
        episodes=parameters.episodes,
        seed=seed,
    )
    features, accuracies = inputs.pool.features.astype(np.float64), []
    for support, query in zip(episodes.support, episodes.query, strict=True):
        centroids = features[support].mean(axis=1)
        distances = ((features[query][:, :, None] - centroids) ** 2).sum(axis=3)
        accuracies.append(100 * (distances.argmin(axis=2) == np.arange(parameters.ways)[:, None]).mean())
    return np.array(accuracies)


def run(inputs: PoolInputs, parameters: FewShotParameters = SMALL, seed: int = 0) -> Outcome:
    return evaluate(inputs, parameters, seed, SilentReporter())


def test_accuracies_equal_the_definition_episode_by_episode() -> None:
    inputs = pool()
    expected = by_the_description(inputs, SMALL, 0)
    outcome = run(inputs)
    assert outcome.predictions["accuracy"] == pytest.approx(expected, abs=1e-4)
    assert 30 < outcome.value < 99


def test_the_papers_interval_is_kept_beside_the_one_over_other_images() -> None:
    inputs = pool()
    expected = by_the_description(inputs, SMALL, 0)
    half, outcome = 1.96 * expected.std() / np.sqrt(150), run(inputs)
    papers = [expected.mean() - half, expected.mean() + half]
    assert outcome.diagnostics["episode_interval"] == pytest.approx(papers, abs=1e-4)
    assert outcome.interval.method == "half-splits of the pool"
    assert outcome.interval.high - outcome.interval.low > 2 * half


def test_halves_measure_what_episodes_measure() -> None:
    outcome = run(pool())
    assert outcome.predictions["split_accuracy"].mean() == pytest.approx(outcome.value, abs=2)
    assert outcome.predictions["split_images"].tolist() == [30] * 8


def test_no_image_is_support_and_query_at_once() -> None:
    """Features without class structure: each image is only near itself, so a repeated one would be classified
    correctly."""
    features = np.random.default_rng(0).standard_normal((240, 400)).astype(np.float32)
    inputs = PoolInputs(Samples(features, np.repeat(np.arange(8), 30), np.arange(240)), CLASSES)
    halves = run(inputs).predictions["split_accuracy"]
    assert halves.mean() == pytest.approx(100 / SMALL.ways, abs=3)


def test_halves_of_many_classes_are_told_apart_in_groups() -> None:
    generator, labels = np.random.default_rng(1), np.repeat(np.arange(45), 12)
    features = generator.standard_normal((45, 16))[labels] + generator.standard_normal((len(labels), 16))
    parameters = FewShotParameters(shots=2, queries=4)
    found = split_accuracies(features.astype(np.float32), labels, parameters, 0)
    assert found is not None
    episodes = sample_episodes(labels, ways=5, shots=2, queries=4, episodes=2000, seed=0)
    whole = episode_accuracies(features.astype(np.float32), episodes).mean()
    assert found[0].mean() == pytest.approx(whole, abs=1)


def test_a_pool_without_two_halves_keeps_the_interval_over_episodes_and_warns() -> None:
    inputs, warned = pool(), []

    class Listener(SilentReporter):
        def warn(self, message: str) -> None:
            warned.append(message)

    keep = np.flatnonzero(np.arange(240) % 30 < 3)
    few = Samples(inputs.pool.features[keep], inputs.pool.labels[keep], inputs.pool.index[keep])
    outcome = evaluate(PoolInputs(few, CLASSES), FewShotParameters(shots=1, queries=2, episodes=20), 0, Listener())
    assert outcome.interval.method == "normal over episodes"
    assert any("too small for two halves" in message for message in warned)


def test_every_backbone_meets_the_same_episodes() -> None:
    narrow, wide = run(pool(dimension=4)), run(pool(dimension=40))
    assert np.array_equal(narrow.predictions["classes"], wide.predictions["classes"])
    assert narrow.value != wide.value


def test_another_seed_draws_other_episodes() -> None:
    inputs = pool()
    first, again, other = run(inputs), run(inputs), run(inputs, seed=1)
    assert np.array_equal(first.predictions["accuracy"], again.predictions["accuracy"])
    assert not np.array_equal(first.predictions["classes"], other.predictions["classes"])


def test_progress_counts_episodes_and_watches_the_running_mean() -> None:
    done: list[int] = []
    curve: list[tuple[float | None, float]] = []

    class Listener(SilentReporter):
        def advance(self, count: int = 1) -> None:
            done.append(count)

        def metric(self, name: str, value: float, step: float | None = None) -> None:
            curve.append((step, value))

    outcome = evaluate(pool(), SMALL, 0, Listener())
    assert sum(done) == 150 + HALVINGS
    assert curve[-1][0] == 150
    assert curve[-1][1] == pytest.approx(outcome.value)


def test_a_pool_with_too_few_images_is_a_data_error_that_says_so() -> None:
    with pytest.raises(DataError, match=r"0 classes have the 65 images .* use fewer shots"):
        run(pool(), FewShotParameters(shots=50))


def test_classes_left_out_are_named() -> None:
    inputs = pool()
    keep = np.flatnonzero((inputs.pool.labels != 3) | (np.arange(240) % 30 < 10))
    reduced = Samples(inputs.pool.features[keep], inputs.pool.labels[keep], inputs.pool.index[keep])
    assert run(PoolInputs(reduced, CLASSES)).diagnostics["excluded_classes"] == ["d"]


def test_several_labels_per_image_are_refused() -> None:
    labels = np.eye(8, dtype=np.int64).repeat(30, axis=0)
    inputs = PoolInputs(Samples(np.zeros((240, 4), np.float32), labels, np.arange(240)), CLASSES)
    with pytest.raises(DataError, match="one label per image"):
        run(inputs)


def test_fewer_classes_than_ways_are_called_that_and_not_too_few_images() -> None:
    with pytest.raises(TooFewImagesError, match="the dataset has 2 classes and an episode 5: use a dataset") as error:
        sample_episodes(np.repeat([0, 1], 50), ways=5, shots=5, queries=15, episodes=3, seed=0)
    assert "in class" not in str(error.value)
