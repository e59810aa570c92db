"""Finetuning: backbone and linear classifier trained together, the setting chosen on validation images.

Source: paper section 4.1 and appendix A.2; finetune.py of linusericsson/ssl-transfer. SGD with Nesterov momentum 0.9,
batches of 64, 5000 steps, half a cosine; 4 learning rates x 5 weight decays (base / rate), each with and without random
views; the best on validation images; one more training on training and validation images; the test images once.

The published script selects learning rate and weight decay, and is run separately with and without views; here the
views are selected as well, as in the paper. Batch norms are trained, as there. One model is in memory at a time.

Some publications report the best epoch or setting on the test images. The final training is scored on them at evenly
spaced steps as well, and every setting at its end, as long as either adds at most a twentieth to the number of images
encoded; the best of these scores are stored as the diagnostics `chosen_on_test` (step) and `setting_chosen_on_test`,
and the score is that of the last step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.catalog.finetune_parameters import FinetuneParameters, GridPoint
from tasks.datasets.splits import many_shot_indices
from tasks.evaluation.inputs import ImageInputs
from tasks.features.manifest import NotFiniteError
from tasks.metrics.calibration import (
    Calibration,
    StoredLogits,
    calibration_errors,
    predictions,
    published_scaled,
    reliability_of,
    validation_scaled,
)
from tasks.metrics.outcome import Json, Outcome, chosen_on_test
from tasks.metrics.scoring import (
    all_scores,
    chance_diagnostics,
    check_metric,
    interval,
    score,
    without_left_open,
)
from tasks.protocols.finetune.classifier import Batch, RoleImages, SgdRecipe, logits_of
from tasks.protocols.finetune.grid_search import PointT, Search, SettingTrainer, checkpoint_at
from tasks.reporter import Reporter
from tasks.training.loop import loss_still_decreasing, prefetched
from tasks.training.test_readings import TestReadings, affordable, best_step

CURVE_POINTS = 100
STEP_PASSES = 3
"""Cost of a training step per image in forward passes."""


def evaluate(inputs: ImageInputs, parameters: FinetuneParameters, seed: int, reporter: Reporter) -> Outcome:
    """Select on validation images, train on training and validation images, score the test images.

    The seed determines the classifier's first weights, the batches and the views, and the validation split of data
    without a published one (seed 0: the published rule). Raises `DataError`, `NotFiniteError`.
    """
    split = many_shot_indices(inputs.dataset, parameters.validation_share, seed)
    train_role, val_role, both, test = (
        RoleImages.of(inputs.dataset, selection, inputs.spec)
        for selection in (split.train, split.val, split.train_and_val, split.test)
    )
    check_metric(inputs.metric, test.labels, inputs.dataset.name)
    recipe = SgdRecipe(inputs, parameters, seed)
    search = Search(inputs, parameters, recipe, train_role, val_role, reporter, scored_role(recipe, train_role, test))
    point = search.run()
    warn(search, point.rate, parameters.rates, "finetune", reporter)
    final = final_training(inputs, recipe, point, both, test, reporter)
    logits = final.logits
    logits, labels = without_left_open(logits, test.labels)
    calibration = None if test.labels.ndim == 2 else _calibration(search, parameters, logits, test)
    return Outcome(
        headline=inputs.metric,
        metrics={**all_scores(logits, labels), **calibration_errors(calibration)},
        interval=interval(inputs.metric, logits, labels),
        samples={"train": len(train_role), "val": len(val_role), "test": len(test)},
        hyperparameters={
            "rate": point.rate,
            "base": point.base,
            "weight_decay": point.weight_decay,
            "augmented": point.augmented,
        },
        diagnostics={
            **_settings(search),
            "on_edge": on_edge(point.rate, parameters.rates),
            **final.diagnostics,
            **chance_diagnostics(labels),
            **reliability_of(calibration),
        },
        predictions=predictions(test.index, labels, logits, calibration),
    )


@dataclass(frozen=True)
class FinalTraining:
    """Test logits of the trained network, and diagnostics of the training."""

    logits: StoredLogits
    """[n_test, classes] at the last step."""
    losses: list[float]
    on_test: dict[str, Json]
    """The best step on test images; empty where scoring several would have cost too much."""

    @property
    def diagnostics(self) -> dict[str, Json]:
        """The loss, and the best step on test images if several were scored."""
        return {
            "loss_curve": stretches(self.losses),
            "loss_falling": loss_still_decreasing(self.losses),
            **self.on_test,
        }


def readings_affordable(recipe: SettingTrainer[PointT], role: RoleImages, test: RoleImages) -> int:
    """Number of times that the test images can be scored during a training on a role."""
    return affordable(STEP_PASSES * recipe.steps(role) * recipe.images_per_step, len(test))


def scored_role(recipe: SettingTrainer[PointT], role: RoleImages, test: RoleImages) -> RoleImages | None:
    """The test images if it is affordable to score them with every setting."""
    return test if readings_affordable(recipe, role, test) else None


def settings_on_test(search: Search[PointT]) -> dict[str, Json]:
    """The diagnostic `setting_chosen_on_test`, from trainings on training images; empty where settings were not scored.

    Settings that diverged or were stopped early are not candidates, as on validation images.
    """
    scores = {place: one.on_test for place, one in search.tried.items() if one.on_test is not None}
    if len(scores) < 2 or (selected := scores.get(search.best)) is None:
        return {}
    choices = [str(search.parameters.grid[place]) for place in scores]
    return {"setting_chosen_on_test": chosen_on_test(list(scores.values()), choices, selected)}


def final_training(
    inputs: ImageInputs,
    recipe: SettingTrainer[PointT],
    point: PointT,
    role: RoleImages,
    test: RoleImages,
    reporter: Reporter,
) -> FinalTraining:
    """Train the selected setting on training and validation images, and score the test images."""

    def make(step: int) -> Batch:
        return recipe.batch(role, point, step)

    with prefetched(make, recipe.steps(role)) as batches:
        training = recipe.start(role, point, batches, "both")
        training.label = f"final training: {point}"

        def measure() -> float | None:
            found = logits_of(training.model, test, inputs)
            return _test_score(inputs, found, test) if np.isfinite(found).all() else None

        readings = TestReadings(measure, readings_affordable(recipe, role, test))
        readings.train(training, checkpoint_at(inputs, "final"), reporter, every_s=inputs.checkpoint_s)
    reporter.phase("test", len(test), "images")
    logits = logits_of(training.model, test, inputs)
    reporter.advance(len(test))
    if not np.isfinite(logits).all():
        raise NotFiniteError(f"the final training diverged with {point}: another seed or smaller rates may help")
    return FinalTraining(logits, training.losses, best_step(training, _test_score(inputs, logits, test)))


def _test_score(inputs: ImageInputs, logits: StoredLogits, test: RoleImages) -> float:
    return score(inputs.metric, *without_left_open(logits, test.labels))


def _calibration(
    search: Search[GridPoint], parameters: FinetuneParameters, logits: StoredLogits, test: RoleImages
) -> Calibration:
    """Calibration with T fitted on validation logits of the classifier that did not train on them, or on the test set
    as published.
    """
    if parameters.temperature == "published":
        return published_scaled(logits, test.labels)
    assert search.logits is not None
    return validation_scaled(search.logits, search.val_role.labels, logits, test.labels)


def warn(search: Search[PointT], rate: float, rates: tuple[float, ...], family: str, reporter: Reporter) -> None:
    """Warn of a learning rate at the edge of the grid, and of diverged settings."""
    if on_edge(rate, rates):
        reporter.warn(
            f"the chosen learning rate {rate:g} is at the edge of those tried: a better one may lie beyond; "
            f"add one ({family}.rates)"
        )
    apart = sum(tried.diverged for tried in search.tried.values())
    if apart:
        reporter.warn(f"{apart} of {len(search.tried)} settings diverged (loss not finite) and count as worst")


def on_edge(rate: float, rates: tuple[float, ...]) -> bool:
    """Whether the chosen learning rate is the largest or the smallest of several."""
    return len(rates) > 2 and rate in (max(rates), min(rates))


def _settings(search: Search[GridPoint]) -> dict[str, Json]:
    grid = search.parameters.grid
    tried: list[Json] = [
        {
            "rate": grid[place].rate,
            "base": grid[place].base,
            "augmented": grid[place].augmented,
            "validation_score": None if found.diverged else found.score,
            "steps": found.steps,
        }
        for place, found in sorted(search.tried.items())
    ]
    return {"settings": tried, "validation_score": search.tried[search.best].score, **settings_on_test(search)}


def stretches(losses: list[float]) -> list[Json]:
    """Step and mean loss of at most `CURVE_POINTS` equal intervals."""
    parts = np.array_split(np.asarray(losses), min(CURVE_POINTS, max(1, len(losses))))
    ends = np.cumsum([len(part) for part in parts])
    return [[int(end), float(part.mean())] for end, part in zip(ends, parts, strict=True) if len(part)]
