"""Finetuning of transformers by AdamW: all weights, low-rank additions (LoRA), biases (BitFit), or the head first.

Sources: `mae` is main_finetune.py and FINETUNE.md of facebookresearch/mae (efb2a80) for ViT-B (`L`: 50 epochs, rate
1e-3, layer decay 0.75, drop path 0.2). `deit3` is the finetuning of README_revenge.md of facebookresearch/deit
(4bd679b) for ViT-B, whose lowest rate is its highest. `lora` follows binary_adapter of PETL-ViT: AdamW 1e-3, weight
decay 1e-4, 100 epochs, 10 of warm-up, down to 1e-5; queries and values, rank 8, factor 1. `small-sets`, `bias` and
`head-then-all` are settings of this project: 5,000 steps, rates and layer decays chosen on validation images, the head
trained alone first (LP-FT, Kumar et al. 2022).

Of several settings, the best on validation images is trained again on training and validation images; a single one is
trained on both, without selection. The test images are scored once, from centre crops, and during the final training
only for the diagnostic of `finetune`, the best step on test images.
"""

from __future__ import annotations

import numpy as np

from tasks.catalog.finetune_parameters import FinetuneVitParameters, RatePoint
from tasks.datasets.splits import many_shot_indices
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.calibration import calibration_errors, predictions, reliability_of, unscaled_error, validation_scaled
from tasks.metrics.outcome import Json, Outcome
from tasks.metrics.scoring import all_scores, chance_diagnostics, check_metric, interval
from tasks.protocols.finetune.classifier import RoleImages
from tasks.protocols.finetune.grid_search import Search
from tasks.protocols.finetune.protocol import final_training, on_edge, scored_role, settings_on_test, warn
from tasks.protocols.finetune.vit_training import TokenClassifier, VitRecipe
from tasks.reporter import Reporter


def evaluate(inputs: ImageInputs, parameters: FinetuneVitParameters, seed: int, reporter: Reporter) -> Outcome:
    """Select on validation images, train on training and validation images, score the test images.

    The seed determines the initial weights of head and additions, batches, views and mixtures, and the validation split
    of data without a published one. Raises `DataError`, `NotFiniteError`, `WeightsError`.
    """
    split = many_shot_indices(inputs.dataset, parameters.validation_share, seed)
    train_role, val_role, both, test = (
        RoleImages.of(inputs.dataset, selection, inputs.spec)
        for selection in (split.train, split.val, split.train_and_val, split.test)
    )
    check_metric(inputs.metric, test.labels, inputs.dataset.name)
    recipe = VitRecipe(inputs, parameters, seed, reporter)
    search = Search(inputs, parameters, recipe, train_role, val_role, reporter, scored_role(recipe, train_role, test))
    point = search.run() if len(parameters.grid) > 1 else parameters.grid[0]
    if search.tried:
        warn(search, point.rate, parameters.rates, "finetune-vit", reporter)
    final = final_training(inputs, recipe, point, both, test, reporter)
    logits = final.logits
    calibration, errors = None, unscaled_error(logits, test.labels)
    if search.logits is not None:
        calibration = validation_scaled(search.logits, val_role.labels, logits, test.labels)
        errors = calibration_errors(calibration)
    return Outcome(
        headline=inputs.metric,
        metrics={**all_scores(logits, test.labels), **errors},
        interval=interval(inputs.metric, logits, test.labels),
        samples={"train": len(train_role), "val": len(val_role), "test": len(test)},
        hyperparameters={"rate": point.rate, "layer_decay": point.layer_decay},
        diagnostics={
            **_tried(search),
            "on_edge": bool(search.tried) and on_edge(point.rate, parameters.rates),
            "trained_parameters": _trained_parameters(inputs, parameters, seed),
            **final.diagnostics,
            **chance_diagnostics(test.labels),
            **reliability_of(calibration),
        },
        predictions=predictions(test.index, test.labels, logits, calibration),
    )


def _trained_parameters(inputs: ImageInputs, parameters: FinetuneVitParameters, seed: int) -> int:
    """Number of trained parameters, including the head's."""
    trained = (one.numel() for one in TokenClassifier(inputs, parameters, seed).parameters() if one.requires_grad)
    return int(np.sum(list(trained)))


def _tried(search: Search[RatePoint]) -> dict[str, Json]:
    """Validation scores by setting; empty if there was only one."""
    if not search.tried:
        return {}
    grid = search.parameters.grid
    settings: list[Json] = [
        {
            "rate": grid[place].rate,
            "layer_decay": grid[place].layer_decay,
            "validation_score": None if one.diverged else one.score,
            "steps": one.steps,
        }
        for place, one in sorted(search.tried.items())
    ]
    return {"settings": settings, "validation_score": search.tried[search.best].score, **settings_on_test(search)}
