"""Training and test views of images with class masks or depth: scaled, cropped, mirrored, rotated, distorted in colour.

Sources: transforms.py of facebookresearch/dinov3 (eval/segmentation), which is the scheme of mmsegmentation; and
transforms.py and datasets_utils.py of the same (eval/depth), which follow BTS and AdaBins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from backbones.catalog.card import Triple
from tasks.catalog.frozen_dense_parameters import DepthParameters, LinearSegmentationParameters
from tasks.datasets.dataset import IGNORED
from tasks.protocols.dense.image_batches import Array, Pixels

CROP_TRIES = 10
BRIGHTNESS = 32
"""Largest change of a value of 0 to 255."""
CONTRAST = (0.5, 1.5)
"""Range of the factor, of saturation too."""
NYU_SIZE = (480, 640)
NYU_BORDER = (45, 472, 43, 608)
"""Top, bottom, left and right of the part of a training image within its white border."""
EIGEN_BOX = (45, 471, 41, 601)
"""Top, bottom, left and right of the part of a test image that is scored."""
DEPTH_GAMMA, DEPTH_BRIGHTNESS, DEPTH_COLOUR = (0.9, 1.1), (0.75, 1.25), (0.9, 1.1)
"""Ranges of the exponent of values from 0 to 255, then of a factor for all of them, and of one for each channel."""
Box = tuple[slice, slice]


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
        classes, counts = np.unique(label[top : top + crop, left : left + crop], return_counts=True)
        known: npt.NDArray[np.intp] = counts[classes != IGNORED]
        if len(known) > 1 and known.max() / known.sum() < most:
            return top, left
    return _corner(label, crop, random)


def _corner(label: Array, crop: int, random: np.random.Generator) -> tuple[int, int]:
    high, wide = (max(side - crop, 0) for side in label.shape[:2])
    return int(random.integers(0, high + 1)), int(random.integers(0, wide + 1))


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
        values = (view * 255) ** random.uniform(*DEPTH_GAMMA) * random.uniform(*DEPTH_BRIGHTNESS)
        factors = torch.tensor(random.uniform(*DEPTH_COLOUR, size=3), dtype=torch.float32).view(3, 1, 1)
        view = (values * factors).clamp(0, 255) / 255
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
