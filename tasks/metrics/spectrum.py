"""Label-free scores of features from spectra: RankMe, effective rank, alpha-ReQ, LiDAR. Needs numpy, not torch."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FIRST, LAST = 11, 100
"""First and last position of the spectrum, from 1, in the line fit of alpha-ReQ."""
FEWEST_PLACES = 5


def entropy_rank(values: Floats) -> float:
    """Exponential of the entropy of `values` normalised to a sum of 1; zeros add nothing."""
    positive = values[values > 0]
    shares = positive / positive.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def rankme(gram: Floats) -> float:
    """RankMe (Garrido et al., ICML 2023): from the singular values of the features, not centred, given their Gram
    matrix.

    Published with 1e-7 added to every normalised value, which inflates the rank of wide features; omitted here.
    """
    return entropy_rank(np.sqrt(spectrum(gram)))


def effective_rank(covariance: Floats) -> float:
    """Effective rank from the eigenvalues of the covariance (centred, squared), unlike RankMe."""
    return entropy_rank(spectrum(covariance))


def alpha_req(covariance: Floats) -> float:
    """Decay of the covariance's spectrum (Agrawal et al., NeurIPS 2022): minus the slope of log eigenvalue over log
    position, positions 11 to 100. NaN for features with too few directions."""
    values = spectrum(covariance)
    values = values[values > values[0] * np.finfo(np.float64).eps * len(values)][:LAST]
    places = np.arange(1, len(values) + 1)[FIRST - 1 :]
    if len(places) < FEWEST_PLACES:
        return math.nan
    return -float(np.polyfit(np.log(places), np.log(values[FIRST - 1 :]), 1)[0])


def lidar(between: Floats, within: Floats, delta: float) -> float:
    """LiDAR (Thilak et al., 2023) from the covariance of the images' means and that of views around them, [d, d] each.

    `delta` is added to the diagonal of `within`.
    """
    values, vectors = np.linalg.eigh(within)
    whitening = vectors / np.sqrt(np.clip(values, 0.0, None) + delta)
    return entropy_rank(spectrum(whitening.T @ between @ whitening))


def spectrum(matrix: Floats) -> Floats:
    """Eigenvalues of a symmetric positive semi-definite matrix, largest first; rounding errors below zero become 0."""
    values: Floats = np.clip(np.linalg.eigvalsh(matrix)[::-1], 0.0, None)
    return values
