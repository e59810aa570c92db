"""Label-free and transferability scores: equal to their published definitions, computed from whole matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, spearmanr
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from tasks.catalog.analysis_parameters import LabelFreeParameters, TransferabilityParameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, Samples
from tasks.metrics.jackknife import jackknife
from tasks.metrics.rescore import rescore
from tasks.protocols import label_free, transferability
from tasks.protocols.transferability import nleep
from tasks.reporter import SilentReporter

WIDTH, CLASSES = 24, 3


def samples(count: int, seed: int, spread: float = 1.0) -> Samples:
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    means = spread * np.random.default_rng(9).standard_normal((CLASSES, WIDTH))
    scales = np.arange(1, WIDTH + 1) ** -0.5
    features = (means[labels] + generator.standard_normal((count, WIDTH)) * scales + 0.3).astype(np.float32)
    return Samples(features, labels, np.arange(count))


def inputs(spread: float = 1.0) -> BankInputs:
    roles = samples(150, 1, spread), samples(50, 2, spread), samples(20, 3, spread)
    return BankInputs.of(ManyShotInputs(*roles, ("a", "b", "c"), "accuracy"))


BANK = np.concatenate([samples(150, 1).features, samples(50, 2).features]).astype(np.float64)
LABELS = np.concatenate([samples(150, 1).labels, samples(50, 2).labels])


def test_label_free_scores_follow_their_definitions_on_the_whole_matrix() -> None:
    outcome = label_free.evaluate(inputs(), LabelFreeParameters(), 0, SilentReporter())
    shares = np.linalg.svd(BANK, compute_uv=False)
    shares = shares / shares.sum()
    assert outcome.metrics["rankme"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    values = np.linalg.eigvalsh(np.cov(BANK.T, bias=True))[::-1]
    shares = values / values.sum()
    assert outcome.metrics["effective-rank"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    slope = np.polyfit(np.log(np.arange(11, WIDTH + 1)), np.log(values[10:]), 1)[0]
    assert outcome.metrics["alpha-req"] == pytest.approx(-slope)
    assert outcome.interval.low < outcome.value < outcome.interval.high


def published_logme(features: np.ndarray, labels: np.ndarray) -> float:
    """LogME.py of thuml/Transfer-Learning-Library, the first version of its algorithm, with whole matrices."""
    images, width = features.shape
    basis, roots, _ = np.linalg.svd(features, full_matrices=False)
    found = []
    for number in range(CLASSES):
        target = (labels == number).astype(np.float64)
        alpha = beta = 1.0
        squares, projected = roots**2, basis.T @ target
        rest = (target**2).sum() - (projected**2).sum()
        ratio = alpha / beta
        for _ in range(11):
            gamma = (squares / (squares + ratio)).sum()
            length = (squares * projected**2 / (ratio + squares) ** 2).sum()
            residual = (projected**2 / (1 + squares / ratio) ** 2).sum() + rest
            alpha, beta = gamma / (length + 1e-5), (images - gamma) / (residual + 1e-5)
            new = alpha / beta
            if abs(new - ratio) / ratio <= 1e-3:
                break
            ratio = new
        evidence = width / 2 * np.log(alpha) + images / 2 * np.log(beta) - 0.5 * np.log(alpha + beta * squares).sum()
        evidence -= beta / 2 * residual + alpha / 2 * length + images / 2 * np.log(2 * np.pi)
        found.append(evidence / images)
    return float(np.mean(found))


def test_transferability_scores_follow_their_definitions_on_the_whole_matrix() -> None:
    metrics = transferability.evaluate(inputs(), TransferabilityParameters(), 0, SilentReporter()).metrics
    assert metrics["logme"] == pytest.approx(published_logme(BANK, LABELS), rel=1e-6)
    means = np.stack([BANK[number == LABELS].mean(axis=0) for number in range(CLASSES)])[LABELS]
    covariance, between = np.cov(BANK.T, bias=True), np.cov(means.T, bias=True)
    assert metrics["h-score"] == pytest.approx(np.trace(np.linalg.pinv(covariance) @ between))
    shrinkage = ledoit_wolf_shrinkage(BANK)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / WIDTH * np.eye(WIDTH)
    expected = np.trace(np.linalg.inv(shrunk) @ ((1 - shrinkage) * between))
    assert metrics["h-score-regularised"] == pytest.approx(expected)


def test_parc_is_spearmans_correlation_of_distances() -> None:
    metrics = transferability.evaluate(inputs(), TransferabilityParameters(), 0, SilentReporter()).metrics
    reduced = PCA(n_components=WIDTH, svd_solver="full").fit_transform(BANK)
    reduced /= reduced.std(axis=0)
    upper = np.triu_indices(len(BANK), 1)
    distances = (1 - np.corrcoef(reduced))[upper], (1 - np.corrcoef(np.eye(CLASSES)[LABELS]).round(12))[upper]
    assert metrics["parc"] == pytest.approx(100 * spearmanr(*distances).statistic, abs=1e-6)


def test_nleep_is_the_expected_posterior_of_classes_over_the_components_of_a_mixture() -> None:
    """By loops, on principal components of numpy and densities of scipy, for a mixture that is a fixed point of EM."""
    rows, components = BANK[:, :6], 4
    centred = rows - rows.mean(axis=0)
    _, roots, directions = np.linalg.svd(centred, full_matrices=False)
    share = np.cumsum(roots**2) / (roots**2).sum()
    reduced = centred @ directions[: int(np.argmax(share > 0.8)) + 1].T
    penalty = 1e-4 * reduced.var()
    mixture = GaussianMixture(components, reg_covar=penalty, random_state=0, tol=1e-10, max_iter=2_000).fit(reduced)
    densities = np.stack(
        [
            weight * multivariate_normal(mean, covariance).pdf(reduced)
            for weight, mean, covariance in zip(mixture.weights_, mixture.means_, mixture.covariances_, strict=True)
        ],
        axis=1,
    )
    posterior = densities / densities.sum(axis=1, keepdims=True)
    assert posterior.sum(axis=0) / len(rows) == pytest.approx(mixture.weights_, abs=1e-5)
    for number in range(components):
        weights = posterior[:, number] / posterior[:, number].sum()
        assert weights @ reduced == pytest.approx(mixture.means_[number], abs=1e-3)
    total = 0.0
    for row, label in zip(posterior, LABELS, strict=True):
        chance = 0.0
        for number in range(components):
            of_label = posterior[label == LABELS, number].sum() / posterior[:, number].sum()
            chance += of_label * row[number]
        total += math.log(chance)
    found = nleep(rows, LABELS, CLASSES, components, 0)
    assert found == pytest.approx(total / len(rows), abs=0.02)


def test_classes_that_are_further_apart_score_higher_by_every_measure() -> None:
    near, far = (
        transferability.evaluate(inputs(spread), TransferabilityParameters(), 0, SilentReporter()).metrics
        for spread in (0.1, 2.0)
    )
    assert all(far[name] > near[name] for name in near)


@pytest.mark.parametrize("protocol", ["label-free", "transferability"])
def test_scores_describe_and_are_repeated_from_what_is_stored(protocol: str) -> None:
    assert PROTOCOLS[protocol].descriptive
    outcome = (
        label_free.evaluate(inputs(), LabelFreeParameters(), 0, SilentReporter())
        if protocol == "label-free"
        else transferability.evaluate(inputs(), TransferabilityParameters(), 0, SilentReporter())
    )
    rescorer = rescore(protocol, outcome.predictions)
    assert rescorer is not None
    assert rescorer.metrics(outcome.predictions) == outcome.metrics
    assert rescorer.interval(outcome.predictions, outcome.headline) == outcome.interval


def test_the_jackknife_covers_the_value_of_other_images_as_often_as_promised() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        values = generator.exponential(size=(8, 30))
        whole = float(values.mean())
        without = (values.sum() - values.sum(axis=1)) / 210
        bounds = jackknife(whole, without)
        covered += bounds.low <= 1.0 <= bounds.high
    assert 0.92 <= covered / 400 <= 0.98
