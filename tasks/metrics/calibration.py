"""Outputs of classifiers: calibration error, reliability diagram, temperature scaling, and per-image predictions.

Sources: paper section 4.7 and table 9; temperature_scaling.py of linusericsson/ssl-transfer, which measures with 15
equal-width bins on the top label. Errors are in percent, 0 to 100; confidences and accuracies are fractions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import Labels
from tasks.metrics.outcome import Json

Floats = npt.NDArray[np.float64]
Logits = npt.NDArray[np.floating]
IntLabels = npt.NDArray[np.integer]

COLDEST, HOTTEST = 1e-3, 1e3
StoredLogits = npt.NDArray[np.float32]

HALF_LIMIT = 6e4
"""Range of logits stored in float16, whose maximum is 65,504."""


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram over equal-width bins of the top-label confidence on [0, 1].

    `confidence` and `accuracy` are the means in each bin [bins], NaN where the bin is empty; `count` [bins].
    """

    confidence: Floats
    accuracy: Floats
    count: npt.NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error in percent: mean |accuracy - confidence|, weighted by samples."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return 100.0 * float(np.sum(gaps * self.count) / np.sum(self.count))


def softmax(logits: Logits) -> Floats:
    """Probabilities [n, c] of `logits` [n, c], in float64."""
    shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def reliability(probabilities: Logits, targets: IntLabels, bins: int = 15) -> Reliability:
    """Reliability diagram of `probabilities` [n, c] against `targets` [n].

    A bin includes its lower edge but not its upper one, except the last, which includes 1. Raises ValueError for NaN,
    for values outside [0, 1] and for shapes that do not match.
    """
    _checked(probabilities, targets)
    top = probabilities.max(axis=1).astype(np.float64)
    return reliability_of_top(top, probabilities.argmax(axis=1) == targets, bins)


def reliability_of_top(top: Floats, right: npt.NDArray[np.bool_], bins: int = 15) -> Reliability:
    """Reliability diagram from the top-label confidence [n] and whether that label is correct [n]."""
    if not (top.min() >= 0.0 and top.max() <= 1.0 + 1e-6):
        raise ValueError(f"probabilities reach from {top.min()} to {top.max()}: pass softmax output, not logits")
    slot = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], top, side="right")
    count = np.bincount(slot, minlength=bins)
    mean = np.full((2, bins), np.nan)
    for row, values in enumerate((top, right.astype(np.float64))):
        np.divide(np.bincount(slot, values, minlength=bins), count, out=mean[row], where=count > 0)
    return Reliability(confidence=mean[0], accuracy=mean[1], count=count.astype(np.int64))


def expected_calibration_error(probabilities: Logits, targets: IntLabels, bins: int = 15) -> float:
    """Top-label ECE in percent of `probabilities` [n, c] against `targets` [n]."""
    return reliability(probabilities, targets, bins).error


def fit_temperature(logits: Logits, targets: IntLabels) -> float:
    """The T that minimises the negative log-likelihood of `logits` / T ([n, c]) for `targets` [n].

    The likelihood is convex in 1/T, so its derivative is bisected; the result is within [0.001, 1000], at a bound if
    every sample is correct or the logits contain no information. Raises ValueError for NaN and for shapes that do not
    match.
    """
    _checked(logits, targets)
    relative = logits.astype(np.float64)
    relative = relative - relative[np.arange(len(targets)), targets][:, None]
    low, high = np.log(1.0 / HOTTEST), np.log(1.0 / COLDEST)
    for _ in range(60):
        middle = 0.5 * (low + high)
        # derivative of the mean negative log-likelihood with respect to the multiplier of the logits
        slope = np.mean(np.sum(softmax(np.exp(middle) * relative) * relative, axis=1))
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(np.exp(-0.5 * (low + high)))


@dataclass(frozen=True)
class Calibration:
    """ECE in percent before and after temperature scaling; `temperatures` is one, or one per fold."""

    error: float
    scaled_error: float
    temperatures: tuple[float, ...]
    diagram: Reliability


def validation_scaled(val_logits: Logits, val_targets: IntLabels, logits: Logits, targets: IntLabels) -> Calibration:
    """Fit T on validation data, measure on test data; logits are [n, c], targets [n]."""
    temperature = fit_temperature(val_logits, val_targets)
    diagram = reliability(softmax(logits), targets)
    scaled = expected_calibration_error(softmax(logits / temperature), targets)
    return Calibration(diagram.error, scaled, (temperature,), diagram)


