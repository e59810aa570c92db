"""k-shot linear evaluation: equal to scikit-learn's solution, draws nested, the interval over images and draws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.catalog.head_parameters import KShotParameters
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, Samples
from tasks.metrics.jackknife import interval_of_draws
from tasks.metrics.rescore import rescore
from tasks.protocols.k_shot import class_orders, evaluate, normalised
from tasks.reporter import SilentReporter
from tests.tasks.protocols.layer_inputs import layer_inputs

PARAMETERS = KShotParameters(shots=(1, 4), shares=(0.1,), draws=3, penalty=0.05)
"""A stronger penalty than published, so that scikit-learn's solver reaches the optimum."""


@pytest.fixture(scope="module")
def inputs() -> BankInputs:
    return BankInputs.of(layer_inputs())


def test_predictions_are_scikit_learns_on_the_same_draws(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, PARAMETERS, 7, SilentReporter())
    test = normalised(inputs.test.features[:])
    for draw in range(3):
        order = class_orders(inputs.bank.labels, 3, 7, draw)
        for shots in (1, 4):
            chosen = np.concatenate([rows[:shots] for rows in order])
            model = LogisticRegression(C=1 / 0.05, fit_intercept=False, tol=1e-10, max_iter=5000)
            model.fit(normalised(inputs.bank.features.take(chosen)), inputs.bank.labels[chosen])
            assert np.array_equal(outcome.predictions[f"predicted@{shots}"][:, draw], model.predict(test))


def test_the_published_normalisation_centres_and_scales_each_vector() -> None:
    rows = normalised(np.array([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]], np.float32))
    assert rows[0] == pytest.approx(np.array([-2.0, -1.0, 3.0]) / np.sqrt(14))
    assert not rows[1].any()


def test_more_images_score_higher_and_the_headline_is_the_one_asked_for(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, PARAMETERS, 0, SilentReporter())
    assert outcome.metrics["accuracy@10pct"] > outcome.metrics["accuracy@1"]
    assert outcome.value == outcome.metrics["accuracy@4"]
    assert outcome.interval.low < outcome.value < outcome.interval.high
    assert [point["images"] for point in outcome.diagnostics["curve"]] == [3, 12, 12]  # type: ignore[union-attr,index,call-overload]


def test_the_smaller_sets_of_a_draw_are_part_of_its_larger_ones() -> None:
    labels = np.arange(60) % 3
    order = class_orders(labels, 3, 0, 0)
    assert all(set(labels[rows]) == {number} for number, rows in enumerate(order))
    assert [sorted(rows) for rows in class_orders(labels, 3, 0, 1)] == [sorted(rows) for rows in order]
    assert not np.array_equal(order[0], class_orders(labels, 3, 0, 1)[0])


def test_stored_predictions_give_scores_and_interval_again(inputs: BankInputs) -> None:
    outcome = evaluate(inputs, PARAMETERS, 0, SilentReporter())
    rescorer = rescore("k-shot", outcome.predictions)
    assert rescorer is not None
    assert rescorer.metrics(outcome.predictions) == outcome.metrics
    assert rescorer.interval(outcome.predictions, "accuracy") == outcome.interval


def test_classes_without_or_with_few_training_images_are_told() -> None:
    whole = layer_inputs()
    warnings: list[str] = []

    class Listener(SilentReporter):
        def warn(self, message: str) -> None:
            warnings.append(message)

    def without(role: Samples) -> Samples:
        left = role.labels != 2
        return Samples(role.features[left], role.labels[left], role.index[left])

    fewer = ManyShotInputs(without(whole.train), without(whole.val), whole.test, whole.classes, "accuracy")
    outcome = evaluate(BankInputs.of(fewer), PARAMETERS, 0, Listener())
    assert warnings[0] == "1 of 3 classes have no training image and are never predicted"
    assert warnings[1] == "1 of 3 classes have fewer than 4 training images: all are used"
    assert not (outcome.predictions["predicted@4"] == 2).any()


@pytest.mark.parametrize(("between_draws", "draws"), [(0.0, 5), (0.5, 5), (1.0, 3)])
def test_intervals_cover_the_expected_accuracy_over_other_images_and_draws(between_draws: float, draws: int) -> None:
    generator = np.random.default_rng(0)

    def probability(images: int, tries: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        logits = 1 + generator.standard_normal((images, 1)) + between_draws * generator.standard_normal((1, tries))
        return 1 / (1 + np.exp(-logits))

    truth = 100 * probability(4000, 4000).mean()
    covered = 0
    for _ in range(400):
        right = generator.random((150, draws)) < probability(150, draws)
        bounds = interval_of_draws(np.where(right, 0, 1), np.zeros(150, np.int64))
        covered += bounds.low <= truth <= bounds.high
    assert 0.925 <= covered / 400 <= 0.99
