"""Readings of correct keypoints and their interval, on pairs that share images."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tasks.metrics.dense import correspondence_interval, correspondence_scores, image_groups
from tasks.metrics.jackknife import GROUPS


def test_the_three_readings_differ_where_pairs_and_classes_have_different_numbers_of_keypoints() -> None:
    arrays = {
        "source": np.array([0, 2, 4]),
        "target": np.array([1, 3, 5]),
        "category": np.array([0, 0, 2]),
        "keypoints": np.array([4, 6, 2]),
        "correct": np.array([4, 0, 1]),
    }
    assert correspondence_scores(arrays) == pytest.approx(
        {"pck-image": 50.0, "pck-keypoint": 100 * 5 / 12, "pck-class": (40.0 + 50.0) / 2}
    )


def test_two_images_of_one_pair_are_left_out_together_and_those_of_a_class_apart() -> None:
    alone = image_groups(np.arange(0, 40, 2), np.arange(1, 40, 2))
    assert (alone[0::2] == alone[1::2]).all()
    assert np.bincount(alone).tolist() == [4] * GROUPS
    pairs = np.array(list(combinations(range(20), 2)))
    assert np.bincount(image_groups(pairs[:, 0], pairs[:, 1])).tolist() == [2] * GROUPS


def simulated(random: np.random.Generator, images: int, *, shared: bool) -> dict[str, np.ndarray]:
    """Keypoints found in pairs of images that differ in how difficult they are; the expected score is 50 %."""
    pairs = np.array(list(combinations(range(images), 2))) if shared else np.arange(images).reshape(-1, 2)
    ease = random.normal(0, 0.15, images)
    chance = np.clip(0.5 + ease[pairs[:, 0]] + ease[pairs[:, 1]], 0, 1)
    keypoints = random.integers(4, 12, len(pairs))
    return {
        "source": pairs[:, 0],
        "target": pairs[:, 1],
        "category": np.zeros(len(pairs), np.int64),
        "keypoints": keypoints,
        "correct": random.binomial(keypoints, chance),
    }


@pytest.mark.parametrize(("shared", "images"), [(True, 24), (False, 120)])
def test_intervals_cover_the_expected_score_although_pairs_share_images(*, shared: bool, images: int) -> None:
    random, inside, narrow = np.random.default_rng(0), 0, 0
    for _ in range(300):
        arrays = simulated(random, images, shared=shared)
        found = correspondence_interval(arrays, "pck-image")
        inside += found.low <= 50 <= found.high
        share = arrays["correct"] / arrays["keypoints"]
        narrow += abs(100 * share.mean() - 50) <= 196 * share.std() / np.sqrt(len(share))
    assert 0.92 <= inside / 300 <= 0.99
    assert not shared or narrow / 300 < 0.75  # as if pairs were independent


def test_an_interval_of_a_perfect_score_has_a_width() -> None:
    arrays = simulated(np.random.default_rng(0), 40, shared=False)
    perfect = {**arrays, "correct": arrays["keypoints"]}
    found = correspondence_interval(perfect, "pck-keypoint")
    assert (found.low < 99, found.high) == (True, 100.0)
