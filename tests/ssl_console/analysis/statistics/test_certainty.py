"""No test reports certainty because a few samples are alike."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_console.analysis.statistics.paired_tests import accuracy, means, weighted

ONE, SOME, MANY = 1, 5, 40


@pytest.mark.parametrize(("images", "certain"), [(ONE, False), (SOME, False), (MANY, True)])
def test_images_that_all_differ_alike_are_as_certain_as_their_number(images: int, certain: bool) -> None:
    test = means(np.full((2, images), 90.0), np.full((2, images), 80.0))
    assert (test.p_value < 0.05) == certain
    assert test.low < test.difference < test.high


def test_several_seeds_that_all_agree_on_five_images_show_nothing() -> None:
    test = accuracy(np.ones((3, SOME), bool), np.zeros((3, SOME), bool))
    assert test.p_value > 0.05


def test_one_image_decides_nothing_in_a_bootstrap() -> None:
    test = weighted([lambda weights: 90.0 * weights[0]], [lambda weights: 80.0 * weights[0]], ONE)
    assert test.p_value == 1.0


def test_equal_scores_on_few_images_are_not_equal_for_certain() -> None:
    test = means(np.full((1, SOME), 80.0), np.full((1, SOME), 80.0))
    assert test.p_value == 1.0
    assert test.high - test.low > 10
