"""CKA and mutual nearest neighbours: equal to their definitions, unbiased, and their intervals cover."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ssl_console.analysis.representation_similarity import hsic, similarities

Floats = npt.NDArray[np.float64]


def features(seed: int, images: int = 60, width: int = 8) -> Floats:
    return np.random.default_rng(seed).standard_normal((images, width))


def plain_hsic(first: Floats, second: Floats) -> float:
    """The sums over all quadruples of different images (Song et al., 2012, equation 5), on small kernels."""
    count = len(first)
    places = [
        (i, j, q, r)
        for i in range(count)
        for j in range(count)
        for q in range(count)
        for r in range(count)
        if len({i, j, q, r}) == 4
    ]
    values = [first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q]) for i, j, q, r in places]
    return float(np.mean(values))


def test_hsic_is_the_mean_over_all_quadruples() -> None:
    kernels = []
    for seed in (0, 1):
        kernel = features(seed, 7) @ features(seed, 7).T
        np.fill_diagonal(kernel, 0.0)
        kernels.append(kernel)
    assert hsic(*kernels) == pytest.approx(plain_hsic(*kernels))


def test_rotated_and_scaled_features_are_the_same_by_both_measures() -> None:
    rows = features(0)
    rotation = np.linalg.qr(features(1, 8))[0]
    (pair,) = similarities({"a": rows, "b": 3 * rows @ rotation})
    assert (pair.cka, pair.mutual_knn) == pytest.approx((1.0, 1.0))


def test_unrelated_wide_features_are_not_alike() -> None:
    pairs = [
        similarities({"a": features(2 * seed, 40, 200), "b": features(2 * seed + 1, 40, 200)})[0] for seed in range(20)
    ]
    assert abs(float(np.mean([pair.cka for pair in pairs]))) < 0.05
    assert float(np.mean([pair.mutual_knn for pair in pairs])) == pytest.approx(10 / 39, abs=0.03)


def test_mutual_neighbours_are_counted_as_sets() -> None:
    first, second = features(0), features(0) + 0.5 * features(1)
    (pair,) = similarities({"a": first, "b": second}, neighbours=5)

    def nearest(rows: Floats) -> list[set[int]]:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return [set(np.argsort(-np.delete(unit @ one, place))[:5].tolist()) for place, one in enumerate(unit)]

    overlaps = [len(one & other) / 5 for one, other in zip(nearest(first), nearest(second), strict=True)]
    assert pair.mutual_knn == pytest.approx(np.mean(overlaps))
    assert pair.knn_low < pair.mutual_knn < pair.knn_high


def test_intervals_cover_the_similarity_of_other_images() -> None:
    mixing = np.random.default_rng(9).standard_normal((8, 8))

    def measured(seed: int) -> tuple[float, float, float]:
        rows = features(seed, 80)
        (pair,) = similarities({"a": rows, "b": rows @ mixing + 2 * features(seed + 1000, 80)})
        return pair.cka, pair.cka_low, pair.cka_high

    found = np.array([measured(seed) for seed in range(150)])
    truth = found[:, 0].mean()
    assert 0.9 <= np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])) <= 0.99


def test_too_few_or_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        similarities({"a": features(0, 10), "b": features(1, 10)})
    with pytest.raises(ValueError, match=r"\[40, 60\] images"):
        similarities({"a": features(0, 40), "b": features(1, 60)})
