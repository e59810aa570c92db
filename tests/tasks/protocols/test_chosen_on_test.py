"""What a choice on the test images would have given is measured next to the score, and changes nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.catalog.protocols import ColourParameters, KnnParameters, LinearParameters
from tasks.catalog.retrieval_parameters import RobustnessParameters
from tasks.datasets.dataset import Dataset
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, PixelTargets, Samples
from tasks.metrics.outcome import Json, Outcome, chosen_on_test
from tasks.metrics.reconstruction import explained
from tasks.protocols import colour, knn, linear, robustness
from tasks.protocols.finetune import protocol as finetune
from tasks.reporter import SilentReporter
from tasks.solvers.quick_classifiers import Ridge
from tasks.training import test_readings
from tasks.training.test_readings import affordable, reading_steps
from tests.tasks.protocols.test_finetune import QUICK, inputs_for, scenes

__all__ = ["scenes"]


def roles(spread: float = 2.5) -> ManyShotInputs:
    """Three classes that overlap, so that the choice matters."""
    means = np.random.default_rng(9).standard_normal((3, 12))

    def samples(count: int, seed: int) -> Samples:
        labels = np.arange(count) % 3
        noise = np.random.default_rng(seed).standard_normal((count, 12))
        return Samples((means[labels] + spread * noise).astype(np.float32), labels, np.arange(count))

    return ManyShotInputs(samples(60, 1), samples(30, 2), samples(90, 3), ("a", "b", "c"), "accuracy")


def on_test(outcome: Outcome) -> Mapping[str, Json]:
    found = outcome.diagnostics["chosen_on_test"]
    assert isinstance(found, dict)
    return found


def test_the_best_c_on_test_images_is_that_of_fits_on_training_images_alone() -> None:
    inputs = roles()
    parameters = LinearParameters(strengths=7, strength_low=-3, strength_high=3, extend_grid=False)
    outcome = linear.evaluate(inputs, parameters, 0, SilentReporter())
    found = on_test(outcome)
    curve = outcome.diagnostics["validation_curve"]
    assert isinstance(curve, list)
    accuracies = {}
    for point in curve:
        assert isinstance(point, list)
        strength = float(point[0])  # type: ignore[arg-type]
        regression = LogisticRegression(C=strength, max_iter=5000, tol=1e-8)
        regression.fit(inputs.train.features.astype(np.float64), inputs.train.labels)
        accuracies[strength] = 100 * regression.score(inputs.test.features.astype(np.float64), inputs.test.labels)
    one_image = 100 / 90 + 1e-6
    assert found["score"] == pytest.approx(max(accuracies.values()), abs=one_image)
    assert found["selected"] == pytest.approx(accuracies[outcome.hyperparameters["C"]], abs=one_image)  # type: ignore[index]
    assert (found["candidates"], found["score"] >= found["selected"]) == (len(curve), True)  # type: ignore[operator]


def test_test_labels_have_no_influence_on_the_selected_c() -> None:
    inputs = roles()
    shuffled = replace(
        inputs, test=replace(inputs.test, labels=np.random.default_rng(0).permutation(inputs.test.labels))
    )
    one, two = (
        linear.evaluate(given, LinearParameters(strengths=12), 0, SilentReporter()) for given in (inputs, shuffled)
    )
    assert one.hyperparameters == two.hyperparameters
    assert on_test(one)["score"] != on_test(two)["score"]


def test_the_published_solver_records_it_too() -> None:
    parameters = LinearParameters(strengths=6, solver="published", extend_grid=False)
    found = on_test(linear.evaluate(roles(), parameters, 0, SilentReporter()))
    assert found["candidates"] == 6
    assert found["score"] >= found["selected"]  # type: ignore[operator]


def test_the_best_k_and_temperature_on_test_images_are_those_of_a_count_by_hand() -> None:
    inputs = BankInputs.of(roles())
    outcome = knn.evaluate(inputs, KnnParameters(neighbours=(5, 10), headline=10), 0, SilentReporter())
    bank, queries = (
        part / np.linalg.norm(part, axis=1, keepdims=True)
        for part in (np.asarray(inputs.bank.features[: len(inputs.bank)]), np.asarray(inputs.test.features[:90]))
    )
    similarity = queries @ bank.T
    order = np.argsort(-similarity, axis=1, kind="stable")
    scores = {}
    for count in (5, 10):
        for temperature in knn.TEMPERATURES:
            near = order[:, :count]
            weights = np.exp(np.take_along_axis(similarity, near, axis=1) / temperature)
            votes = np.stack([(weights * (inputs.bank.labels[near] == one)).sum(axis=1) for one in range(3)], axis=1)
            scores[count, temperature] = 100 * np.mean(votes.argmax(axis=1) == inputs.test.labels)
    found = on_test(outcome)
    assert found["score"] == pytest.approx(max(scores.values()))
    assert found["selected"] == outcome.value == pytest.approx(scores[10, 0.07])
    assert found["candidates"] == len(scores)


def test_the_best_of_errors_is_the_smallest() -> None:
    found = chosen_on_test([0.4, 0.3, 0.5], ["a", "b", "c"], 0.4, higher_is_better=False)
    assert (found["score"], found["choice"]) == (0.3, "b")


def test_scoring_the_test_images_during_a_training_costs_at_most_a_twentieth_of_it() -> None:
    for steps, batch, images in ((5000, 64, 10_000), (5000, 64, 25_250), (40, 32, 200), (100, 64, 30)):
        readings = reading_steps(steps, affordable(3 * steps * batch, images))
        assert len(readings) * images <= 0.05 * 3 * steps * batch
        assert len(readings) < test_readings.MOST_READINGS
        assert all(0 < step < steps for step in readings)
    assert len(reading_steps(5000, affordable(3 * 5000 * 64, 1_880))) == test_readings.MOST_READINGS - 1


def test_scores_on_test_images_during_finetuning_leave_the_training_as_it_is(
    tmp_path: Path,
    scenes: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters = replace(QUICK, rates=(0.05,), augmentation="off")
    outcomes = []
    for cost in (0.0, 10.0):
        monkeypatch.setattr(test_readings, "READING_COST", cost)
        inputs = inputs_for(tmp_path / str(cost), scenes)
        outcomes.append(finetune.evaluate(inputs, parameters, 0, SilentReporter()))
    without, read = outcomes
    assert "chosen_on_test" not in without.diagnostics
    assert np.array_equal(without.predictions["logits"], read.predictions["logits"])
    assert (on_test(read)["candidates"], on_test(read)["selected"]) == (parameters.steps, read.value)
    assert on_test(read)["score"] >= read.value  # type: ignore[operator]


def test_the_best_c_on_shifted_images_is_reported_for_robustness_and_selects_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = roles()
    noise = np.random.default_rng(5).standard_normal(inputs.test.features.shape)
    shifted = Samples((inputs.test.features + 2 * noise).astype(np.float32), inputs.test.labels, inputs.test.index)
    inputs = replace(inputs, shifts={"outside": shifted})
    parameters = RobustnessParameters(strengths=5)
    outcome = robustness.evaluate(inputs, parameters, 0, SilentReporter())
    found = on_test(outcome)
    assert found["score"] >= found["selected"]  # type: ignore[operator]
    accuracies = []
    for strength in 10.0 ** np.linspace(-6, 5, 5):
        regression = LogisticRegression(C=strength, max_iter=5000, tol=1e-8)
        regression.fit(inputs.train.features.astype(np.float64), inputs.train.labels)
        accuracies.append(100 * regression.score(shifted.features.astype(np.float64), shifted.labels))
    assert found["score"] == pytest.approx(max(accuracies), abs=2 * 100 / 90)
    monkeypatch.setattr(robustness, "MOST_PRODUCTS", 0)
    without = robustness.evaluate(inputs, parameters, 0, SilentReporter())
    assert "chosen_on_test" not in without.diagnostics
    assert (without.metrics, without.hyperparameters) == (outcome.metrics, outcome.hyperparameters)


def test_every_setting_of_a_finetuning_is_scored_on_test_images_where_this_is_cheap(
    tmp_path: Path, scenes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = replace(QUICK, rates=(0.05, 0.005), augmentation="off")
    outcomes = []
    for cost in (0.0, 10.0):
        monkeypatch.setattr(test_readings, "READING_COST", cost)
        inputs = inputs_for(tmp_path / str(cost), scenes)
        outcomes.append(finetune.evaluate(inputs, parameters, 0, SilentReporter()))
    without, read = outcomes
    assert "setting_chosen_on_test" not in without.diagnostics
    assert without.hyperparameters == read.hyperparameters
    found = read.diagnostics["setting_chosen_on_test"]
    assert isinstance(found, dict)
    settings = read.diagnostics["settings"]
    assert isinstance(settings, list)
    assert found["candidates"] == len(settings)
    assert found["score"] >= found["selected"]  # type: ignore[operator]


def test_the_best_penalty_on_test_images_is_that_of_every_final_regression() -> None:
    random = np.random.default_rng(2)
    given = roles()
    weights = random.standard_normal((12, 3))
    parts = (given.train, given.val, given.test)
    made = [samples.features @ weights + 3 * random.standard_normal((len(samples), 3)) for samples in parts]
    inputs = replace(given, pixel_targets=PixelTargets(*made))
    parameters = ColourParameters(low=-3, high=3, penalties=4)
    outcome = colour.evaluate(inputs, parameters, 0, SilentReporter())
    rows = np.concatenate([given.train.features, given.val.features])
    final = Ridge.of(rows, np.concatenate(made[:2]))
    scores = [explained(final.predict(given.test.features, penalty), made[2]) for penalty in np.logspace(-3, 3, 4)]
    found = on_test(outcome)
    assert found["score"] == pytest.approx(max(scores))
    assert found["candidates"] == 4
    assert found["selected"] == pytest.approx(outcome.value, abs=1e-4)
