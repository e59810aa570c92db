"""Transferability scores of features and labels: LogME and H-score from their moments, PARC from pairs of images.

LogME and H-score are computed from the Gram matrix and the sums of each class, at a cost independent of the number of
images.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.decomposition import PCA

Floats = npt.NDArray[np.float64]
LOGME_ITERATIONS = 11
LOGME_TOLERANCE = 1e-3
PARC_DIMENSIONS = 32
CONSTANT = 1e-12
"""Deviation of a component relative to the largest one up to which it is rounding: all images have the same value."""
TIED = 12
"""Digits to which distances are rounded, so that equal ones are ties."""


def logme(gram: Floats, class_sums: Floats, class_counts: Floats) -> float:
    """Mean log evidence per image of Bayesian regressions of each class against the rest (You et al., ICML 2021).

    gamma = sum s / (s + alpha / beta); alpha = gamma / |m|^2; beta = (n - gamma) / |y - Zm|^2, iterated from 1 at most
    11 times, as LogME.py of thuml/Transfer-Learning-Library.
    """
    values, basis = np.linalg.eigh(gram)
    values = np.clip(values, 0.0, None)
    images, width = float(class_counts.sum()), len(gram)
    evidences = [
        _evidence(values, basis.T @ sums, float(count), images, width)
        for sums, count in zip(class_sums, class_counts, strict=True)
    ]
    return float(np.mean(evidences))


def _evidence(values: Floats, projected: Floats, squared: float, images: float, width: int) -> float:
    """Log evidence of one class; `projected` is Z^T y in the eigenbasis of Z^T Z, `squared` the squared length of y."""
    alpha = beta = 1.0
    previous = alpha / beta
    for _ in range(LOGME_ITERATIONS):
        gamma = float((values / (values + alpha / beta)).sum())
        mean = projected / (values + alpha / beta)
        length = float((mean**2).sum())
        residual = max(squared - 2 * float(mean @ projected) + float((values * mean**2).sum()), 0.0)
        alpha, beta = gamma / (length + 1e-5), (images - gamma) / (residual + 1e-5)
        if abs(alpha / beta - previous) / previous <= LOGME_TOLERANCE:
            break
        previous = alpha / beta
    evidence = (
        width / 2 * math.log(alpha) + images / 2 * math.log(beta) - 0.5 * float(np.log(alpha + beta * values).sum())
    )
    evidence -= beta / 2 * residual + alpha / 2 * length + images / 2 * math.log(2 * math.pi)
    return evidence / images


def h_score(covariance: Floats, between: Floats) -> float:
    """Trace of the product of the covariance's pseudo-inverse and the covariance of class means (Bao et al., ICIP
    2019)."""
    return float(np.trace(np.linalg.pinv(covariance, rcond=1e-15, hermitian=True) @ between))


def regularised_h_score(covariance: Floats, between: Floats, shrinkage: float) -> float:
    """H-score with Ledoit and Wolf's shrinkage of the covariance (Ibrahim et al., 2110.06893)."""
    width = len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / width * np.eye(width)
    return float(np.trace(np.linalg.solve(shrunk, (1 - shrinkage) * between)))


def ledoit_wolf(covariance: Floats, images: int, fourth: float) -> float:
    """Ledoit and Wolf's shrinkage; `fourth` is the sum of the fourth powers of the centred vectors' norms."""
    width, squared = len(covariance), float((covariance**2).sum())
    mean = float(np.trace(covariance)) / width
    noise = (fourth / images - squared) / (width * images)
    distance = squared / width - mean**2
    return min(noise, distance) / distance if distance > 0 else 0.0


def between_classes(class_sums: Floats, class_counts: Floats) -> Floats:
    """Covariance of the class means, weighted by images."""
    present = class_counts > 0
    mean = class_sums.sum(axis=0) / class_counts.sum()
    means = class_sums[present] / class_counts[present, None] - mean
    between: Floats = (means * class_counts[present, None]).T @ means / class_counts.sum()
    return between


def parc(features: Floats, labels: npt.NDArray[np.integer], classes: int) -> float:
    """Spearman's correlation of images' distances by features and by labels, times 100 (Bolya et al., NeurIPS 2021).

    Distances are 1 - correlation, of features reduced to 32 principal components and standardised, and of one-hot
    labels. Correlations over components depend on the components' signs, which are scikit-learn's, as published.
    """
    reduced = PCA(min(PARC_DIMENSIONS, *features.shape), svd_solver="full").fit_transform(features)
    deviations = reduced.std(axis=0)
    reduced = reduced / np.where(deviations > CONSTANT * deviations.max(), deviations, 1.0)
    upper = np.triu_indices(len(features), 1)
    one_hot = np.eye(classes)[labels]
    by_features, by_labels = (1 - np.corrcoef(rows)[upper].round(TIED) for rows in (reduced, one_hot))
    return 100.0 * float(np.corrcoef(rankdata(by_features), rankdata(by_labels))[0, 1])
