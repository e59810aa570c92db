"""Mixed images and labels: mixup, cutmix, label smoothing, erased boxes; all by the generator of the step.

Sources: timm's `Mixup` in its mode "batch" (one draw a batch, mixed with the batch in reverse order, mixup and cutmix
equally often) and `RandomErasing` (one box, noise in every pixel), with the settings of MAE and DeiT III.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.catalog.finetune_vit_parameters import FinetuneVitParameters

BOX_AREA = (0.02, 1 / 3)
BOX_ASPECT = 0.3
"""Range of an erased box's aspect ratio, together with its inverse."""
BOX_TRIES = 10


def mixed(
    images: Tensor, labels: Tensor, classes: int, parameters: FinetuneVitParameters, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Images float32 [b, 3, h, w] and targets float32 [b, classes] of class indices [b]."""
    images, share = _mixed_images(images, parameters, random)
    one, other = (smoothed(each, classes, parameters.smoothing) for each in (labels, labels.flip(0)))
    return images, one * share + other * (1 - share)


def smoothed(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """One-hot float32 [b, classes] with `smoothing` spread over all classes."""
    return functional.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


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
