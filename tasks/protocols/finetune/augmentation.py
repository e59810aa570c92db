"""Augmentation drawn from a generator of the step: RandAugment and AutoAugment on single images; mixup, cutmix, label
smoothing and erased boxes on batches.

RandAugment as MAE and DeiT III use it (timm's `rand-m9-mstd0.5-inc1`): two of fifteen operations per image, each
applied with probability 0.5 at a magnitude drawn around the given one. AutoAugment as V-JEPA's probe uses it (timm's
`original`, Cubuk et al., CVPR 2019): one of 25 pairs of operations with fixed probabilities and magnitudes.

Sources: timm's `Mixup` in its mode "batch" (one draw a batch, mixed with the batch in reverse order, mixup and cutmix
equally often) and `RandomErasing` (one box, noise in every pixel), with the settings of MAE and DeiT III.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import NAME_TO_OP, auto_augment_policy_original
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transform

from tasks.catalog.finetune_parameters import FinetuneVitParameters

OPERATIONS = 2
PROBABILITY = 0.5
DEVIATION = 0.5
HIGHEST = 10.0
NAMES = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd"),
    *("ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing"),
    *("ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)
BLEND = ("ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing")
SIGNED = {"Rotate": 30.0, "ShearX": 0.3, "ShearY": 0.3, "TranslateXRel": 0.45, "TranslateYRel": 0.45}
"""Maximum angle in degrees, shear, and shift as a fraction of the side."""
POLICY = tuple(
    tuple((str(one.name), float(one.prob), float(one.magnitude)) for one in pair)
    for pair in auto_augment_policy_original({})  # type: ignore[no-untyped-call]
)
"""Operation, probability and level, in 25 pairs."""
BOX_AREA = (0.02, 1 / 3)
BOX_ASPECT = 0.3
"""Range of an erased box's aspect ratio, together with its inverse."""
BOX_TRIES = 10


def rand_augmented(
    image: Image.Image, magnitude: float, fill: tuple[int, int, int], random: np.random.Generator
) -> Image.Image:
    """The image after the operations; `fill` is the padding colour."""
    for name in random.choice(NAMES, OPERATIONS):
        if random.random() < PROBABILITY:
            level = float(np.clip(random.normal(magnitude, DEVIATION), 0, HIGHEST))
            image = operation(str(name), level, 1 if random.random() < 0.5 else -1, fill)(image)
    return image


def auto_augmented(image: Image.Image, fill: tuple[int, int, int], random: np.random.Generator) -> Image.Image:
    """The image after one pair of `POLICY`; `fill` is the padding colour."""
    for name, probability, level in POLICY[int(random.integers(len(POLICY)))]:
        if random.random() < probability:
            image = operation(name, level, 1 if random.random() < 0.5 else -1, fill)(image)
    return image


def on_pixels(view: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Apply a function of images to pixels uint8 [3, h, w]."""
    image = Image.fromarray(view.permute(1, 2, 0).contiguous().numpy())
    changed: Tensor = transform.pil_to_tensor(change(image))
    return changed


def operation(name: str, level: float, sign: int, fill: tuple[int, int, int]) -> Callable[[Image.Image], Image.Image]:
    """One of `NAMES` or of `POLICY` at a level from 0 to 10; `sign` is its direction, if it has one."""
    how = {"fillcolor": fill, "resample": Image.Resampling.BICUBIC} if name in SIGNED else {}
    apply: Any = NAME_TO_OP[name]

    def done(image: Image.Image) -> Image.Image:
        found: Image.Image = apply(image, *_arguments(name, level / HIGHEST, sign), **how)
        return found

    return done


def _arguments(name: str, share: float, sign: int) -> tuple[float, ...]:
    if name in SIGNED:
        return (sign * share * SIGNED[name],)
    if name in BLEND:
        return (max(0.1, 1 + sign * share * 0.9),)
    if name in ("Color", "Contrast", "Sharpness"):
        return (share * 1.8 + 0.1,)
    if name.startswith("Posterize"):
        return (4 - int(share * 4) if name == "PosterizeIncreasing" else 4 + int(share * 4),)
    if name.startswith("Solarize") and name != "SolarizeAdd":
        threshold = min(256, int(share * 256))
        return (256 - threshold if name == "SolarizeIncreasing" else threshold,)
    return (min(128, int(share * 110)),) if name == "SolarizeAdd" else ()


def mixed(
    images: Tensor, labels: Tensor, classes: int, parameters: FinetuneVitParameters, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Images float32 [b, 3, h, w] and targets float32 [b, classes] of class indices [b], with smoothed labels."""
    images, share = _mixed_images(images, parameters, random)
    smoothed = functional.one_hot(labels, classes).float() * (1 - parameters.smoothing) + parameters.smoothing / classes
    return images, smoothed * share + smoothed.flip(0) * (1 - share)


def _mixed_images(
    images: Tensor, parameters: FinetuneVitParameters, random: np.random.Generator
) -> tuple[Tensor, float]:
    """Mixed images, and the fraction of the first image in each pair."""
    mixup, cutmix = parameters.mixup, parameters.cutmix
    if not mixup and not cutmix:
        return images, 1.0
    cut = bool(cutmix) and (not mixup or random.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = float(random.beta(alpha, alpha))
    if not cut:
        return images * share + images.flip(0) * (1 - share), share
    height, width = images.shape[-2:]
    rows, columns = _cut(height, share, random), _cut(width, share, random)
    replaced = images.clone()
    replaced[:, :, rows, columns] = images.flip(0)[:, :, rows, columns]
    return replaced, 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)


def _cut(side: int, share: float, random: np.random.Generator) -> slice:
    """Interval of the replaced fraction's square root along a side, around a random position, clipped to the image."""
    length, centre = int(side * math.sqrt(1 - share)), int(random.integers(0, side))
    return slice(max(0, centre - length // 2), min(side, centre + length // 2))


def erased(images: Tensor, probability: float, random: np.random.Generator) -> Tensor:
    """Normalised images [b, 3, h, w] in which a box is replaced by normal noise of torch's generator."""
    if not probability:
        return images
    images = images.clone()
    for image in images:
        box = _box(image.shape[1], image.shape[2], random) if random.random() < probability else None
        if box is not None:
            image[:, box[0], box[1]] = torch.randn_like(image[:, box[0], box[1]])
    return images


def _box(height: int, width: int, random: np.random.Generator) -> tuple[slice, slice] | None:
    for _ in range(BOX_TRIES):
        area = height * width * random.uniform(*BOX_AREA)
        aspect = math.exp(random.uniform(math.log(BOX_ASPECT), -math.log(BOX_ASPECT)))
        high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < high < height and 0 < wide < width:
            top, left = int(random.integers(0, height - high + 1)), int(random.integers(0, width - wide + 1))
            return slice(top, top + high), slice(left, left + wide)
    return None
