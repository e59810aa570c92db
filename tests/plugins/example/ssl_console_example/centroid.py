"""Nearest class mean on frozen features: what the protocol does, in the worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.evaluation.inputs import ManyShotInputs, joined
from tasks.metrics.confidence_intervals import wilson
from tasks.metrics.outcome import Outcome
from tasks.reporter import Reporter


def evaluate(inputs: ManyShotInputs, parameters: Any, seed: int, reporter: Reporter) -> Outcome:
    """Accuracy in percent of the class whose mean is nearest."""
    reporter.phase("centroids")
    known = joined(inputs.train, inputs.val)
    bank, asked = (_scaled(samples.features, parameters.normalise) for samples in (known, inputs.test))
    means = np.stack([bank[known.labels == label].mean(0) for label in range(len(inputs.classes))])
    nearest = ((asked[:, None] - means) ** 2).sum(2).argmin(1)
    right = int((nearest == inputs.test.labels).sum())
    interval = wilson(right, len(inputs.test))
    samples = {"train": len(known), "test": len(inputs.test)}
    return Outcome("accuracy", {"accuracy": 100 * right / len(inputs.test)}, interval, samples)


def _scaled(features: Any, normalise: bool) -> Any:
    return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12) if normalise else features
