"""Probabilities of being the best are calibrated, and the interaction test has its error rate."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_console.analysis.statistics.selection import DEVIATIONS, best_of, interaction
from tests.verdicts.recorded import recorded, resampled

WORLDS = 300


def test_stated_probabilities_are_those_with_which_a_backbone_is_the_best() -> None:
    """Made-up worlds with known truth; errors of two points, correlated between backbones."""
    generator = np.random.default_rng(0)
    stated, true = [], []
    for world in range(WORLDS):
        effects = generator.normal(0.0, 2 * generator.choice(DEVIATIONS), 3)
        factor = generator.normal(size=(3, 5))
        covariance = 4 * factor @ factor.T / 5
        found = best_of(generator.multivariate_normal(effects, covariance), covariance, draws=1_000, seed=world)
        stated.append(found.probability)
        true.append(np.arange(3) == effects.argmax())
    _assert_reliable(np.concatenate(stated), np.concatenate(true))


def test_probabilities_are_reliable_on_recorded_answers_to_other_images() -> None:
    """All recorded images are the truth; backbones and protocols are drawn, then 150 images for the statement."""
    generator, stated, true = np.random.default_rng(1), [], []
    for world in range(WORLDS):
        protocol, chosen = world % 3, generator.choice(5, 3, replace=False)
        scores = recorded(("digits", "shapes")[world % 2])[chosen, protocol]
        seen = resampled(scores, 150, generator)
        found = best_of(seen.mean(axis=1), np.cov(seen) / 150, draws=1_000, seed=world)
        stated.append(found.probability)
        true.append(np.arange(3) == scores.mean(axis=1).argmax())
    _assert_reliable(np.concatenate(stated), np.concatenate(true))


def _assert_reliable(stated: np.ndarray, true: np.ndarray) -> None:
    """In every fifth of the scale, the frequency is the stated probability, within three standard errors and 0.05."""
    for low in np.arange(0.0, 1.0, 0.2):
        inside = (stated >= low) & (stated <= low + 0.2)
        wanted, found = stated[inside].mean(), true[inside].mean()
        slack = 0.05 + 3 * np.sqrt(wanted * (1 - wanted) / inside.sum())
        assert abs(wanted - found) <= slack, f"{found:.2f} where {wanted:.2f} was stated ({inside.sum()})"


def test_probabilities_add_up_and_the_regret_of_the_likely_best_is_least() -> None:
    found = best_of(np.array([70.0, 72.0, 60.0]), np.eye(3))
    assert found.probability.sum() == pytest.approx(1)
    assert found.probability.argmax() == found.regret.argmin() == 1
    assert found.regret[2] == pytest.approx(12.0, abs=1.5)


def test_equal_answers_share_the_probability() -> None:
    found = best_of(np.array([80.0, 80.0]), np.zeros((2, 2)))
    assert found.probability == pytest.approx([0.5, 0.5], abs=0.05)
    assert best_of(np.array([80.0]), np.zeros((1, 1))).probability == pytest.approx([1.0])


def test_the_interaction_test_raises_an_alarm_in_five_percent_without_interaction() -> None:
    generator, alarms = np.random.default_rng(2), 0
    for _ in range(600):
        shared = generator.normal(0, 30, (1, 1, 200))
        scores = shared + generator.normal(0, 20, (3, 3, 200)) + np.array([60, 70, 65])[:, None, None]
        found = interaction(scores)
        assert found is not None
        alarms += found.p_value < 0.05
    assert 0.03 <= alarms / 600 <= 0.07 + 0.01


def test_protocols_that_reverse_two_recorded_backbones_interact() -> None:
    digits = recorded("digits")
    found = interaction(np.stack([digits[5], digits[3][[1, 0, 2]]]))
    assert found is not None
    assert found.p_value < 1e-6
    assert found.contrasts == 2


def test_one_protocol_or_identical_answers_have_no_interaction_test() -> None:
    assert interaction(recorded("digits")[:2, :1]) is None
    same = np.repeat(recorded("digits")[:2, :1], 2, axis=1)
    assert interaction(same) is None
