"""Training and test views of images with depth: border removed, rotated, mirrored, cropped, jittered in colour.

Source: transforms.py and datasets_utils.py of facebookresearch/dinov3 (eval/depth), which follow BTS and AdaBins.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from backbones.catalog.card import Triple
from tasks.catalog.frozen_dense_parameters import DepthParameters
from tasks.protocols.dense.image_batches import Array

NYU_SIZE = (480, 640)
NYU_BORDER = (45, 472, 43, 608)
"""Top, bottom, left and right of the part of a training image within its white border."""
EIGEN_BOX = (45, 471, 41, 601)
"""Top, bottom, left and right of the part of a test image that is scored."""
GAMMA, BRIGHTNESS, COLOUR = (0.9, 1.1), (0.75, 1.25), (0.9, 1.1)
"""Ranges of factors (gamma: of the exponent of values from 0 to 255)."""
Box = tuple[slice, slice]


def box_of(corners: tuple[int, int, int, int], height: int, width: int) -> Box:
    """Rows and columns of a box, specified for images of 480 x 640, in an image of any size."""
    top, bottom = (int(edge / NYU_SIZE[0] * height) for edge in corners[:2])
    left, right = (int(edge / NYU_SIZE[1] * width) for edge in corners[2:])
    return slice(top, bottom), slice(left, right)


def depth_view(
    image: Image.Image,
    depth: Array,
    parameters: DepthParameters,
    mean: Triple,
    std: Triple,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """A normalised view float32 [3, h, w] and its depth float32 [1, h, w], 0 where unknown."""
    view = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    truth = torch.from_numpy(np.ascontiguousarray(depth, np.float32))[None]
    if parameters.border == "nyu":
        rows, columns = box_of(NYU_BORDER, *depth.shape)
        view, truth = view[:, rows, columns], truth[:, rows, columns]
    if parameters.rotation and random.random() < 0.5:
        angle = random.uniform(-parameters.rotation, parameters.rotation)
        view = transform.rotate(view, angle, interpolation=InterpolationMode.BILINEAR)
        truth = transform.rotate(truth, angle, interpolation=InterpolationMode.NEAREST)
    if parameters.flip and random.random() < 0.5:
        view, truth = view.flip(2), truth.flip(2)
    view, truth = _cropped(view, truth, parameters.crop, random)
    if parameters.colour and random.random() < 0.5:
        view = _coloured(view, random)
    return normalised_view(view, mean, std), truth


def normalised_view(view: Tensor, mean: Triple, std: Triple) -> Tensor:
    """Values [3, h, w] of 0 to 1, normalised."""
    return (view - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def _cropped(view: Tensor, truth: Tensor, size: tuple[int, int], random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Both cut to `size`; smaller images are padded with black of unknown depth."""
    high, wide = (max(0, wanted - side) for wanted, side in zip(size, view.shape[1:], strict=True))
    view, truth = (functional.pad(one, [0, wide, 0, high]) for one in (view, truth))
    top, left = (int(random.integers(0, side - wanted + 1)) for side, wanted in zip(view.shape[1:], size, strict=True))
    part = (slice(None), slice(top, top + size[0]), slice(left, left + size[1]))
    return view[part], truth[part]


def _coloured(view: Tensor, random: np.random.Generator) -> Tensor:
    """Gamma on values from 0 to 255, then a factor for all and one for each channel."""
    values = (view * 255) ** random.uniform(*GAMMA) * random.uniform(*BRIGHTNESS)
    factors = torch.tensor(random.uniform(*COLOUR, size=3), dtype=torch.float32).view(3, 1, 1)
    return (values * factors).clamp(0, 255) / 255
