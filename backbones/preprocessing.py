"""Images to a backbone's input: resize and crop on whole bytes, one image at a time; numbers per batch on the device.

Resizing bytes instead of floats is several times faster and differs from PIL's result by at most one grey level.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from backbones.preprocessing_spec import PreprocessingSpec

Picture = Image.Image | npt.NDArray[np.uint8]
"""An image of any mode and size, or RGB as an array [h, w, 3]."""

_INTERPOLATIONS = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}


def prepare(image: Picture, spec: PreprocessingSpec) -> Tensor:
    """One image as uint8 [3, crop, crop]."""
    array = np.array(image.convert("RGB")) if isinstance(image, Image.Image) else image
    pixels = torch.from_numpy(array).permute(2, 0, 1)
    return _crop(_resize(pixels, spec), spec).contiguous()


def normalise(batch: Tensor, spec: PreprocessingSpec) -> Tensor:
    """uint8 [b, 3, h, w] to float32 with the spec's mean and deviation, on the batch's device."""
    mean, std = (torch.tensor(three, dtype=torch.float64).view(3, 1, 1) for three in (spec.mean, spec.std))
    scale, shift = ((1 / (255 * std)).float().to(batch.device), (-mean / std).float().to(batch.device))
    return batch.float().mul_(scale).add_(shift)


def _resize(pixels: Tensor, spec: PreprocessingSpec) -> Tensor:
    height, width = pixels.shape[-2:]
    if spec.mode == "squash":
        size = [spec.resize, spec.resize]
    elif spec.mode == "shorter":
        size = [spec.resize]
    else:
        ratio = max(height, width) / spec.resize
        size = [max(1, round(height / ratio)), max(1, round(width / ratio))]
    if tuple(size) == (height, width) or (len(size) == 1 and size[0] == min(height, width)):
        return pixels
    resized: Tensor = transform.resize(pixels, size, interpolation=_INTERPOLATIONS[spec.interpolation], antialias=True)
    return resized


def _crop(pixels: Tensor, spec: PreprocessingSpec) -> Tensor:
    """The centre; where the image is smaller (only in mode `border`), the mean colour around it."""
    if spec.mode == "border":
        height, width = pixels.shape[-2:]
        down, right = max(0, spec.crop - height), max(0, spec.crop - width)
        fill = [float(round(255 * value)) for value in spec.mean]
        pixels = transform.pad(pixels, [right // 2, down // 2, (right + 1) // 2, (down + 1) // 2], fill=fill)
    cropped: Tensor = transform.center_crop(pixels, [spec.crop, spec.crop])
    return cropped
