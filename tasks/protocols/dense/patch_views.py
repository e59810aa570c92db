"""Images of one square size as patches, with the labels of their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tasks.protocols.dense.decoders import resized
from tasks.protocols.dense.image_batches import Array, Pixels
from tasks.protocols.dense.linear_network import FrozenMaps


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
