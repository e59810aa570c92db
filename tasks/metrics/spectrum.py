"""Label-free scores of features from spectra, and components of patch features as colours. Needs numpy, not torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FIRST, LAST = 11, 100
"""First and last position of the spectrum, from 1, in the line fit of alpha-ReQ."""
FEWEST_PLACES = 5
Drawn = npt.NDArray[np.uint8]
COLOURS = 3
"""Number of components shown, as red, green and blue."""
REACH = 2.3
"""Standard deviations between the middle and the end of a channel, CAPI's."""
RANK = 1e-6
"""Singular values below this fraction of the largest count as zero."""


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


def upward(scores: Floats) -> Floats:
    """Components [n, k] with the signs that make their third moments positive."""
    return np.asarray(scores * np.where((scores**3).sum(axis=0) < 0, -1.0, 1.0), np.float64)


def coloured(scores: npt.NDArray[np.floating]) -> Drawn:
    """uint8 [..., 3] of components [..., k] of unit variance: the first three, from -2.3 to 2.3."""
    share = (scores[..., :COLOURS].astype(np.float64) + REACH) / (2 * REACH)
    channels = np.zeros((*scores.shape[:-1], COLOURS))
    channels[..., : share.shape[-1]] = share.clip(0, 1)
    return (channels * 255).astype(np.uint8)


def common_colours(maps: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, Drawn]:
    """Pictures uint8 [n, h, w, 3] by backbone, in colours of one space, from components [n, h, w, k] of each.

    Components of different backbones are not comparable. Their common space is that of the generalised canonical
    correlation (Kettenring 1971, MAXVAR): the directions over all patches that the backbones' components explain best
    together. A picture is the projection of these onto a backbone's own components, so that equal colours are the same
    direction, and grey is where a backbone lacks it. Coarser maps are repeated up to the finest.
    """
    high, wide = (max(one.shape[axis] for one in maps.values()) for axis in (1, 2))
    bases: dict[str, Floats] = {}  # orthonormal columns that span the centred components
    for name, one in maps.items():
        components = _repeated(one, high, wide)
        left, sizes, _ = np.linalg.svd(components - components.mean(axis=0), full_matrices=False)
        bases[name] = left[:, sizes > RANK * sizes[0]]
    shared = np.linalg.svd(np.concatenate(list(bases.values()), axis=1), full_matrices=False)[0][:, :COLOURS]
    shared = upward(shared) * np.sqrt(len(shared))
    images = len(next(iter(maps.values())))
    return {
        name: coloured((basis @ (basis.T @ shared)).reshape(images, high, wide, -1)) for name, basis in bases.items()
    }


def _repeated(maps: npt.NDArray[np.floating], high: int, wide: int) -> Floats:
    """Components [n h w, k] of the nearest patches."""
    rows = np.arange(high) * maps.shape[1] // high
    columns = np.arange(wide) * maps.shape[2] // wide
    return maps[:, rows][:, :, columns].reshape(-1, maps.shape[3]).astype(np.float64)
