"""Attentive probe: heads that pool a frozen backbone's patch tokens by attention, trained online on random views.

Sources: `capi` is eval_classification.py of facebookresearch/capi (98b4fa1): last layer's patches after the final norm,
10 learning rates x 3 weight decays by AdamW (0.9, 0.95), no decay of biases, a tenth of the steps warm-up, half a
cosine to 0, the head chosen on 10 % of the training images at the end. `efficient` is the head of
billpsomas/efficient-probing (b8f4fb8), which publishes it with LARS and the best epoch on the reported images: here
AdamW, and the choice as above; the reading on the test images is stored as the diagnostic `chosen_on_test` and is never
the score. `aim` is `AttentionPoolingClassifier` of apple/ml-aim (bd9e068) on the mean of the last 6 blocks' tokens, not
normalised; its training is not published: here CAPI's. `vjepa` is evals/image_classification_frozen of
facebookresearch/vjepa2 (c2963a4, configs/eval/vitl/in1k.yaml): 20 heads by AdamW (0.9, 0.999), biases decay too, random
views after AutoAugment and erasing, a quarter of the steps warm-up. Differences: the choice as above instead of on the
reported images; the warm-up begins at 0 instead of 2e-4; the 21st head, which has no warm-up, is left out; images are
shown once, not as 16 frames; float32 instead of float16.

Every batch of images is encoded once for all heads. The backbone computes in the run's precision, heads always in
float32 (CAPI's fail in bfloat16). Centre crops are shared with other backbones of the same preprocessing where memory
allows; random views differ in every step and are decoded for it. Maps of ConvNets are taken as tokens, which no
publication does, and only those of the last stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.model.architecture import freeze
from backbones.model.feature_maps import block_info, block_modules, recorded_blocks
from backbones.model.precision import arithmetic
from backbones.model.preprocessing import normalise
from tasks.catalog.head_parameters import AttentiveParameters
from tasks.datasets.dataset import DataError
from tasks.datasets.splits import Indices, many_shot_indices
from tasks.evaluation.inputs import ImageInputs
from tasks.evaluation.parts import ScoredParts, whole_test_split
from tasks.features.decoded_images import DecodedRows
from tasks.metrics.calibration import calibration_errors, predictions, reliability_of, validation_scaled
from tasks.metrics.classification import accuracy, mean_per_class_accuracy
from tasks.metrics.outcome import Json, Outcome, chosen_on_test
from tasks.metrics.scoring import all_scores, check_metric, interval
from tasks.protocols.attentive_heads import RECIPES, HeadRecipe
from tasks.protocols.finetune.augmentation import auto_augmented, erased, on_pixels
from tasks.protocols.finetune.classifier import RoleImages, mean_colour
from tasks.protocols.linear_heads import best_head
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import (
    Prefetched,
    Training,
    batch_of,
    generator_of,
    loss_still_decreasing,
    prefetched,
    torch_seeded,
    train,
)

RATES_FOR = 256
"""Batch size that the learning rates refer to."""
ERASED = 0.25
"""Probability that a box of a random view is erased, in V-JEPA's training."""
Logits = npt.NDArray[np.float32]
Batch = tuple[Tensor, Tensor]


def evaluate(inputs: ImageInputs, parameters: AttentiveParameters, seed: int, reporter: Reporter) -> Outcome:
    """Train all heads on training images, choose one on validation images, score it on test images. Raises
    `DataError`, and `NotFiniteError` if every head diverged.
    """
    with inputs.shared_images() as shared:
        return _measured(inputs, parameters, seed, reporter, shared)


