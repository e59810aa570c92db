"""The linear protocol on digits with a tiny backbone: it finds scikit-learn's optimum and reports its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from backbones.catalog.card import BackboneCard, FactsCard, InputCard, RandomWeights, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.encoder import Encoder
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS, LinearParameters
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices
from tasks.evaluation.inputs import ManyShotInputs, Samples, joined
from tasks.evaluation.splits import SplitFeatures
from tasks.metrics.calibration import expected_calibration_error, softmax
from tasks.metrics.classification import mean_average_precision
from tasks.metrics.outcome import Outcome
from tasks.protocols.linear import evaluate
from tasks.reporter import SilentReporter

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

HALF_DECADES = LinearParameters(strengths=23)
QUICK = LinearParameters(strengths=12)


@dataclass
class Listener(SilentReporter):
    curve: list[tuple[float | None, float]] = field(default_factory=list)
    advanced: int = 0
    warnings: list[str] = field(default_factory=list)

    def advance(self, count: int = 1) -> None:
        self.advanced += count

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        if name == "val":
            self.curve.append((step, value))

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def encoded(folder: Path, seed: int = 0) -> ManyShotInputs:
    card = BackboneCard(
        name="tiny",
        title="A tiny ResNet",
        architecture="test_resnet",
        weights=RandomWeights(),
        input=InputCard(size=16),
        facts=FactsCard(method="none"),
    )
    dataset_card = TaskCatalog.load().dataset("digits")
    dataset = open_dataset(dataset_card, folder)
    encoder, spec = Encoder.load(card, WeightsFolder(folder)), preprocessing_for(card, "paper")
    features = {}
    for name, split in dataset.splits.items():
        images = torch.stack([encoder.prepare(split.images[place], spec) for place in range(len(split.images))])
        features[name] = torch.cat([encoder.encode(part, spec) for part in torch.split(images, 256)]).numpy()
    source = SplitFeatures(dataset, dataset_card.metric, features, spec, seed)
    return source.many_shot(many_shot_indices(dataset, seed=seed))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ManyShotInputs:
    return encoded(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def few_digits(digits: ManyShotInputs) -> ManyShotInputs:
    """A third of them, for slow methods of scikit-learn."""
    return with_roles(digits, lambda role: Samples(role.features[::3], role.labels[::3], role.index[::3]))


@pytest.fixture(scope="module")
def labelled(few_digits: ManyShotInputs) -> ManyShotInputs:
    """As in VOC: several labels per image (even, large, prime), ranked by average precision."""

    def relabel(role: Samples) -> Samples:
        digit = role.labels
        labels = np.stack([digit % 2 == 0, digit >= 5, np.isin(digit, [2, 3, 5, 7])], axis=1).astype(np.int64)
        return replace(role, labels=labels)

    return replace(with_roles(few_digits, relabel), classes=("even", "large", "prime"), metric="map11")


@pytest.fixture(scope="module")
def default(digits: ManyShotInputs) -> Outcome:
    return evaluate(digits, LinearParameters(), 0, SilentReporter())


def with_roles(inputs: ManyShotInputs, change: Callable[[Samples], Samples]) -> ManyShotInputs:
    return replace(inputs, train=change(inputs.train), val=change(inputs.val), test=change(inputs.test))


def chosen_by(scores: dict[float, float]) -> float:
    """The best score; the strongest regularisation on a tie."""
    best = max(scores.values())
    return min(strength for strength, score in scores.items() if score == best)


def optimum(features: npt.NDArray[np.float32], labels: Labels, strength: float) -> LogisticRegression:
    """scikit-learn's, by Newton's method in double precision."""
    return LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-10, max_iter=200).fit(
        features.astype(np.float64), labels
    )


def objective(model: LogisticRegression, samples: Samples, strength: float) -> float:
    loss = -np.mean(
        model.predict_log_proba(samples.features.astype(np.float64))[np.arange(len(samples)), samples.labels]
    )
    return float(loss + np.sum(model.coef_**2) / (2 * strength * len(samples)))


def strengths(parameters: LinearParameters) -> list[float]:
    decays = np.logspace(parameters.strength_low, parameters.strength_high, parameters.strengths)
    return [float(1 / decay) for decay in decays]


@pytest.mark.slow
def test_the_optimum_is_scikit_learns(few_digits: ManyShotInputs) -> None:
    """Same selected C, objective within 1e-6, same test score."""
    inputs = few_digits
    outcome = evaluate(inputs, HALF_DECADES, 0, SilentReporter())
    path = {c: optimum(inputs.train.features, inputs.train.labels, c) for c in strengths(HALF_DECADES)}
    val = inputs.val.features.astype(np.float64)
    scores = {c: 100 * float(np.mean(model.predict(val) == inputs.val.labels)) for c, model in path.items()}
    best = chosen_by(scores)
    assert outcome.hyperparameters["C"] == pytest.approx(best)
    assert dict(outcome.diagnostics["validation_curve"]) == pytest.approx(scores)  # type: ignore[arg-type]
    assert outcome.diagnostics["training_objective"] == pytest.approx(
        objective(path[best], inputs.train, best), rel=1e-6
    )
    both = joined(inputs.train, inputs.val)
    final = optimum(both.features, both.labels, best)
    predicted = final.predict(inputs.test.features.astype(np.float64))
    assert outcome.value == pytest.approx(100 * float(np.mean(predicted == inputs.test.labels)))
    assert np.array_equal(outcome.predictions["predicted"], predicted)


@pytest.mark.slow
def test_several_labels_are_binary_regressions_with_twice_the_strength(labelled: ManyShotInputs) -> None:
    outcome = evaluate(labelled, QUICK, 0, SilentReporter())

    def fitted(samples: Samples, strength: float, rows: npt.NDArray[np.float32]) -> Floats:
        models = [optimum(samples.features, column, 2 * strength) for column in samples.labels.T]
        return np.stack([model.decision_function(rows.astype(np.float64)) for model in models], axis=1)

    train, val, test = labelled.train, labelled.val, labelled.test
    scores = {c: mean_average_precision(fitted(train, c, val.features), val.labels) for c in strengths(QUICK)}
    best = chosen_by(scores)
    assert outcome.headline == "map11"
    assert outcome.hyperparameters["C"] == pytest.approx(best)
    final = fitted(joined(train, val), best, test.features)
    assert outcome.value == pytest.approx(mean_average_precision(final, test.labels), abs=1e-6)
    assert np.allclose(outcome.predictions["scores"], final, rtol=0.02, atol=0.05)


def test_several_labels_have_no_calibration(labelled: ManyShotInputs) -> None:
    outcome = evaluate(labelled, QUICK, 0, SilentReporter())
    assert set(outcome.metrics) == {"map11", "map11-devkit"}
    assert "reliability" not in outcome.diagnostics
    assert outcome.interval.low < outcome.value < outcome.interval.high


def test_every_fit_of_the_default_is_converged(default: Outcome) -> None:
    assert default.diagnostics["converged"] is True
    assert default.diagnostics["largest_gap"] <= 1e-6  # type: ignore[operator]
    assert default.diagnostics["unconverged_strengths"] == []
    assert (default.diagnostics["solver"], default.diagnostics["on_edge"]) == ("exact", False)


def test_the_paper_preset_repeats_the_published_sweep(digits: ManyShotInputs, default: Outcome) -> None:
    paper = PROTOCOLS["linear"].presets["paper"]
    assert isinstance(paper, LinearParameters)
    outcome = evaluate(digits, replace(paper, strengths=12), 0, SilentReporter())
    assert outcome.diagnostics["solver"] == "published"
    assert outcome.diagnostics["converged"] is False
    assert outcome.diagnostics["largest_gap"] is None
    assert outcome.diagnostics["extended"] is False
    assert len(outcome.diagnostics["temperatures"]) == 5  # type: ignore[arg-type]
    assert len(default.diagnostics["temperatures"]) == 1  # type: ignore[arg-type]
    assert abs(outcome.value - default.value) < 5


def test_the_validation_curve_is_told_as_it_grows(digits: ManyShotInputs) -> None:
    listener = Listener()
    outcome = evaluate(digits, QUICK, 0, listener)
    assert sorted(step for step, _ in listener.curve) == pytest.approx(list(np.linspace(-5, 6, 12)))  # type: ignore[type-var]
    assert listener.advanced == 12
    kept: Any = outcome.diagnostics["validation_curve"]
    assert {round(float(np.log10(c)), 6): value for c, value in kept} == dict(listener.curve)


def test_a_choice_on_the_edge_is_told(digits: ManyShotInputs) -> None:
    listener = Listener()
    narrow = LinearParameters(strengths=3, strength_low=1, strength_high=2, extend_grid=False)
    outcome = evaluate(digits, narrow, 0, listener)
    assert outcome.diagnostics["on_edge"] is True
    assert outcome.hyperparameters["C"] == pytest.approx(0.1)
    assert any("C = 0.1 is the last one tried" in warning for warning in listener.warnings)


def test_a_choice_on_the_edge_extends_the_grid(digits: ManyShotInputs) -> None:
    narrow = LinearParameters(strengths=3, strength_low=-1, strength_high=0)
    outcome = evaluate(digits, narrow, 0, SilentReporter())
    assert outcome.diagnostics["extended"] is True
    assert outcome.diagnostics["on_edge"] is False
    assert outcome.hyperparameters["C"] > 10  # type: ignore[operator]


def test_calibration_errors_are_those_of_the_predictions(digits: ManyShotInputs, default: Outcome) -> None:
    logits = default.predictions["logits"].astype(np.float64)
    labels = digits.test.labels
    assert default.metrics["ece"] == pytest.approx(expected_calibration_error(softmax(logits), labels), abs=0.2)
    temperature: Any = default.diagnostics["temperatures"]
    scaled = expected_calibration_error(softmax(logits / temperature[0]), labels)
    assert default.metrics["ece_scaled"] == pytest.approx(scaled, abs=0.2)
    diagram: Any = default.diagnostics["reliability"]
    assert sum(diagram["count"]) == len(labels)
    assert len(diagram["accuracy"]) == 15


def test_predictions_repeat_the_score(digits: ManyShotInputs, default: Outcome) -> None:
    right = default.predictions["predicted"] == default.predictions["label"]
    assert 100 * float(np.mean(right)) == pytest.approx(default.value)
    assert np.array_equal(default.predictions["index"], digits.test.index)
    truth = softmax(default.predictions["logits"].astype(np.float64))[np.arange(len(right)), digits.test.labels]
    assert np.allclose(default.predictions["probability"], truth, atol=5e-3)


def test_mean_per_class_is_the_headline_where_the_card_says_so(digits: ManyShotInputs, default: Outcome) -> None:
    outcome = evaluate(replace(digits, metric="mean-per-class"), QUICK, 0, SilentReporter())
    assert outcome.headline == "mean-per-class"
    assert outcome.interval.method == "wilson, effective size"
    assert default.interval.method == "wilson"


def test_another_seed_chooses_on_other_validation_images_but_tests_the_same(
    digits: ManyShotInputs, tmp_path: Path, default: Outcome
) -> None:
    other = encoded(tmp_path, seed=1)
    assert not np.array_equal(other.val.index, digits.val.index)
    assert np.array_equal(other.test.index, digits.test.index)
    outcome = evaluate(other, QUICK, 1, SilentReporter())
    assert abs(outcome.value - default.value) < 5


def test_a_class_without_training_images_is_told_and_never_predicted(digits: ManyShotInputs) -> None:
    def without_nine(role: Samples) -> Samples:
        keep = role.labels != 9
        return Samples(role.features[keep], role.labels[keep], role.index[keep])

    listener = Listener()
    lacking = replace(digits, train=without_nine(digits.train), val=without_nine(digits.val))
    outcome = evaluate(lacking, QUICK, 0, listener)
    assert 9 not in outcome.predictions["predicted"]
    assert "1 of 10 classes have no training image (9)" in listener.warnings


def test_the_outcome_repeats_itself_bit_for_bit(few_digits: ManyShotInputs) -> None:
    first, second = (evaluate(few_digits, QUICK, 0, SilentReporter()) for _ in range(2))
    assert first.metrics == second.metrics
    assert np.array_equal(first.predictions["logits"], second.predictions["logits"])
