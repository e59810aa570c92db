"""Backbone with a linear classifier on its pooled features: batches of images of one role, training and prediction.

Random views are torchvision's RandomResizedCrop (8 to 100 % of the area, bicubic) and horizontal flip, as in
finetune.py of linusericsson/ssl-transfer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from backbones.catalog.card import PreprocessingSpec
from backbones.model.encoder import pool
from backbones.model.precision import training_arithmetic
from backbones.model.preprocessing import normalise, prepare
from tasks.catalog.finetune_parameters import FinetuneParameters, GridPoint
from tasks.datasets.dataset import Dataset, Labels
from tasks.datasets.splits import Selection, select_labels
from tasks.evaluation.inputs import ImageInputs
from tasks.features.decoded_images import DecodedRows
from tasks.training.loop import Prefetched, Training, batch_of, generator_of, torch_seeded

AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
TRIES = 10
NOTHING_SHARED: Mapping[str, DecodedRows] = MappingProxyType({})
KEPT_BYTES = 1 << 29
"""Memory limit for the centre crops of a role, which are cached if all of them fit."""
Logits = npt.NDArray[np.float32]
Batch = tuple[Tensor, Tensor]
"""uint8 [b, 3, h, w], and int64 [b] or [b, classes]."""


@dataclass(frozen=True, eq=False)
class RoleImages:
    """Images of a selection, part by part, with their labels and their indices in the source splits."""

    dataset: Dataset
    selection: Selection
    spec: PreprocessingSpec
    labels: Labels
    _places: tuple[tuple[str, int], ...]
    shared: Mapping[str, DecodedRows] = field(default_factory=dict)
    """Centre crops by source split that were decoded for other backbones; missing ones are added."""
    _kept: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        selection: Selection,
        spec: PreprocessingSpec,
        shared: Mapping[str, DecodedRows] = NOTHING_SHARED,
    ) -> RoleImages:
        """Images of the role of a selection."""
        places = tuple((name, int(index)) for name, indices in selection for index in indices)
        return cls(dataset, selection, spec, select_labels(dataset, selection), places, shared)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """[n] index of the image in its source split."""
        return np.array([index for _, index in self._places], np.int64)

    def centres(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Centre crops, uint8 [b, 3, crop, crop]."""
        return torch.stack([self._centre(int(row)) for row in rows])

    def views(self, rows: npt.NDArray[np.int64], *address: int) -> Tensor:
        """Random views, uint8 [b, 3, crop, crop]; deterministic for an address."""
        random = generator_of(*address)
        return torch.stack([random_view(self.image(int(row)), self.spec.crop, random) for row in rows])

    def image(self, row: int) -> Image.Image:
        """The original image of a row. Raises DataError."""
        name, index = self._places[row]
        return self.dataset.splits[name].images[index]

    def _centre(self, row: int) -> Tensor:
        kept = self._kept.get(row)
        if kept is not None:
            return kept
        prepared = self._prepared(row)
        if prepared.nbytes * len(self) <= KEPT_BYTES:
            self._kept[row] = prepared
        return prepared

    def _prepared(self, row: int) -> Tensor:
        name, index = self._places[row]
        shared = self.shared.get(name)
        found = None if shared is None else shared.get(index)
        if found is not None:
            return found
        prepared = prepare(self.image(row), self.spec)
        if shared is not None:
            shared.put(index, prepared)
        return prepared


def random_view(image: Image.Image, size: int, random: np.random.Generator, area: tuple[float, float] = AREA) -> Tensor:
    """A random window of the image, resized to [3, size, size] uint8, possibly mirrored."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    top, left, height, width = _window(pixels.shape[1], pixels.shape[2], area, random)
    view: Tensor = transform.resized_crop(
        pixels, top, left, height, width, [size, size], interpolation=InterpolationMode.BICUBIC, antialias=True
    )
    return view.flip(2) if random.random() < 0.5 else view


def mean_colour(spec: PreprocessingSpec) -> tuple[int, int, int]:
    """Mean colour, which is 0 after normalisation, for padding."""
    red, green, blue = (min(255, round(255 * value)) for value in spec.mean)
    return red, green, blue


def _window(
    height: int, width: int, shares: tuple[float, float], random: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width, by torchvision's rule: ten attempts, then the largest centred window of a valid
    aspect ratio.
    """
    for _ in range(TRIES):
        area = height * width * random.uniform(*shares)
        aspect = math.exp(random.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            return int(random.integers(0, height - high + 1)), int(random.integers(0, width - wide + 1)), high, wide
    wide, high = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    return (height - high) // 2, (width - wide) // 2, high, wide


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
            logits = model(normalise(pixels.to(inputs.device, non_blocking=True), inputs.spec)).float()
        targets = labels.to(inputs.device)
        if targets.ndim == 2:  # several labels per image
            return functional.binary_cross_entropy_with_logits(logits, targets.float())
        return functional.cross_entropy(logits, targets)

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
        return self.parameters.steps

    def batch(self, role: RoleImages, point: GridPoint, step: int) -> Batch:
        """The images and labels of a step."""
        return batch(role, self.parameters, step, self.seed, augmented=point.augmented)

    def start(self, _role: RoleImages, point: GridPoint, batches: Prefetched[Batch], _name: str) -> Training:
        return new_training(self.inputs, self.parameters, point, batches, self.seed)


def batch(role: RoleImages, parameters: FinetuneParameters, step: int, seed: int, *, augmented: bool) -> Batch:
    """The images and labels of a step."""
    rows = batch_of(step, len(role), parameters.batch_size, seed)
    images = role.views(rows, seed, 3, step) if augmented else role.centres(rows)
    return images, torch.from_numpy(role.labels[rows])


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
