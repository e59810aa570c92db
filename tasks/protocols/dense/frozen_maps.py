"""Maps of a frozen backbone and a linear head on them; images as patches, and patch tokens whose norm stands out.

Source of outlier tokens: Darcet et al., Vision transformers need registers (2309.16588): a few per cent of the patches
of large models without registers carry global information in tokens of a very high norm, on uniform background. The
norm is measured at the output of a block, before the final norm, which hides it; outliers are here tokens beyond three
times the median of their image (a choice of this project).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from backbones.model.architecture import freeze
from backbones.model.feature_maps import LayerChoice, NoBlocks, NormedMaps, block_modules, recorded_blocks
from backbones.model.precision import arithmetic
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.outcome import Json
from tasks.protocols.dense.image_batches import Array, DenseImages, Pixels
from tasks.protocols.dense.network import resized
from tasks.reporter import Reporter
from tasks.training.checkpoint import spread_over
from tasks.training.loop import torch_seeded

BEYOND = 3.0
"""Multiple of the image's median norm above which a token is an outlier."""
NOTABLE = 0.5
"""Percentage of outliers in any block above which the result has a warning."""
SHOWN = 16
"""Number of images examined."""
DEVIATION = 0.01
"""Standard deviation of the convolution's initial weights."""


@torch.no_grad()
def outlier_shares(model: nn.Module, images: Iterable[Tensor]) -> list[float]:
    """Percentage of outliers among the patch tokens of each block, from normalised images [b, 3, h, w].

    Empty for a network without blocks of tokens.
    """
    try:
        names = block_modules(model)
    except NoBlocks:
        return []
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    counts, total = torch.zeros(len(names)), 0
    with recorded_blocks(model, names) as outputs:
        for image in images:
            cast("Any", model).forward_features(image)
            if any(name not in outputs or outputs[name].ndim != 3 for name in names):
                return []
            norms = [outputs[name][:, prefix:].float().norm(dim=2) for name in names]
            beyond = [one > BEYOND * one.median(dim=1, keepdim=True).values for one in norms]
            counts += torch.stack([one.sum() for one in beyond]).cpu()
            total += norms[0].numel()
    return [100 * float(count) / total for count in counts] if total else []


def check_outliers(model: nn.Module, images: Iterable[Tensor], reporter: Reporter) -> dict[str, Json]:
    """Store percentages by block as a diagnostic, with a warning if one is notable; no effect for networks without
    tokens.
    """
    training = model.training
    shares = outlier_shares(model.eval(), images)
    model.train(training)
    if not shares:
        return {}
    worst = max(range(len(shares)), key=lambda block: shares[block])
    if shares[worst] >= NOTABLE:
        reporter.warn(
            f"{shares[worst]:.1f} % of the patch tokens of block {worst + 1} have more than {BEYOND:g} times the "
            "median norm of their image: such outliers disturb dense predictions (a model with registers has fewer)"
        )
    return {"outlier_tokens": cast("list[Json]", shares)}


class LinearMapHead(nn.Module):
    """Dropout of channels, batch norm and a 1 x 1 convolution on concatenated maps.

    Source: linear_head.py of facebookresearch/dinov3 (eval/segmentation, eval/depth). All maps are resized to that of
    the first, then enlarged `upsampling` times.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int, *, dropout: float, norm: bool, upsampling: int) -> None:
        super().__init__()
        width = sum(channels)
        self.upsampling = upsampling
        self.dropout = nn.Dropout2d(dropout)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.convolution = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(self.convolution.weight, std=DEVIATION)
        nn.init.zeros_(cast("Tensor", self.convolution.bias))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[b, outputs, h, w] at the first map's size times `upsampling`."""
        first = [side * self.upsampling for side in maps[0].shape[-2:]]
        joined = torch.cat([resized(one, first) for one in maps], dim=1)
        found: Tensor = self.convolution(self.norm(self.dropout(joined)))
        return found