def published_scaled(logits: Logits, targets: IntLabels, folds: int = 5) -> Calibration:
    """The published estimate, from test `logits` [n, c] and `targets` [n] alone.

    Samples are shuffled with numpy's legacy seed 0 and divided into folds of floor(n / folds), the rest dropped; T is
    fitted on one fold, ECE measured on the others, and the errors averaged. Fitting T on test labels makes it an
    optimistic estimate, provided for comparison. The unscaled error is over all samples.
    """
    size = len(targets) // folds
    if size < 1:
        raise ValueError(f"{len(targets)} samples cannot be divided into {folds} folds")
    order = np.arange(len(targets))
    np.random.RandomState(0).shuffle(order)
    parts = order[: size * folds].reshape(folds, size)
    fits = [_fold(logits, targets, parts, fold) for fold in range(folds)]
    diagram = reliability(softmax(logits), targets)
    scaled = float(np.mean([error for _, error in fits]))
    return Calibration(diagram.error, scaled, tuple(temperature for temperature, _ in fits), diagram)


def _fold(logits: Logits, targets: IntLabels, parts: npt.NDArray[np.intp], fold: int) -> tuple[float, float]:
    held, rest = parts[fold], np.delete(parts, fold, axis=0).ravel()
    temperature = fit_temperature(logits[held], targets[held])
    return temperature, expected_calibration_error(softmax(logits[rest] / temperature), targets[rest])


def _checked(values: Logits, targets: IntLabels) -> None:
    if values.ndim != 2 or targets.shape != values.shape[:1] or not len(targets):
        raise ValueError(f"expected [samples, classes] and [samples], got {values.shape} and {targets.shape}")
    if not np.isfinite(values).all():
        raise ValueError("logits or probabilities hold NaN or infinity")


def calibration_errors(calibration: Calibration | None) -> dict[str, float]:
    """ECE in percent before and after scaling; empty if calibration is undefined."""
    return {} if calibration is None else {"ece": calibration.error, "ece_scaled": calibration.scaled_error}


def unscaled_error(logits: StoredLogits, labels: Labels) -> dict[str, float]:
    """ECE in percent of classifiers without validation images for a temperature."""
    shares = softmax(logits)
    return {"ece": reliability_of_top(shares.max(axis=1), logits.argmax(axis=1) == labels).error}


def reliability_of(calibration: Calibration | None) -> dict[str, Json]:
    """Temperatures and diagram as diagnostics; empty if calibration is undefined."""
    if calibration is None:
        return {}
    diagram: Reliability = calibration.diagram
    return {
        "temperatures": list(calibration.temperatures),
        "reliability": {
            "confidence": _numbers(diagram.confidence),
            "accuracy": _numbers(diagram.accuracy),
            "count": [int(count) for count in diagram.count],
        },
    }


def _numbers(values: npt.NDArray[np.float64]) -> list[Json]:
    """Values with NaN (empty bins) replaced by None for JSON."""
    return [None if np.isnan(value) else float(value) for value in values]


def predictions(
    index: npt.NDArray[np.int64], labels: Labels, logits: StoredLogits, calibration: Calibration | None
) -> dict[str, npt.NDArray[np.generic]]:
    """Per-image outputs from which every score can be recomputed exactly (`tasks.metrics.rescore`).

    Logits are stored relative to the largest, where float16 is most precise; softmax does not change.
    """
    if labels.ndim == 2:
        return {"index": index, "label": labels.astype(np.uint8), "scores": logits}
    shares = softmax(logits)
    return {
        "index": index,
        "label": labels,
        "predicted": logits.argmax(axis=1).astype(np.int32),
        "probability": shares[np.arange(len(logits)), labels].astype(np.float32),
        "confidence": shares.max(axis=1),
        **({} if calibration is None else _scaled(logits, calibration)),
        "logits": np.clip(logits - logits.max(axis=1, keepdims=True), -HALF_LIMIT, HALF_LIMIT).astype(np.float16),
    }


def _scaled(logits: StoredLogits, calibration: Calibration) -> dict[str, npt.NDArray[np.generic]]:
    """Confidence at the single temperature; empty for the published estimate, which has one temperature per fold."""
    if len(calibration.temperatures) > 1:
        return {}
    return {"confidence_scaled": softmax(logits / calibration.temperatures[0]).max(axis=1)}
