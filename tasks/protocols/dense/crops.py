"""Random crops of images with class masks: scaled, cut, mirrored, distorted in colour and padded.

Source: transforms.py of facebookresearch/dinov3 (eval/segmentation), which is the scheme of mmsegmentation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transform

from tasks.catalog.frozen_dense_parameters import LinearSegmentationParameters
from tasks.datasets.dataset import IGNORED
from tasks.protocols.dense.image_batches import Array, Pixels

CROP_TRIES = 10
BRIGHTNESS = 32
"""Largest change of a value of 0 to 255."""
CONTRAST = (0.5, 1.5)
"""Range of the factor, of saturation too."""


def shorter_side(image: Image.Image, shorter: int) -> Image.Image:
    """The image with the shorter side `shorter` pixels, bilinear."""
    width, height = image.size
    if height > width:
        return image.resize((shorter, int(shorter * height / width + 0.5)), Image.Resampling.BILINEAR)
    return image.resize((int(shorter * width / height + 0.5), shorter), Image.Resampling.BILINEAR)


def nearest(target: Array, height: int, width: int) -> Array:
    """A target [h, w, ...] at another size, each pixel the nearest by torch's rule."""
    rows = (np.arange(height) * (target.shape[0] / height)).astype(np.int64)
    columns = (np.arange(width) * (target.shape[1] / width)).astype(np.int64)
    taken: Array = target[rows[:, None], columns[None, :]]
    return taken


def training_crop(
    image: Image.Image,
    mask: Array,
    parameters: LinearSegmentationParameters,
    pixels: Pixels,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Image float32 [3, crop, crop] and mask int64 [crop, crop]; outside of the image zeros and `IGNORED`."""
    shorter = max(1, int(parameters.shorter * random.uniform(*parameters.scales)))
    scaled = shorter_side(image, shorter)
    label = nearest(mask, scaled.height, scaled.width)
    top, left = _place(label, parameters, random)
    part = (slice(top, top + parameters.crop), slice(left, left + parameters.crop))
    view, label = torch.from_numpy(np.array(scaled)[part]).permute(2, 0, 1), label[part]
    if parameters.flip and random.random() < 0.5:
        view, label = view.flip(2), label[:, ::-1]
    if parameters.distortion:
        view = distorted(view, parameters.hue, random)
    beyond = [0, parameters.crop - view.shape[2], 0, parameters.crop - view.shape[1]]
    classes = torch.from_numpy(np.ascontiguousarray(label, np.int64))
    return functional.pad(pixels.normalised(view), beyond), functional.pad(classes, beyond, value=IGNORED)


def _place(label: Array, parameters: LinearSegmentationParameters, random: np.random.Generator) -> tuple[int, int]:
    """Top and left of a crop, drawn again while one class has too large a fraction of its labelled pixels."""
    crop, most = parameters.crop, parameters.most_of_one_class
    for _ in range(CROP_TRIES if most < 1 else 0):
        top, left = _corner(label, crop, random)
        if _mixed(label[top : top + crop, left : left + crop], most):
            return top, left
    return _corner(label, crop, random)


def _corner(label: Array, crop: int, random: np.random.Generator) -> tuple[int, int]:
    high, wide = (max(side - crop, 0) for side in label.shape[:2])
    return int(random.integers(0, high + 1)), int(random.integers(0, wide + 1))


def _mixed(label: Array, most: float) -> bool:
    classes, counts = np.unique(label, return_counts=True)
    known: npt.NDArray[np.intp] = counts[classes != IGNORED]
    return len(known) > 1 and bool(known.max() / known.sum() < most)


def distorted(view: Tensor, hue: float, random: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue of uint8 [3, h, w], each changed in every second image."""
    contrast_last = random.random() < 0.5
    if random.random() < 0.5:
        view = _within(view.float() + random.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast = random.uniform(*CONTRAST) if random.random() < 0.5 else 1.0
    if not contrast_last:
        view = _within(view.float() * contrast)
    if random.random() < 0.5:
        view = transform.adjust_saturation(view, random.uniform(*CONTRAST))
    if random.random() < 0.5:
        view = transform.adjust_hue(view, random.uniform(-hue, hue))
    return _within(view.float() * contrast) if contrast_last else view


def _within(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)
