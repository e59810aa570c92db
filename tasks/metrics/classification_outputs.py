"""Further outputs of classifiers: calibration, reliability diagram and per-image predictions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import Labels
from tasks.metrics.calibration import Calibration, Reliability, reliability_of_top, softmax
from tasks.metrics.outcome import Json

Logits = npt.NDArray[np.float32]

HALF_LIMIT = 6e4
"""Range of logits stored in float16, whose maximum is 65,504."""


def calibration_errors(calibration: Calibration | None) -> dict[str, float]:
    """ECE in percent before and after scaling; empty if calibration is undefined."""
    return {} if calibration is None else {"ece": calibration.error, "ece_scaled": calibration.scaled_error}


def unscaled_error(logits: Logits, labels: Labels) -> dict[str, float]:
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
    index: npt.NDArray[np.int64], labels: Labels, logits: Logits, calibration: Calibration | None
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
        "logits": _half(logits - logits.max(axis=1, keepdims=True)),
    }


def _scaled(logits: Logits, calibration: Calibration) -> dict[str, npt.NDArray[np.generic]]:
    """Confidence at the single temperature; empty for the published estimate, which has one temperature per fold."""
    if len(calibration.temperatures) > 1:
        return {}
    return {"confidence_scaled": softmax(logits / calibration.temperatures[0]).max(axis=1)}


def _half(logits: Logits) -> npt.NDArray[np.float16]:
    return np.clip(logits, -HALF_LIMIT, HALF_LIMIT).astype(np.float16)
