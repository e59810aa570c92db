"""Similarity of two backbones' features of the same images: CKA and mutual nearest neighbours. Pure; needs numpy.

Linear CKA with unbiased HSIC (Song et al., 2012; Nguyen et al., ICLR 2021): the biased form grows towards 1 as features
get wider than there are images. Mutual nearest neighbours (Huh et al., ICML 2024): the mean overlap of the 10 nearest
images by cosine, the image itself excluded; by chance 10 / (images - 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.statistics.distributions import t_quantile
from tasks.metrics.standard_errors import jackknife_error

Floats = npt.NDArray[np.float64]
GROUPS = 10
LEVEL = 0.95


@dataclass(frozen=True)
class Similarity:
    """Two backbones and the similarity of their features, from 0 to 1; CKA may be slightly negative by chance."""

    first: str
    second: str
    cka: float
    cka_low: float
    cka_high: float
    mutual_knn: float
    knn_low: float
    knn_high: float


def similarities(features: Mapping[str, npt.NDArray[np.floating]], neighbours: int = 10) -> list[Similarity]:
    """Every pair, in the order of `features`, arrays [n, d] of the same images by backbone; 95 % jackknife intervals.

    Raises ValueError for fewer than 20 images.
    """
    images = {len(rows) for rows in features.values()}
    if len(images) > 1 or min(images, default=0) < 2 * GROUPS:
        raise ValueError(f"{sorted(images)} images: at least {2 * GROUPS} of the same are needed")
    (count,) = images
    names = list(features)
    kernels = {name: _kernel(rows) for name, rows in features.items()}
    near = {name: _neighbours(rows, neighbours) for name, rows in features.items()}
    kept = [np.flatnonzero(np.arange(count) % GROUPS != number) for number in range(GROUPS)]
    own = {name: [hsic(kernel, kernel), *_without(kernel, kernel, kept)] for name, kernel in kernels.items()}
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    return [_pair(one, other, kernels, near, own, kept) for one, other in pairs]


def hsic(first: Floats, second: Floats) -> float:
    """Unbiased HSIC of two kernels [n, n] whose diagonals are 0."""
    count = len(first)
    rows = first.sum(axis=1), second.sum(axis=1)
    cross = float(np.einsum("ij,ij->", first, second))
    product = float(rows[0].sum() * rows[1].sum()) / ((count - 1) * (count - 2))
    return (cross + product - 2 * float(rows[0] @ rows[1]) / (count - 2)) / (count * (count - 3))


def _kernel(rows: npt.NDArray[np.floating]) -> Floats:
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    kernel: Floats = centred @ centred.T
    np.fill_diagonal(kernel, 0.0)
    return kernel / max(float(np.abs(kernel).max()), np.finfo(np.float64).tiny)


def _neighbours(rows: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.bool_]:
    """[n, n] whether an image is among the nearest neighbours of another."""
    whole = rows.astype(np.float64)
    unit = whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    found = np.zeros(cosine.shape, np.bool_)
    np.put_along_axis(found, nearest, values=True, axis=1)
    return found


def _without(first: Floats, second: Floats, kept: Sequence[npt.NDArray[np.intp]]) -> list[float]:
    return [hsic(first[np.ix_(rows, rows)], second[np.ix_(rows, rows)]) for rows in kept]


def _pair(
    first: str,
    second: str,
    kernels: Mapping[str, Floats],
    near: Mapping[str, npt.NDArray[np.bool_]],
    own: Mapping[str, list[float]],
    kept: Sequence[npt.NDArray[np.intp]],
) -> Similarity:
    shared = [hsic(kernels[first], kernels[second]), *_without(kernels[first], kernels[second], kept)]
    norms = [math.sqrt(max(one * other, 0.0)) for one, other in zip(own[first], own[second], strict=True)]
    values = np.array([one / norm if norm > 0 else math.nan for one, norm in zip(shared, norms, strict=True)])
    overlap = (near[first] & near[second]).sum(axis=1) / near[first][0].sum()
    shares = np.array([overlap.mean(), *(overlap[rows].mean() for rows in kept)])
    (low, high), (knn_low, knn_high) = _bounds(values), _bounds(shares)
    return Similarity(first, second, float(values[0]), low, high, float(shares[0]), knn_low, knn_high)


def _bounds(values: Floats) -> tuple[float, float]:
    half = t_quantile(GROUPS - 1, LEVEL) * jackknife_error(values[1:])
    return max(-1.0, float(values[0]) - half), min(1.0, float(values[0]) + half)
