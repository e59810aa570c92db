"""Training of a token classifier: AdamW with layer decay, warm-up and cosine, augmented and mixed batches.

Layer decay scales the learning rate of layer i by d^(depth + 1 - i). Source: util/lr_decay.py of facebookresearch/mae:
layer 0 is the stem with its tokens, block j is layer j + 1, norm and head are the last. Layers of other architectures
are those of timm's `group_matcher`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional

from backbones.model.precision import training_arithmetic
from backbones.model.preprocessing import normalise
from tasks.catalog.finetune_parameters import FinetuneVitParameters, RatePoint
from tasks.evaluation.inputs import ImageInputs
from tasks.protocols.finetune.augmentation import erased, mixed, on_pixels, rand_augmented
from tasks.protocols.finetune.classifier import Batch
from tasks.protocols.finetune.grid_search import checkpoint_at
from tasks.protocols.finetune.image_batches import RoleImages, mean_colour, random_view
from tasks.protocols.finetune.token_classifier import AveragedClassifier, TokenClassifier
from tasks.reporter import Reporter
from tasks.training.loop import Prefetched, Training, batch_of, generator_of, prefetched, train, warmed_cosine

HEAD_PURPOSE = 8
"""Third number of the addresses of batches for training the head alone."""
CLOSING = ("norm.", "fc_norm.", "head.", "attn_pool.", "head_norm.")
"""Parts of a backbone after its last block."""


@dataclass(frozen=True)
class VitRecipe:
    """Construction and training of classifiers in one run."""

    inputs: ImageInputs
    parameters: FinetuneVitParameters
    seed: int
    reporter: Reporter

    @property
    def images_per_step(self) -> int:
        return self.parameters.batch_size

    def steps(self, role: RoleImages) -> int:
        """Number of steps of a training on a role's images."""
        return self.parameters.steps_for(len(role))

    def batch(self, role: RoleImages, _point: RatePoint | None, step: int, *, purpose: int = 3) -> Batch:
        """Random views uint8 [b, 3, crop, crop] and labels [b] of a step."""
        rows, random = batch_of(step, len(role), self.parameters.batch_size, self.seed), generator_of
        views = random_views(role, rows, self.parameters, random(self.seed, purpose, step))
        return views, torch.from_numpy(role.labels[rows])

    def start(self, role: RoleImages, point: RatePoint, batches: Prefetched[Batch], name: str) -> Training:
        """New training with one setting, whose head is trained alone first if the parameters specify steps for it.
        `name` is that of the role, and of its stored head.
        """
        inputs, parameters = self.inputs, self.parameters
        model = TokenClassifier(inputs, parameters, self.seed).to(inputs.device)
        if parameters.head_steps:
            self._train_head(model, role, name)
        steps = self.steps(role)
        rate = point.rate * (parameters.batch_size / parameters.rates_for if parameters.rates_for else 1)
        groups = parameter_groups(
            model, model.backbone, rate, point.layer_decay, parameters.weight_decay, parameters.head_factor
        )
        holder = AveragedClassifier(model, parameters.average).train() if parameters.average else model.train()
        lowest = min(1.0, parameters.lowest_rate / rate)
        return Training(
            holder,
            torch.optim.AdamW(groups),
            steps,
            lambda step: self.loss(holder, batches(step), step),
            lambda step: warmed_cosine(step, steps, round(parameters.warmup * steps), lowest),
            self.seed,
            inputs.device,
            inputs.precision,
            clip=parameters.clip or None,
            after=holder.update if isinstance(holder, AveragedClassifier) else None,
        )

    def loss(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        """Cross-entropy of mixed images with mixed labels."""
        inputs, parameters, random = self.inputs, self.parameters, generator_of(self.seed, 6, step)
        pixels, labels = (part.to(inputs.device, non_blocking=True) for part in batch)
        images = erased(normalise(pixels, inputs.spec), parameters.erase, random)
        images, targets = mixed(images, labels, len(inputs.dataset.classes), parameters, random)
        with training_arithmetic(inputs.device, inputs.precision):
            logits = model(images)
        return functional.cross_entropy(logits.float(), targets)

    def _train_head(self, model: TokenClassifier, role: RoleImages, name: str) -> None:
        """Train the head alone on a backbone in evaluation mode, and store it for all settings."""
        parameters, steps = self.parameters, self.parameters.head_steps
        checkpoint = checkpoint_at(self.inputs, f"head-{name}")
        ends = nn.ModuleList([model.norm, model.head])
        with prefetched(lambda step: self.batch(role, None, step, purpose=HEAD_PURPOSE), steps) as batches:

            def loss(step: int) -> Tensor:
                pixels, labels = (part.to(self.inputs.device) for part in batches(step))
                with torch.no_grad():
                    pooled = model.eval().pooled(normalise(pixels, self.inputs.spec))
                return functional.cross_entropy(model.head(model.norm(pooled)).float(), labels)

            training = Training(
                ends,
                torch.optim.AdamW(ends.parameters(), lr=parameters.head_rate, weight_decay=0.0),
                steps,
                loss,
                lambda step: warmed_cosine(step, steps, 0),
                self.seed,
                self.inputs.device,
                self.inputs.precision,
                label="training the head alone",
            )
            train(training, checkpoint, self.reporter, every_s=self.inputs.checkpoint_s)
        if checkpoint is not None and training.step == steps:
            checkpoint.save(training.state())


def random_views(
    role: RoleImages,
    rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    parameters: FinetuneVitParameters,
    random: np.random.Generator,
) -> Tensor:
    """Random windows of images, possibly mirrored, after random operations: uint8 [b, 3, crop, crop]."""
    made = [random_view(role.image(int(row)), role.spec.crop, random, (parameters.area, 1.0)) for row in rows]
    if parameters.rand_augment:
        fill, magnitude = mean_colour(role.spec), parameters.rand_augment
        made = [on_pixels(view, lambda image: rand_augmented(image, magnitude, fill, random)) for view in made]
    return torch.stack(made)


def layer_of(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """Layer index by parameter name, and the index of the last layer, the head. An architecture without
    `group_matcher` counts as one layer.
    """
    names = [name for name, _ in backbone.named_parameters()]
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return dict.fromkeys(names, 0), 1
    layers: Mapping[str, int] = cast("Any", group_parameters)(backbone, matcher(coarse=False), reverse=True)
    last = 1 + max((layers[name] for name in names if name in layers and not name.startswith(CLOSING)), default=0)
    return {name: last if name.startswith(CLOSING) else layers.get(name, last) for name in names}, last


def parameter_groups(
    model: nn.Module, backbone: nn.Module, rate: float, decay: float, weight_decay: float, head_factor: float
) -> list[dict[str, Any]]:
    """Optimiser groups of the trained parameters, one for each learning rate and weight decay."""
    layers, last = layer_of(backbone)
    within = {id(parameter): name for name, parameter in backbone.named_parameters()}
    without = cast("Any", backbone).no_weight_decay() if hasattr(backbone, "no_weight_decay") else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in _trained(model):
        name = within.get(id(parameter))
        scale = head_factor if name is None else decay ** (last - layers[name])
        decays = 0.0 if parameter.ndim <= 1 or name in without else weight_decay
        groups.setdefault((rate * scale, decays), []).append(parameter)
    return [{"params": each, "lr": lr, "weight_decay": decays} for (lr, decays), each in groups.items()]


def _trained(model: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in model.parameters() if parameter.requires_grad)
