"""k-shot linear evaluation and label efficiency: logistic regression from 1 to 16 images per class.

Source: logistic_eval.py of facebookresearch/msn (4388dc1). Each vector is centred by its own mean and scaled to length
1 (`cyanure.preprocess(columns=False)`); multinomial logistic regression without intercept, its penalty 0.0025 over the
number of images (README; the script's default is a tenth of it). Nothing is selected: the publication fixes the
penalty, and a few images per class leave none for validation. The score is the mean over several draws of training
images. Choices of this project: draws are generated here, and the smaller sets of a draw are subsets of its larger
ones, as SimCLR's 1 % is of its 10 % (the published lists are of ImageNet; the presets `msn-1`, `msn-2` and `msn-5` fit
each of MSN's lists once); fractions of the training images (1 % and 10 %) are drawn by class and contain at least one
image of each; the interval is over other test images and other draws.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tasks.catalog.head_parameters import KShotParameters
from tasks.evaluation.inputs import BankInputs
from tasks.features.shards import AnyFloats, StoredRows
from tasks.metrics.jackknife import interval_of_draws, scores_of_draws
from tasks.metrics.outcome import Json, Outcome
from tasks.reporter import Reporter
from tasks.solvers.quick_classifiers import fit_multinomial
from tasks.training.loop import generator_of

Indices = npt.NDArray[np.int64]
BLOCK = 4_096
"""Test images that are scored at the same time."""


def evaluate(inputs: BankInputs, parameters: KShotParameters, seed: int, reporter: Reporter) -> Outcome:
    """Fit on every draw and size of training set, and score the test images."""
    sizes = sizes_of(parameters, inputs.bank.labels, len(inputs.classes), reporter)
    reporter.phase("fits", len(sizes) * parameters.draws, "fits")
    predicted: dict[str, list[Indices]] = {name: [] for name in sizes}
    unconverged = 0
    for draw in range(parameters.draws):
        order = class_orders(inputs.bank.labels, len(inputs.classes), seed, draw)
        for name, counts in sizes.items():
            chosen = np.sort(np.concatenate([rows[:count] for rows, count in zip(order, counts, strict=True)]))
            present = np.flatnonzero(counts)
            targets = np.searchsorted(present, inputs.bank.labels[chosen])
            rows = normalised(inputs.bank.features.take(chosen))
            weights, converged = fit_multinomial(rows, targets, len(present), parameters.penalty, inputs.device)
            unconverged += not converged
            predicted[name].append(present[_predicted(inputs.test.features, weights)])
            reporter.advance()
    if unconverged:
        reporter.warn(f"{unconverged} of {len(sizes) * parameters.draws} fits did not converge")
    return _outcome(inputs, parameters, predicted, sizes)


def sizes_of(
    parameters: KShotParameters, labels: Indices, classes: int, reporter: Reporter
) -> Mapping[str, npt.NDArray[np.int64]]:
    """Number of images of each class in a training set, by the name of the set."""
    there = np.bincount(labels, minlength=classes)
    sizes = {str(shots): np.minimum(there, shots) for shots in parameters.shots}
    sizes |= {
        f"{100 * share:g}pct": np.minimum(there, np.maximum(1, np.round(there * share).astype(np.int64)))
        for share in parameters.shares
    }
    if not there.all():
        reporter.warn(f"{int((there == 0).sum())} of {classes} classes have no training image and are never predicted")
    fewer = int((there < max(parameters.shots)).sum())
    if fewer:
        reporter.warn(
            f"{fewer} of {classes} classes have fewer than {max(parameters.shots)} training images: all are used"
        )
    return sizes


def class_orders(labels: Indices, classes: int, seed: int, draw: int) -> list[Indices]:
    """The images of each class in random order, of which a training set contains the first."""
    generator = generator_of(seed, 4, draw)
    return [generator.permutation(np.flatnonzero(labels == number)) for number in range(classes)]


def normalised(rows: AnyFloats) -> npt.NDArray[np.float64]:
    """Rows centred by their own mean and scaled to length 1; a constant row becomes 0."""
    centred = rows.astype(np.float64) - rows.mean(axis=1, dtype=np.float64, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return unit


def _predicted(features: StoredRows, weights: npt.NDArray[np.float64]) -> Indices:
    blocks = (features[start : start + BLOCK] for start in range(0, len(features), BLOCK))
    return np.concatenate([(normalised(block) @ weights.T).argmax(axis=1) for block in blocks])


def _outcome(
    inputs: BankInputs,
    parameters: KShotParameters,
    predicted: Mapping[str, list[Indices]],
    sizes: Mapping[str, npt.NDArray[np.int64]],
) -> Outcome:
    arrays = {f"predicted@{name}": np.stack(draws, axis=1).astype(np.int32) for name, draws in predicted.items()}
    headline = arrays[f"predicted@{parameters.headline}"]
    stored: dict[str, npt.NDArray[np.generic]] = {
        "index": inputs.test.index,
        "label": inputs.test.labels,
        "predicted": headline,
    }
    stored |= arrays
    curve: list[Json] = []
    for name, counts in sizes.items():
        bounds = interval_of_draws(arrays[f"predicted@{name}"], inputs.test.labels)
        point: dict[str, Json] = {"size": name, "images": int(counts.sum()), "low": bounds.low, "high": bounds.high}
        curve.append(point)
    return Outcome(
        headline="accuracy",
        metrics=scores_of_draws(stored),
        interval=interval_of_draws(headline, inputs.test.labels),
        samples={"train": sum(inputs.trained_on), "test": len(inputs.test)},
        hyperparameters={"shots": parameters.headline},
        diagnostics={"curve": curve, "draws": parameters.draws},
        predictions=stored,
    )