class FrozenMaps:
    """Maps of a frozen backbone for images of any size, padded on all sides to multiples of its unit."""

    def __init__(
        self, inputs: ImageInputs, layers: LayerChoice, *, class_token: bool = False, norm: bool = True
    ) -> None:
        self.inputs = inputs
        model = freeze(inputs.backbone.fresh()).eval().to(inputs.device)
        self.maps = NormedMaps(model, inputs.spec.crop, layers, class_token=class_token, norm=norm)

    @property
    def channels(self) -> tuple[int, ...]:
        """Total number of channels of the maps."""
        return self.maps.channels

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """Maps float32 of normalised images [b, 3, h, w] from any device."""
        device = torch.device(self.inputs.device)
        padded = padded_to(images.to(device, non_blocking=True), self.maps.unit)
        with arithmetic(device, self.inputs.precision):
            found = self.maps(padded)
        return [one.float() for one in found]


def check_tokens(maps: FrozenMaps, images: DenseImages, reporter: Reporter) -> dict[str, Json]:
    """Record the outlier tokens of some images at their own size as a diagnostic, and warn of many."""
    unit, device = maps.maps.unit, maps.inputs.device
    rows = spread_over(len(images), SHOWN)
    pictures = (torch.from_numpy(np.array(images.split.images[row])).permute(2, 0, 1) for row in rows)
    views = (padded_to(images.pixels.normalised(picture)[None], unit).to(device) for picture in pictures)
    return check_outliers(maps.maps.model, views, reporter)


def padded_to(images: Tensor, unit: int) -> Tensor:
    """Zeros on both sides until height and width are multiples of `unit` (`CenterPadding` of DINOv2 and DINOv3)."""
    sides = [-side % unit for side in images.shape[:-3:-1]]
    return functional.pad(images, [part for side in sides for part in (side // 2, side - side // 2)])


def linear_head(
    maps: FrozenMaps, outputs: int, seed: int, *, dropout: float = 0.0, norm: bool = True, upsampling: int = 1
) -> LinearMapHead:
    """A new head; the seed determines its weights."""
    with torch_seeded("cpu", seed, 1):
        head = LinearMapHead(maps.channels, outputs, dropout=dropout, norm=norm, upsampling=upsampling)
    return head.to(maps.inputs.device)


@dataclass(frozen=True)
class PatchViews:
    """Square views of `side` pixels, regardless of the image's shape."""

    maps: FrozenMaps
    pixels: Pixels
    side: int

    def squashed(self, image: Image.Image) -> Image.Image:
        """The image resized to a view, bicubic, ignoring its aspect ratio."""
        return image.resize((self.side, self.side), Image.Resampling.BICUBIC)

    def features(self, image: Image.Image) -> tuple[Tensor, tuple[int, int]]:
        """Features float32 [h w, d] of all patches of an image, row by row, and h and w."""
        view = self.pixels.normalised(torch.from_numpy(np.array(self.squashed(image))).permute(2, 0, 1))
        maps = self.maps(view[None])
        high, wide = maps[0].shape[-2:]
        joined = torch.cat([resized(one, (high, wide))[0] for one in maps])
        return joined.flatten(1).T, (high, wide)

    def mask(self, mask: Array) -> Array:
        """Class indices int16 [side, side], the nearest by Pillow's rule."""
        drawn = Image.fromarray(mask.astype(np.int32)).resize((self.side, self.side), Image.Resampling.NEAREST)
        return np.asarray(drawn).astype(np.int16)


def in_patches(mask: Array, grid: tuple[int, int]) -> Tensor:
    """Labels int16 [patches, pixels] of a mask [h, w], row by row in both."""
    high, wide = mask.shape[0] // grid[0], mask.shape[1] // grid[1]
    blocks = torch.from_numpy(np.ascontiguousarray(mask, np.int16)).view(grid[0], high, grid[1], wide)
    return blocks.permute(0, 2, 1, 3).reshape(grid[0] * grid[1], high * wide)


def from_patches(labels: Tensor, grid: tuple[int, int], side: int) -> npt.NDArray[np.int64]:
    """The mask [side, side] of labels [patches, pixels]."""
    blocks = labels.view(*grid, side // grid[0], side // grid[1]).permute(0, 2, 1, 3)
    return blocks.reshape(side, side).long().numpy()
