"""Preprocessing of images: resize and crop as bytes, one image at a time; normalisation per batch on the device.

Resizing bytes instead of floats is several times faster and differs from PIL's result by at most one grey level.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from backbones.catalog.card import PreprocessingSpec

Picture = Image.Image | npt.NDArray[np.uint8]
"""An image of any mode and size, or RGB as an array [h, w, 3]."""

_INTERPOLATIONS = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}


def prepare(image: Picture, spec: PreprocessingSpec) -> Tensor:
    """One image as uint8 [3, crop, crop], in channels-last memory layout."""
    return prepared_view(image, spec).permute(1, 2, 0).contiguous().permute(2, 0, 1)


def prepared_view(image: Picture, spec: PreprocessingSpec) -> Tensor:
    """`prepare` without the last copy: a part of the resized image, or of `image` itself, to be copied elsewhere."""
    array = np.array(image.convert("RGB")) if isinstance(image, Image.Image) else image
    pixels = torch.from_numpy(array)[None].permute(0, 3, 1, 2)
    size = _size(pixels, spec)
    if spec.interpolation == "bicubic" and min(size) >= spec.crop:
        return _resized_centre(pixels, size, spec.crop)[0]
    return _crop(_resize(pixels, size, spec), spec)[0]


def prepare_decoded(pixels: Tensor, spec: PreprocessingSpec) -> Tensor:
    """`prepare` of pixels uint8 [3, h, w] on any device, resized in float32 there."""
    floats = pixels[None].float()
    size = _size(floats, spec)
    if spec.interpolation == "bicubic" and min(size) >= spec.crop:
        centre = _resized_centre(floats, size, spec.crop)
    else:
        centre = _crop(_resize(floats, size, spec), spec)
    return centre[0].round().clamp(0, 255).to(torch.uint8)


def stack(images: Sequence[Tensor]) -> Tensor:
    """Prepared images as one batch [b, 3, h, w], in channels-last memory layout."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def normalise(batch: Tensor, spec: PreprocessingSpec) -> Tensor:
    """uint8 [b, 3, h, w] to float32, normalised by the spec's mean and deviation, on the batch's device, in the
    same layout.
    """
    scale, shift = _scale_and_shift(spec.mean, spec.std, batch.device)
    rows = batch.permute(0, 2, 3, 1)
    if not rows.is_contiguous():
        floats = batch.float()
        return torch.addcmul(shift.view(3, 1, 1), floats, scale.view(3, 1, 1), out=floats)
    width = rows.shape[2]  # whole rows of pixels at once: three values at a time take five times as long
    floats = rows.flatten(2).float()
    torch.addcmul(shift.repeat(width), floats, scale.repeat(width), out=floats)
    return floats.view(rows.shape).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=16)
def _scale_and_shift(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift for bytes, three numbers each on the device; copying them per batch would synchronise with
    the device.
    """
    with torch.inference_mode(False):  # training uses them as well
        middle, deviation = (torch.tensor(three, dtype=torch.float64) for three in (mean, std))
        return (1 / (255 * deviation)).float().to(device), (-middle / deviation).float().to(device)


def _size(pixels: Tensor, spec: PreprocessingSpec) -> tuple[int, int]:
    """Height and width to resize to."""
    height, width = pixels.shape[-2:]
    if spec.mode == "squash":
        return spec.resize, spec.resize
    if spec.mode == "shorter":
        shorter, longer = sorted((height, width))
        other = int(spec.resize * longer / shorter)
        return (spec.resize, other) if height <= width else (other, spec.resize)
    ratio = max(height, width) / spec.resize
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def _resized_centre(pixels: Tensor, size: tuple[int, int], crop: int) -> Tensor:
    """`_crop` of `_resize`, without computing pixels below and to the right of the crop."""
    given = tuple(pixels.shape[-2:])
    top, left = (round((side - crop) / 2) for side in size)
    if size != given:
        ends = top + crop, left + crop
        # The function does not resize along a side that keeps its length.
        made = [end + 1 if end == old != new else end for end, old, new in zip(ends, given, size, strict=True)]
        scales = size[0] / given[0], size[1] / given[1]
        pixels = torch.ops.aten._upsample_bicubic2d_aa.default(pixels, made, False, *scales)
    return pixels.narrow(2, top, crop).narrow(3, left, crop)


def _resize(pixels: Tensor, size: tuple[int, int], spec: PreprocessingSpec) -> Tensor:
    if size == tuple(pixels.shape[-2:]):
        return pixels
    how = _INTERPOLATIONS[spec.interpolation]
    resized: Tensor = transform.resize(pixels, list(size), interpolation=how, antialias=True)
    return resized


def _crop(pixels: Tensor, spec: PreprocessingSpec) -> Tensor:
    """Centre crop; where the image is smaller (only in mode `border`), padded with the mean colour."""
    if spec.mode == "border":
        height, width = pixels.shape[-2:]
        down, right = max(0, spec.crop - height), max(0, spec.crop - width)
        fill = [float(round(255 * value)) for value in spec.mean]
        pixels = transform.pad(pixels, [right // 2, down // 2, (right + 1) // 2, (down + 1) // 2], fill=fill)
    cropped: Tensor = transform.center_crop(pixels, [spec.crop, spec.crop])
    return cropped
