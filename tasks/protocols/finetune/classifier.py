"""Backbone with a linear classifier on its pooled features: training and prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.model.encoder import pool
from backbones.model.precision import training_arithmetic
from backbones.model.preprocessing import normalise
from tasks.catalog.finetune_parameters import FinetuneParameters, GridPoint
from tasks.evaluation.inputs import ImageInputs
from tasks.protocols.finetune.image_batches import RoleImages
from tasks.training.loop import Prefetched, Training, batch_of, torch_seeded

Logits = npt.NDArray[np.float32]
Batch = tuple[Tensor, Tensor]
"""uint8 [b, 3, h, w], and int64 [b] or [b, classes]."""


class Classifier(nn.Module):
    """Images [b, 3, h, w], normalised, to logits [b, classes]."""

    def __init__(self, inputs: ImageInputs, seed: int) -> None:
        super().__init__()
        self.backbone = inputs.backbone.fresh()
        self._pooling = inputs.backbone.card.pooling
        blank = torch.zeros(1, 3, inputs.spec.crop, inputs.spec.crop)
        with torch.no_grad():
            self.backbone.eval()
            features = self._features(blank)
            self.backbone.train()
        with torch_seeded("cpu", seed, 1):
            self.head = nn.Linear(features.shape[1], len(inputs.dataset.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return cast("Tensor", self.head(self._features(images)))

    def _features(self, images: Tensor) -> Tensor:
        maps = cast("Any", self.backbone).forward_features(images)
        return pool(self.backbone, maps, self._pooling).flatten(1)


def new_training(
    inputs: ImageInputs, parameters: FinetuneParameters, point: GridPoint, batches: Prefetched[Batch], seed: int
) -> Training:
    """New model and training state: SGD with Nesterov momentum, half a cosine to 0."""
    model = Classifier(inputs, seed).to(inputs.device)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=point.rate,
        momentum=parameters.momentum,
        nesterov=parameters.momentum > 0,
        weight_decay=point.weight_decay,
    )

    def loss(step: int) -> Tensor:
        pixels, labels = batches(step)
        with training_arithmetic(inputs.device, inputs.precision):
            logits = model(normalise(pixels.to(inputs.device, non_blocking=True), inputs.spec))
        return classification_loss(logits.float(), labels.to(inputs.device))

    def rate(step: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / parameters.steps))

    return Training(model, optimiser, parameters.steps, loss, rate, seed, inputs.device, inputs.precision)


@dataclass(frozen=True)
class SgdRecipe:
    """Construction and training of classifiers by the paper's protocol."""

    inputs: ImageInputs
    parameters: FinetuneParameters
    seed: int

    @property
    def images_per_step(self) -> int:
        return self.parameters.batch_size

    def steps(self, _role: RoleImages) -> int:
        """Number of steps of a training."""
        return self.parameters.steps

    def batch(self, role: RoleImages, point: GridPoint, step: int) -> Batch:
        """The images and labels of a step."""
        return batch(role, self.parameters, step, self.seed, augmented=point.augmented)

    def start(self, _role: RoleImages, point: GridPoint, batches: Prefetched[Batch], _name: str) -> Training:
        """New training with one setting."""
        return new_training(self.inputs, self.parameters, point, batches, self.seed)


def batch(role: RoleImages, parameters: FinetuneParameters, step: int, seed: int, *, augmented: bool) -> Batch:
    """The images and labels of a step."""
    rows = batch_of(step, len(role), parameters.batch_size, seed)
    images = role.views(rows, seed, 3, step) if augmented else role.centres(rows)
    return images, torch.from_numpy(role.labels[rows])


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, or for several labels per image the mean binary cross-entropy over classes."""
    if labels.ndim == 2:
        return functional.binary_cross_entropy_with_logits(logits, labels.float())
    return functional.cross_entropy(logits, labels)


@torch.inference_mode()
def logits_of(model: nn.Module, role: RoleImages, inputs: ImageInputs) -> Logits:
    """Logits [n, classes] of every image of a role, from centre crops."""
    training = model.training
    model.eval()
    found = []
    for start in range(0, len(role), inputs.batch_size):
        rows = np.arange(start, min(start + inputs.batch_size, len(role)))
        with training_arithmetic(inputs.device, inputs.precision):
            pixels = normalise(role.centres(rows).to(inputs.device), inputs.spec)
            found.append(model(pixels).float().cpu().numpy())
    model.train(training)
    return np.concatenate(found)