def _measured(
    inputs: ImageInputs,
    parameters: AttentiveParameters,
    seed: int,
    reporter: Reporter,
    shared: Mapping[str, DecodedRows],
) -> Outcome:
    split = many_shot_indices(inputs.dataset, parameters.validation_share, seed)
    roles = [RoleImages.of(inputs.dataset, one, inputs.spec, shared) for one in (split.train, split.val, split.test)]
    training_role, val, test = roles
    check_metric(inputs.metric, test.labels, inputs.dataset.name)
    probe = AttentiveProbe.of(inputs, parameters, seed)
    losses = _train(probe, training_role, seed, reporter)
    reporter.phase("validation", len(val), "images")
    validated = [probe.score(one, val) for one in probe.classified(val, reporter).predicted]
    chosen = best_head(validated, probe.broken(), "attentive.rates")
    _warn(probe, chosen, reporter)
    val_logits = probe.classified(val, reporter, chosen).logits
    reporter.phase("test", len(test), "images")
    tested = _tested(probe, test, chosen, reporter)
    calibration = validation_scaled(val_logits, val.labels, tested.logits, test.labels)
    rate, decay = probe.grid[chosen]
    on_test = [probe.score(one, test) for one in tested.predicted]
    return Outcome(
        headline=inputs.metric,
        metrics={**all_scores(tested.logits, test.labels), **calibration_errors(calibration)},
        interval=interval(inputs.metric, tested.logits, test.labels),
        samples={"train": len(training_role), "val": len(val), "test": len(test)},
        hyperparameters={"rate": rate, "weight_decay": decay},
        diagnostics={
            "validation_score": validated[chosen],
            "heads": _table(probe, validated),
            "chosen_on_test": _published_reading(probe, on_test, on_test[chosen]),
            "loss_falling": loss_still_decreasing(losses),
            **reliability_of(calibration),
        },
        predictions=predictions(test.index, test.labels, tested.logits, calibration),
    )


@dataclass(frozen=True)
class Classified:
    """Predictions of the heads for the images of a role."""

    predicted: npt.NDArray[np.int32]
    """[heads, n]."""
    logits: Logits
    """[n, classes] of one head; empty without one."""


