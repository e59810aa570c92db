"""Transferability scores: how well a backbone should transfer to a dataset, from features and labels, without
training.

LogME (You et al., ICML 2021), H-score (Bao et al., ICIP 2019) and its regularised form (Ibrahim et al., 2110.06893),
NLEEP (Li et al., CVPR 2021) and PARC (Bolya et al., NeurIPS 2021). They are descriptive and never ranked: over 715,000
settings no measure is best (2204.01403), and nearest neighbours predict better than any of them.

NLEEP has the logarithm of its paper, which the code of SFDA omits. PARC and NLEEP are computed from a subset of the
images.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tasks.catalog.analysis_parameters import TransferabilityParameters
from tasks.evaluation.inputs import BankInputs
from tasks.features.shards import StoredRows
from tasks.metrics.jackknife import interval_of_jackknife, scores_of_jackknife
from tasks.metrics.outcome import Json, Outcome
from tasks.metrics.transferability import (
    between_classes,
    h_score,
    ledoit_wolf,
    logme,
    parc,
    regularised_h_score,
)
from tasks.reporter import Reporter
from tasks.solvers.moments import BLOCK, Moments, grouped_moments, jackknife_arrays, total
from tasks.training.checkpoint import spread_over

Floats = npt.NDArray[np.float64]
ENERGY = 0.8
"""Fraction of the variance kept by NLEEP's principal components."""


def evaluate(inputs: BankInputs, parameters: TransferabilityParameters, seed: int, reporter: Reporter) -> Outcome:
    """Score training and validation images; the seed initialises NLEEP's mixture."""
    arrays, diagnostics = scored_bank(inputs, parameters.pairwise_images, parameters.components, seed, reporter)
    return Outcome(
        headline="logme",
        metrics=scores_of_jackknife(arrays),
        interval=interval_of_jackknife(arrays, "logme"),
        samples={"train": len(inputs.bank)},
        diagnostics=diagnostics,
        predictions=arrays,
    )


def scored_bank(
    inputs: BankInputs, pairwise_images: int, components: int | None, seed: int, reporter: Reporter
) -> tuple[dict[str, Floats], dict[str, Json]]:
    """Scores of the bank with those without groups of its images, and diagnostics.

    PARC and NLEEP are of at most `pairwise_images`; NLEEP has `components` for each class, and is left out for None.
    """
    bank, labels, classes = inputs.bank.features, inputs.bank.labels, len(inputs.classes)
    reporter.phase("moments", len(bank), "images")
    groups = grouped_moments(bank, labels, np.arange(len(bank)), classes, inputs.device)
    whole = total(groups)
    shrinkage = ledoit_wolf(whole.covariance, len(bank), fourth_moment(bank, whole.mean))
    scores: dict[str, Callable[[Moments], float]] = {
        "logme": lambda of: logme(of.gram, of.class_sums, of.class_counts),
        "h-score": lambda of: h_score(of.covariance, between_classes(of.class_sums, of.class_counts)),
        "h-score-regularised": lambda of: regularised_h_score(
            of.covariance, between_classes(of.class_sums, of.class_counts), shrinkage
        ),
    }
    arrays = jackknife_arrays(groups, scores)
    chosen = np.asarray(spread_over(len(bank), pairwise_images))
    rows = bank.take(chosen).astype(np.float64)
    reporter.phase("PARC and NLEEP", len(rows), "images")
    arrays["jackknife:parc"] = np.array([parc(rows, labels[chosen], classes)])
    diagnostics: dict[str, Json] = {"shrinkage": shrinkage, "pairwise_images": len(rows)}
    if components is not None:
        count = min(components * classes, len(rows) // 2)
        arrays["jackknife:nleep"] = np.array([nleep(rows, labels[chosen], classes, count, seed)])
        diagnostics["nleep_components"] = count
    return arrays, diagnostics


def fourth_moment(features: StoredRows, mean: Floats) -> float:
    """Sum over images of the centred vectors' lengths to the fourth power."""
    blocks = (features[start : start + BLOCK].astype(np.float64) for start in range(0, len(features), BLOCK))
    return float(sum((((block - mean) ** 2).sum(axis=1) ** 2).sum() for block in blocks))


def nleep(features: Floats, labels: npt.NDArray[np.integer], classes: int, components: int, seed: int) -> float:
    """Mean log of sum_z P(y|z) P(z|x), P(z|x) of a Gaussian mixture on principal components that keep 80 %."""
    reduced = PCA(n_components=ENERGY, svd_solver="full").fit_transform(features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(components, reg_covar=1e-4 * float(reduced.var()), random_state=seed).fit(reduced)
    posterior = mixture.predict_proba(reduced)
    joint = np.eye(classes)[labels].T @ posterior
    given = joint / np.maximum(joint.sum(axis=0, keepdims=True), np.finfo(np.float64).tiny)
    return float(np.log((posterior @ given.T)[np.arange(len(labels)), labels]).mean())
