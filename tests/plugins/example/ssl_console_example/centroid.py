"""Nearest class mean on frozen features, evaluated by workers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.evaluation_api import ManyShotInputs, Outcome, Reporter, joined, wilson


def evaluate(inputs: ManyShotInputs, parameters: Any, seed: int, reporter: Reporter) -> Outcome:
    """Accuracy in percent of the class whose mean is nearest."""
    reporter.phase("centroids")
    training = joined(inputs.train, inputs.val)
    bank, test = (_scaled(samples.features, parameters.normalise) for samples in (training, inputs.test))
    means = np.stack([bank[training.labels == label].mean(0) for label in range(len(inputs.classes))])
    nearest = ((test[:, None] - means) ** 2).sum(2).argmin(1)
    right = int((nearest == inputs.test.labels).sum())
    interval = wilson(right, len(inputs.test))
    samples = {"train": len(training), "test": len(inputs.test)}
    predictions = {"index": inputs.test.index, "label": inputs.test.labels, "predicted": nearest}
    accuracy = 100 * right / len(inputs.test)
    return Outcome("accuracy", {"accuracy": accuracy}, interval, samples, predictions=predictions)


def _scaled(features: Any, normalise: bool) -> Any:
    return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12) if normalise else features