@dataclass(frozen=True)
class AttentiveProbe:
    """A frozen backbone and the heads on its tokens."""

    inputs: ImageInputs
    parameters: AttentiveParameters
    backbone: nn.Module
    heads: nn.ModuleList
    grid: tuple[tuple[float, float], ...]
    """Learning rate, for 256 images a batch, and weight decay of each head."""
    averaged: tuple[str, ...] = ()
    """Modules over whose outputs tokens are averaged; empty for the last layer's tokens after the final norm."""

    @classmethod
    def of(cls, inputs: ImageInputs, parameters: AttentiveParameters, seed: int) -> AttentiveProbe:
        """New heads, all with the same initial weights, so that they differ only in their settings."""
        backbone = freeze(inputs.backbone.fresh()).to(inputs.device)
        grid = tuple(product(parameters.rates, parameters.weight_decays))
        size, recipe = inputs.spec.crop, RECIPES[parameters.head]
        averaged: tuple[str, ...] = ()
        if recipe.averaged_blocks and block_info(backbone, size).plain:
            averaged = block_modules(backbone)[-recipe.averaged_blocks :]
        probe = cls(inputs, parameters, backbone, nn.ModuleList(), grid, averaged)
        width = probe.tokens(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape[2]
        counts = (getattr(module, "num_heads", None) for module in backbone.modules())
        attention_heads = next((count for count in counts if isinstance(count, int)), 0)  # of the first attention layer
        for _ in grid:
            with torch_seeded("cpu", seed, 1):
                probe.heads.append(recipe.make(width, len(inputs.dataset.classes), attention_heads))
        probe.heads.to(inputs.device)
        return probe

    @torch.no_grad()
    def tokens(self, pixels: Tensor, erasing: np.random.Generator | None = None) -> Tensor:
        """Patch tokens float32 [b, n, d] of uint8 images [b, 3, h, w]; `erasing` generates the boxes to erase."""
        device = torch.device(self.inputs.device)
        images = normalise(pixels.to(device, non_blocking=True), self.inputs.spec)
        if erasing is not None:
            images = erased(images, ERASED, erasing)
        with arithmetic(device, self.inputs.precision), recorded_blocks(self.backbone, self.averaged) as outputs:
            found = cast("Any", self.backbone).forward_features(images)
        if not self.averaged:
            return patch_tokens(self.backbone, found)
        return torch.stack([_patches(self.backbone, outputs[name]).float() for name in self.averaged]).mean(dim=0)

    def score(self, predicted: npt.NDArray[np.int32], role: RoleImages) -> float:
        """The dataset's metric of predicted classes [n]."""
        if self.inputs.metric == "mean-per-class":
            return mean_per_class_accuracy(predicted.astype(np.int64), role.labels, len(self.inputs.dataset.classes))
        return accuracy(predicted.astype(np.int64), role.labels)

    def broken(self) -> list[bool]:
        """Whether each head has diverged, i.e. has weights that are not finite."""
        return [not all(bool(torch.isfinite(one).all()) for one in head.parameters()) for head in self.heads]

    @torch.no_grad()
    def classified(
        self, role: RoleImages, reporter: Reporter, logits_of: int | None = None, rows: Indices | None = None
    ) -> Classified:
        """Classes predicted by every head from centre crops, and the logits of one head; of all images, or of some."""
        self.heads.eval()
        predicted, logits = [], []
        for pixels in self._batches(role, np.arange(len(role)) if rows is None else rows):
            tokens = self.tokens(pixels)
            found = [head(tokens) for head in self.heads]
            predicted.append(torch.stack([one.argmax(dim=1) for one in found]).cpu().numpy().astype(np.int32))
            if logits_of is not None:
                logits.append(found[logits_of].cpu().numpy())
            reporter.advance(len(pixels))
        self.heads.train()
        return Classified(np.concatenate(predicted, axis=1), np.concatenate(logits or [np.empty((0, 0), np.float32)]))

    def _batches(self, role: RoleImages, rows: Indices) -> Iterator[Tensor]:
        size = self.inputs.batch_size
        starts = range(0, len(rows), size)

        def make(number: int) -> Tensor:
            return role.centres(rows[starts[number] : starts[number] + size])

        with prefetched(make, len(starts)) as batches:
            for number in range(len(starts)):
                yield batches(number)


def _tested(probe: AttentiveProbe, test: RoleImages, chosen: int, reporter: Reporter) -> Classified:
    """Predictions of the test images; in parts, in random order, where a file of them is wanted and possible."""
    inputs = probe.inputs
    if inputs.part is None or whole_test_split(inputs.dataset, inputs.metric, seed=0) is None:
        return probe.classified(test, reporter, chosen)
    parts, found = ScoredParts(inputs.part, test.labels), list[Classified]()
    for start, stop in parts.bounds:
        found.append(probe.classified(test, reporter, chosen, parts.order[start:stop]))
        parts.add(found[-1].predicted[chosen].astype(np.int64))
    predicted = parts.in_order([one.predicted.T for one in found]).T
    return Classified(predicted, parts.in_order([one.logits for one in found]))


def patch_tokens(model: nn.Module, features: object) -> Tensor:
    """Tokens [b, n, d] without class token and registers; for a map [b, d, h, w] or [b, h, w, d], its positions.
    Raises DataError if the network returns neither.
    """
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise DataError(f"{type(model).__name__} gives neither tokens nor a map: it has no attentive probe")
    if features.ndim == 4:
        last = getattr(model, "output_fmt", None) == "NHWC"
        return (features.flatten(1, 2) if last else features.flatten(2).transpose(1, 2)).float()
    norm = cast("nn.Module", getattr(model, "fc_norm", None) or nn.Identity())
    tokens: Tensor = norm(_patches(model, features))
    return tokens.float()


def _patches(model: nn.Module, tokens: Tensor) -> Tensor:
    return tokens[:, cast("int", getattr(model, "num_prefix_tokens", 0)) :]


def _train(probe: AttentiveProbe, role: RoleImages, seed: int, reporter: Reporter) -> list[float]:
    inputs, parameters, recipe = probe.inputs, probe.parameters, RECIPES[probe.parameters.head]

    def make(step: int) -> Batch:
        rows = batch_of(step, len(role), parameters.batch_size, seed)
        images = role.views(rows, seed, 3, step) if parameters.augmented else role.centres(rows)
        if parameters.augmented and recipe.policy:
            fill, random = mean_colour(role.spec), generator_of(seed, 9, step)
            images = torch.stack(
                [on_pixels(view, lambda image: auto_augmented(image, fill, random)) for view in images]
            )
        return images, torch.from_numpy(role.labels[rows])

    with prefetched(make, parameters.steps) as batches:
        training = Training(
            model=probe.heads,
            optimiser=torch.optim.AdamW(parameter_groups(probe, recipe), betas=(0.9, recipe.beta2)),
            steps=parameters.steps,
            loss=lambda step: _loss(probe, batches, step, seed),
            rate=lambda step: rate_at(step, parameters.steps, parameters.warmup),
            seed=seed,
            device=inputs.device,
            precision=inputs.precision,
            label=f"training {len(probe.heads)} attentive heads",
        )
        checkpoint = None if inputs.checkpoint is None else Checkpoint(inputs.checkpoint / "attentive.pt", inputs.key)
        train(training, checkpoint, reporter, every_s=inputs.checkpoint_s)
    return training.losses


def parameter_groups(probe: AttentiveProbe, recipe: HeadRecipe) -> list[dict[str, Any]]:
    """Two groups for each head: weights, and biases, which decay in some publications only."""
    scale = probe.parameters.batch_size / RATES_FOR
    groups: list[dict[str, Any]] = []
    for head, (rate, decay) in zip(probe.heads, probe.grid, strict=True):
        named = list(head.named_parameters())
        for biases, weight_decay in ((False, decay), (True, decay if recipe.biases_decay else 0.0)):
            params = [one for name, one in named if name.endswith("bias") == biases]
            groups.append({"params": params, "lr": rate * scale, "weight_decay": weight_decay})
    return groups


def rate_at(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate: linear from 0 over the fraction `warmup` of the steps, then half a cosine to 0."""
    first = round(steps * warmup)
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, steps - first)))


def _loss(probe: AttentiveProbe, batches: Prefetched[Batch], step: int, seed: int) -> Tensor:
    """Sum of the heads' losses; a diverged head contributes nothing, and its gradient affects no other."""
    pixels, labels = batches(step)
    erasing = probe.parameters.augmented and RECIPES[probe.parameters.head].policy
    tokens = probe.tokens(pixels, generator_of(seed, 10, step) if erasing else None)
    targets = labels.to(probe.inputs.device)
    losses = torch.stack([functional.cross_entropy(head(tokens), targets) for head in probe.heads])
    return torch.where(torch.isfinite(losses), losses, 0.0).sum()


def _warn(probe: AttentiveProbe, chosen: int, reporter: Reporter) -> None:
    rates, rate = probe.parameters.rates, probe.grid[chosen][0]
    if len(rates) > 2 and rate in (min(rates), max(rates)):
        reporter.warn(
            f"the chosen learning rate {rate:g} is at the edge of those tried: a better one may lie beyond "
            "(attentive.rates)"
        )
    apart = sum(probe.broken())
    if apart:
        reporter.warn(f"{apart} of {len(probe.heads)} heads diverged (weights not finite) and were not selected")


def _table(probe: AttentiveProbe, scores: list[float]) -> list[Json]:
    return [
        {"rate": rate, "weight_decay": decay, "validation_score": None if apart else value}
        for (rate, decay), value, apart in zip(probe.grid, scores, probe.broken(), strict=True)
    ]


def _published_reading(probe: AttentiveProbe, scores: list[float], selected: float) -> dict[str, Json]:
    """The best head on the test images, as some publications choose: too optimistic, and never the score."""
    rows = [(value, head) for value, head, apart in zip(scores, probe.grid, probe.broken(), strict=True) if not apart]
    heads = [f"learning rate {rate:g}, weight decay {decay:g}" for _, (rate, decay) in rows]
    return chosen_on_test([value for value, _ in rows], heads, selected)
