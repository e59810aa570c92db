"""Robustness: one probe, tested on its test images, on corruptions of them, and on other sets.

The probe is that of `linear`: logistic regression on frozen features, its strength selected on validation images. The
corruptions are this project's own (`tasks.datasets.shifts`), not ImageNet-C. For another set with fewer classes
(ImageNet-A and -R have 200), class scores are restricted to these classes before the largest is taken, and its drop is
relative to the test images of the same classes, as scored by their authors and timm. Nothing is selected on shifted
images. What choosing C on them would have given is the diagnostic `chosen_on_test`, where scoring all fits is cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from tasks.catalog.protocols import LinearParameters
from tasks.catalog.retrieval_parameters import RobustnessParameters
from tasks.datasets.shifts import OTHER, PREFIX
from tasks.evaluation.inputs import ManyShotInputs, Samples
from tasks.metrics.outcome import Outcome
from tasks.metrics.robustness import CORRUPTED, HEADLINE, robustness_interval, robustness_scores, shift_columns
from tasks.metrics.scoring import check_metric
from tasks.protocols.linear import optimism_of_strength, selected_strength
from tasks.reporter import Reporter

ROWS = 8_192
"""Number of images whose class scores are in memory at once."""
MOST_PRODUCTS = 10**12
"""Multiplications up to which every candidate C is scored on the shifted images, about a minute on one core: all but
sets of the size of ImageNet's."""
Classes = npt.NDArray[np.int32]
Arrays = dict[str, npt.NDArray[np.generic]]
LogitsOf = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.float32]]
"""Class scores [n, classes] of features [n, d]."""


def evaluate(inputs: ManyShotInputs, parameters: RobustnessParameters, seed: int, reporter: Reporter) -> Outcome:
    """Fit on training and validation images, predict every set of `inputs.shifts`.

    The seed has determined the validation images. Raises `DataError`.
    """
    del seed
    check_metric("accuracy", inputs.test.labels)
    linear = LinearParameters(strengths=parameters.strengths, validation_share=parameters.validation_share)
    scored = _products(inputs) * parameters.strengths <= MOST_PRODUCTS
    selection = selected_strength(inputs, linear, reporter, partial(_shifted_score, inputs) if scored else None)
    reporter.phase("shifts", len(inputs.shifts), "sets")
    arrays = _predictions(inputs, selection.logits, reporter)
    columns = shift_columns(arrays)
    if set(columns) == {CORRUPTED}:
        arrays[HEADLINE] = columns[CORRUPTED]
    interval = robustness_interval(arrays, HEADLINE)
    assert interval is not None
    return Outcome(
        headline=HEADLINE,
        metrics=robustness_scores(arrays),
        interval=interval,
        samples={
            "train": len(inputs.train),
            "val": len(inputs.val),
            "test": len(inputs.test),
            "shifted": sum(map(len, inputs.shifts.values())),
        },
        hyperparameters={"C": selection.strength, "weight_decay": 1 / selection.strength},
        diagnostics={
            "on_edge": selection.on_edge,
            "converged": selection.converged,
            **({"chosen_on_test": optimism_of_strength(selection)} if scored else {}),
        },
        predictions=arrays,
    )


def _predictions(inputs: ManyShotInputs, logits_of: LogitsOf, reporter: Reporter | None = None) -> Arrays:
    """Labels and predicted classes of the test images and of every shift, as `tasks.metrics.robustness` reads them."""
    every = np.arange(len(inputs.classes))

    def predicted(samples: Samples, classes: npt.NDArray[np.int64]) -> Classes:
        """[n] the class with the largest score among `classes`."""
        parts = [
            classes[logits_of(samples.features[start : start + ROWS])[:, classes].argmax(axis=1)]
            for start in range(0, len(samples), ROWS)
        ]
        return np.concatenate(parts).astype(np.int32)

    arrays: Arrays = {"index": inputs.test.index, "label": inputs.test.labels}
    arrays["predicted"] = predicted(inputs.test, every)
    for name, samples in inputs.shifts.items():
        if name.startswith(PREFIX):
            arrays[f"predicted@{name}"] = predicted(samples, every)
        else:
            known = samples.labels != OTHER
            labels, found = samples.labels[known], np.unique(samples.labels[known])
            arrays[f"label@{name}"], arrays[f"predicted@{name}"] = labels, predicted(samples, found)[known]
            if len(found) < len(every):
                arrays[f"clean@{name}"] = predicted(inputs.test, found)
        if reporter is not None:
            reporter.advance()
    return arrays


def _shifted_score(inputs: ManyShotInputs, logits_of: LogitsOf) -> float:
    """Mean accuracy over shifts of one fit: for the optimism of choosing C on them, never for the selection."""
    return robustness_scores(_predictions(inputs, logits_of))[HEADLINE]


def _products(inputs: ManyShotInputs) -> int:
    """Multiplications that the class scores of all shifted images cost."""
    images = len(inputs.test) + sum(map(len, inputs.shifts.values()))
    return images * int(inputs.test.features.shape[1]) * len(inputs.classes)
