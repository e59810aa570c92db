"""Robustness: one probe, tested on its test images, on corruptions of them, and on other sets.

The probe is that of `linear`: logistic regression on frozen features, its strength selected on validation images. The
corruptions are this project's own (`tasks.datasets.corruptions`) not ImageNet-C. For another set with fewer classes
(ImageNet-A and -R have 200), class scores are restricted to these classes before the largest is taken, and its drop is
relative to the test images of the same classes, as scored by their authors and timm. Nothing is selected on shifted
images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.catalog.protocols import LinearParameters
from tasks.catalog.retrieval_parameters import RobustnessParameters
from tasks.datasets.corruptions import PREFIX
from tasks.datasets.shifts import OTHER
from tasks.evaluation.inputs import ManyShotInputs, Samples
from tasks.metrics.outcome import Outcome
from tasks.metrics.robustness import CORRUPTED, HEADLINE, robustness_interval, robustness_scores, shift_columns
from tasks.metrics.scoring import check_metric
from tasks.protocols.linear import selected_strength
from tasks.reporter import Reporter

ROWS = 8_192
"""Number of images whose class scores are in memory at once."""
Classes = npt.NDArray[np.int32]


def evaluate(inputs: ManyShotInputs, parameters: RobustnessParameters, seed: int, reporter: Reporter) -> Outcome:
    """Fit on training and validation images, predict every set of `inputs.shifts`.

    The seed has determined the validation images. Raises `DataError`.
    """
    del seed
    check_metric("accuracy", inputs.test.labels)
    linear = LinearParameters(strengths=parameters.strengths, validation_share=parameters.validation_share)
    selection = selected_strength(inputs, linear, reporter)
    every = np.arange(len(inputs.classes))

    def predicted(samples: Samples, classes: npt.NDArray[np.int64]) -> Classes:
        """[n] the class with the largest score among `classes`."""
        parts = [
            classes[selection.logits(samples.features[start : start + ROWS])[:, classes].argmax(axis=1)]
            for start in range(0, len(samples), ROWS)
        ]
        return np.concatenate(parts).astype(np.int32)

    arrays: dict[str, npt.NDArray[np.generic]] = {"index": inputs.test.index, "label": inputs.test.labels}
    arrays["predicted"] = predicted(inputs.test, every)
    reporter.phase("shifts", len(inputs.shifts), "sets")
    for name, samples in inputs.shifts.items():
        if name.startswith(PREFIX):
            arrays[f"predicted@{name}"] = predicted(samples, every)
        else:
            known = samples.labels != OTHER
            labels, found = samples.labels[known], np.unique(samples.labels[known])
            arrays[f"label@{name}"], arrays[f"predicted@{name}"] = labels, predicted(samples, found)[known]
            if len(found) < len(every):
                arrays[f"clean@{name}"] = predicted(inputs.test, found)
        reporter.advance()
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
        diagnostics={"on_edge": selection.on_edge, "converged": selection.converged},
        predictions=arrays,
    )
