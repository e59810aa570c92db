"""Images and their targets as batches: resized, mirrored, normalised and padded together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from backbones.catalog.card import IMAGENET_MEAN, IMAGENET_STD, PreprocessingSpec, Triple
from tasks.catalog.dense_parameters import DenseParameters
from tasks.datasets.dataset import DataError, Kind, SourceSplit, Targets
from tasks.datasets.images import size_of
from tasks.evaluation.inputs import ImageInputs
from tasks.training.loop import generator_of, grouped_batch_of


def scaled(height: int, width: int, shorter: int, longest: int) -> tuple[int, int]:
    """Height and width with the shorter side `shorter` pixels, or less where the longer would exceed `longest`."""
    scale = min(shorter / min(height, width), longest / max(height, width))
    return max(1, int(height * scale)), max(1, int(width * scale))


def up_to_multiple(value: int, unit: int) -> int:
    """The smallest multiple of `unit` that is at least `value`."""
    return -(-value // unit) * unit


Array = npt.NDArray[Any]
Sampled = Callable[[Array], Tensor]
"""Conversion of a stored target (an array [h, w, ...]) to the training target, int64 [h, w] or float32 [c, h, w]."""


@dataclass(frozen=True)
class Pixels:
    """Mean and standard deviation for normalisation."""

    mean: Triple
    std: Triple

    @classmethod
    def of(cls, normalisation: Literal["card", "imagenet"], spec: PreprocessingSpec) -> Pixels:
        """The backbone's own, or ImageNet's."""
        return cls(spec.mean, spec.std) if normalisation == "card" else cls(IMAGENET_MEAN, IMAGENET_STD)

    def normalised(self, image: Tensor) -> Tensor:
        """uint8 [3, h, w] to float32."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return image.float().div_(255).sub_(mean).div_(std)


@dataclass(frozen=True, eq=False)
class DenseImages:
    """The images of one source split with one kind of target."""

    split: SourceSplit
    targets: Targets[Any]
    pixels: Pixels
    unit: int
    """Divisor of the sides of a batch: the backbone's coarsest stride."""
    mirror: Callable[[Array], Array] = lambda target: target[:, ::-1]
    """Mirror image of a target."""

    @classmethod
    def of_roles(
        cls,
        inputs: ImageInputs,
        kind: Kind,
        pixels: Pixels,
        unit: int = 1,
        mirror: Callable[[Array], Array] = lambda target: target[:, ::-1],
    ) -> tuple[DenseImages, DenseImages]:
        """The training images, and the test images (of a dataset without any, `val`). Raises DataError."""
        splits = (inputs.split("train"), inputs.split("test", "val"))
        learning, judged = (cls(split, inputs.targets(split, kind), pixels, unit, mirror) for split in splits)
        return learning, judged

    def __len__(self) -> int:
        return len(self.split.images)

    def pair(self, index: int) -> tuple[Image.Image, Array]:
        """An image and its target. Raises DataError when their sizes differ."""
        image, target = self.split.images[index], self.targets[index]
        if target.shape[:2] != (image.height, image.width):
            raise DataError(
                f"{self.split.identifiers[index]} in {self.split.name} is {image.width} x {image.height} pixels, "
                f"and its target {target.shape[1]} x {target.shape[0]}: they do not belong together"
            )
        return image, target

    def inputs(self, image: Image.Image, shorter: int, longest: int) -> Tensor:
        """One image at one size, float32 [1, 3, h, w]; the sides are rounded up to multiples, as published."""
        height, width = scaled(image.height, image.width, shorter, longest)
        size = up_to_multiple(height, self.unit), up_to_multiple(width, self.unit)
        return self.pixels.normalised(_resized(image, size))[None]

    def batch(
        self, rows: Sequence[int], parameters: DenseParameters, learnt: Sampled, *address: int
    ) -> tuple[Tensor, Tensor]:
        """Images float32 [b, 3, h, w] and targets at every `label_stride`-th pixel; deterministic for an address.
        Padding has the mean colour, and its target is unknown.
        """
        random = generator_of(*address)
        shorter = int(random.choice(parameters.sizes))
        made = [self._one(row, shorter, parameters, learnt, random) for row in rows]
        height, width = (up_to_multiple(max(image.shape[side] for image, _ in made), self.unit) for side in (1, 2))
        images = torch.zeros(len(made), 3, height, width)
        first = made[0][1]
        stride = parameters.label_stride
        shape = (*first.shape[:-2], -(-height // stride), -(-width // stride))
        targets = torch.full((len(made), *shape), UNKNOWN[first.dtype], dtype=first.dtype)
        for place, (image, target) in enumerate(made):
            images[place, :, : image.shape[1], : image.shape[2]] = image
            targets[place, ..., : target.shape[-2], : target.shape[-1]] = target
        return images, targets

    def _one(
        self, row: int, shorter: int, parameters: DenseParameters, learnt: Sampled, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        image, target = self.pair(row)
        if parameters.flip and random.random() < 0.5:
            image, target = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), self.mirror(target)
        size = scaled(image.height, image.width, shorter, parameters.longest)
        pixels = self.pixels.normalised(_resized(image, size))
        return pixels, learnt(_sampled(target, size, parameters.label_stride))


UNKNOWN = {torch.int64: -1, torch.float32: 0}
"""Placeholder of unknown targets: no class, or a vector of length 0."""


def some_views(images: DenseImages, parameters: DenseParameters, count: int = 16) -> Iterator[Tensor]:
    """Some images [1, 3, h, w] in their test size, evenly spaced, on the CPU."""
    for index in np.linspace(0, len(images) - 1, min(count, len(images))).round():
        yield images.inputs(images.split.images[int(index)], parameters.test_sizes[0], parameters.longest)


def orientations(images: DenseImages) -> list[int]:
    """Orientation of each image, 1 for upright, so that batches can have one orientation. Raises DataError for a
    broken image.
    """
    sizes = (size_of(images.split.images, index) for index in range(len(images)))
    return [int(height > width) for width, height in sizes]


def rows_of(step: int, groups: Sequence[int], batch_size: int, seed: int) -> list[int]:
    """The images of a step's batch."""
    return [int(row) for row in grouped_batch_of(step, groups, batch_size, seed)]


def _resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """uint8 [3, h, w], bilinear."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if tuple(pixels.shape[1:]) == size:
        return pixels
    resized: Tensor = transform.resize(pixels, list(size), interpolation=InterpolationMode.BILINEAR, antialias=True)
    return resized


def _sampled(target: Array, size: tuple[int, int], stride: int) -> Array:
    """The nearest target pixel of the middle of every `stride` x `stride` block of an image of that size."""
    rows, columns = (
        np.minimum((np.arange(-(-side // stride)) + 0.5) * stride / side, 1 - 1e-9) * whole
        for side, whole in zip(size, target.shape[:2], strict=True)
    )
    sampled: Array = target[rows.astype(np.int64)[:, None], columns.astype(np.int64)[None, :]]
    return sampled
