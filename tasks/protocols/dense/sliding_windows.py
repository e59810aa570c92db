"""Predictions of a large image from overlapping windows, averaged where they overlap.

Source: `slide_inference` of facebookresearch/dinov3 (eval/segmentation/inference.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Window = tuple[slice, slice]


def windows(height: int, width: int, side: int, stride: int) -> Iterator[Window]:
    """Rows and columns of windows of `side` pixels; the last of a row or column ends with the image.

    An image that is smaller in both directions has windows of its own shorter side.
    """
    if side > height and side > width:
        side = min(height, width)
    for top in _starts(height, side, stride):
        for left in _starts(width, side, stride):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))


def slide(predict: Callable[[Tensor], Tensor], image: Tensor, outputs: int, side: int, stride: int) -> Tensor:
    """Mean predictions float32 [1, outputs, h, w] of an image [1, 3, h, w], on its device.

    `predict` gives predictions of a window at the window's own size.
    """
    height, width = image.shape[-2:]
    total = torch.zeros(1, outputs, height, width, device=image.device)
    count = torch.zeros(1, 1, height, width, device=image.device)
    for rows, columns in windows(height, width, side, stride):
        total[:, :, rows, columns] += predict(image[:, :, rows, columns])
        count[:, :, rows, columns] += 1
    return total / count


def _starts(length: int, side: int, stride: int) -> list[int]:
    count = max(length - side + stride - 1, 0) // stride + 1
    return [max(min(number * stride + side, length) - side, 0) for number in range(count)]
