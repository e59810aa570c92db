"""Linear evaluation: logistic regression on frozen features, its regularisation strength selected on validation
images.

Source: paper appendix A.2; linear.py of linusericsson/ssl-transfer. 45 weight decays on a logarithmic grid, C = 1 / wd;
the C with the best validation score; a new fit on training and validation images together; the test images once.

The default departs from the published code in three ways, which the preset `paper` reverts: every fit is converged
(there: 100 warm-started iterations, far from the optimum for weak regularisation), of equal validation scores the
strongest regularisation is selected, and a selection at the edge of the grid extends it.

The fits of the search, on training images alone, are scored on the test images as well. The best of them is stored as
the diagnostic `chosen_on_test`, next to the score of the fit with the selected C: the optimism of choosing C on the
test images. Neither is the score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tasks.catalog.protocols import LinearParameters
from tasks.evaluation.inputs import ManyShotInputs, Predictor
from tasks.metrics.calibration import (
    Calibration,
    calibration_errors,
    predictions,
    published_scaled,
    reliability_of,
    validation_scaled,
)
from tasks.metrics.outcome import Json, Outcome, chosen_on_test
from tasks.metrics.scoring import all_scores, chance_diagnostics, check_metric, interval, score, without_left_open
from tasks.reporter import Reporter
from tasks.solvers.logistic import (
    Settings,
    StrengthGrid,
    StrengthSelection,
    TestScore,
    Trial,
    fit_published,
    fit_selected,
)

Logits = npt.NDArray[np.float32]


def evaluate(inputs: ManyShotInputs, parameters: LinearParameters, seed: int, reporter: Reporter) -> Outcome:
    """Select C on validation images, fit on training and validation images together, score the test images.

    The seed has determined the validation images. Raises `DataError` if the metric does not match the labels.
    """
    del seed
    check_metric(inputs.metric, inputs.test.labels)
    selection = selected_strength(inputs, parameters, reporter)

    reporter.phase("test")
    logits, labels = without_left_open(selection.logits(inputs.test.features), inputs.test.labels)
    calibration = None if inputs.multi_label else _calibration(inputs, parameters, selection, logits)
    _warn(inputs, parameters, selection, reporter)
    return Outcome(
        headline=inputs.metric,
        metrics={**all_scores(logits, labels), **calibration_errors(calibration)},
        interval=interval(inputs.metric, logits, labels),
        samples={"train": len(inputs.train), "val": len(inputs.val), "test": len(inputs.test)},
        hyperparameters={"C": selection.strength, "weight_decay": 1 / selection.strength},
        diagnostics={
            **_convergence(selection),
            "chosen_on_test": optimism_of_strength(selection),
            **chance_diagnostics(labels),
            **reliability_of(calibration),
        },
        predictions=predictions(inputs.test.index, labels, logits, calibration),
    )


def predictor(inputs: ManyShotInputs, parameters: LinearParameters, reporter: Reporter) -> Predictor:
    """Predicted classes of images by the fit with the selected C; test images are not read."""
    selection = selected_strength(inputs, parameters, reporter, test_score=lambda _logits_of: 0.0)
    return lambda features: selection.logits(features).argmax(axis=1)


def selected_strength(
    inputs: ManyShotInputs, parameters: LinearParameters, reporter: Reporter, test_score: TestScore | None = None
) -> StrengthSelection:
    """Fits at every strength, and the one with the best validation score fitted on training and validation images.

    `test_score` scores every fit for `Trial.test_score`; None for the score on the test images.
    """
    low, high, extensible = parameters.strength_low, parameters.strength_high, parameters.extend_grid
    grid = StrengthGrid.of_weight_decays(low, high, parameters.strengths, extensible=extensible)
    train, val = (inputs.train.features, inputs.train.labels), (inputs.val.features, inputs.val.labels)
    classes = len(inputs.classes)
    reporter.phase("regularisation path", len(grid.strengths), "strengths")

    def measure(logits: Logits, labels: npt.NDArray[np.generic]) -> float:
        return score(inputs.metric, logits, labels.astype(np.int64))

    def report(trial: Trial) -> None:
        reporter.metric("val", trial.score, step=round(float(np.log10(trial.strength)), 6))
        reporter.advance()

    def on_test(logits_of: Callable[[npt.NDArray[np.generic]], Logits]) -> float:
        return score(inputs.metric, *without_left_open(logits_of(inputs.test.features), inputs.test.labels))

    if parameters.solver == "published":
        limit = parameters.max_iter
        return fit_published(
            train,
            val,
            grid,
            measure,
            classes=classes,
            max_iter=limit,
            on_trial=report,
            test_score=test_score or on_test,
        )
    settings = Settings(parameters.tolerance, parameters.max_iter, inputs.device)
    return fit_selected(
        train, val, grid, measure, classes=classes, settings=settings, on_trial=report, test_score=test_score or on_test
    )


def _calibration(
    inputs: ManyShotInputs, parameters: LinearParameters, selection: StrengthSelection, logits: Logits
) -> Calibration:
    """ECE before and after scaling. T is fitted on validation logits of the classifier that was not trained on them."""
    if parameters.temperature == "published":
        return published_scaled(logits, inputs.test.labels)
    return validation_scaled(selection.validation_logits, inputs.val.labels, logits, inputs.test.labels)


def _warn(
    inputs: ManyShotInputs, parameters: LinearParameters, selection: StrengthSelection, reporter: Reporter
) -> None:
    """Warn about the selection and the fits. Fits of `published` are not expected to converge, so this is not
    reported."""
    if selection.on_edge:
        reporter.warn(
            f"the chosen C = {selection.strength:.3g} is the last one tried: a better one may lie beyond; "
            "widen the grid (linear.strength_low, linear.strength_high)"
        )
    if parameters.solver == "exact" and not selection.converged:
        count = sum(not trial.converged for trial in selection.trials)
        reporter.warn(
            f"{count} of {len(selection.trials)} fits did not converge in {parameters.max_iter} iterations: "
            "raise linear.max_iter"
        )
    labels = inputs.train.labels
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(inputs.classes))
    absent = [name for name, images in zip(inputs.classes, counts, strict=True) if not images]
    if absent:
        names = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        reporter.warn(f"{len(absent)} of {len(inputs.classes)} classes have no training image ({names})")


def optimism_of_strength(selection: StrengthSelection) -> dict[str, Json]:
    """The best score on test images among the fits of the search, and that of the selected C."""
    scored = [(trial, trial.test_score) for trial in selection.trials if trial.test_score is not None]
    selected = next(value for trial, value in scored if trial.strength == selection.strength)
    return chosen_on_test([value for _, value in scored], [f"C = {one.strength:.3g}" for one, _ in scored], selected)


def _convergence(selection: StrengthSelection) -> dict[str, Json]:
    gaps = [gap for gap in (selection.refit_gap, *(trial.gap for trial in selection.trials)) if gap is not None]
    curve: list[Json] = [[trial.strength, trial.score] for trial in selection.trials]
    chosen = next(trial for trial in selection.trials if trial.strength == selection.strength)
    unconverged: list[Json] = [trial.strength for trial in selection.trials if not trial.converged]
    return {
        "solver": selection.solver,
        "converged": selection.converged,
        "unconverged_strengths": unconverged,
        "largest_gap": max(gaps, default=None),
        "passes": selection.passes,
        "on_edge": selection.on_edge,
        "extended": selection.extended,
        "validation_score": chosen.score,
        "training_objective": chosen.objective if np.isfinite(chosen.objective) else None,
        "validation_curve": curve,
    }
