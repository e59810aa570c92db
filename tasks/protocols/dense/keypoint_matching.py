"""Positions in an image whose patch features are most similar to those of points of another image."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tasks.catalog.frozen_dense_parameters import CorrespondenceParameters
from tasks.datasets.dataset import ImageSource
from tasks.protocols.dense.decoders import resized
from tasks.protocols.dense.image_batches import Pixels, up_to_multiple
from tasks.protocols.dense.linear_network import FrozenMaps

Points = npt.NDArray[np.float32]
CACHED_BYTES = 512 * 1024**2
"""Memory limit of maps cached for further pairs."""
STRIP_BYTES = 64 * 1024**2
"""Memory limit of enlarged features."""
WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class ImageMap:
    """Patch features of one image."""

    features: Tensor
    """float32 [d, h, w], of the whole canvas."""
    size: tuple[int, int]
    """Width and height of the image in pixels."""
    canvas: tuple[int, int]
    """Width and height of the canvas in pixels of the image."""
    side: int
    """Side of the canvas as the network's input, in pixels."""

    @property
    def bytes(self) -> int:
        """Size of the features in bytes."""
        return self.features.numel() * self.features.element_size()

    def at_cells(self, points: Points) -> Tensor:
        """Unit features float32 [k, d] of points [k, 2], interpolated between patches.

        As Probe3D: points are rounded down to pixels of the network's input, and the first and last patches are at the
        borders of the canvas.
        """
        place = self.on_canvas(points) * 2 - 1
        return _sampled(functional.normalize(self.features, dim=0), place, aligned=True)

    def on_canvas(self, points: Points) -> Tensor:
        """Points as fractions of the canvas, rounded down to pixels of the network's input."""
        share = np.floor(points.astype(np.float64) * self.side / np.array(self.canvas)) / self.side
        return torch.from_numpy(share).float().to(self.features.device)

    def nearest_cells(self, queries: Tensor) -> Points:
        """Pixels float32 [k, 2] of the patches most similar to unit vectors [k, d]: the corner of each patch."""
        cosines = queries @ functional.normalize(self.features.flatten(1), dim=0)
        best = cosines.argmax(dim=1).cpu().numpy()
        high, wide = self.features.shape[1:]
        share = np.stack([best % wide / wide, best // wide / high], axis=1)
        return np.asarray(share * np.array(self.canvas), np.float32)

    def at_pixels(self, points: Points) -> Tensor:
        """Unit features float32 [k, d] of points [k, 2] of the map enlarged to the canvas (bilinear)."""
        place = (torch.from_numpy(points) + 0.5) / torch.tensor(self.canvas) * 2 - 1
        return functional.normalize(_sampled(self.features, place.to(self.features.device), aligned=False), dim=1)

    def nearest_pixels(self, queries: Tensor) -> Points:
        """Pixels float32 [k, 2] of the image most similar to unit vectors [k, d], of the map enlarged to the canvas.

        Enlarging is linear, so that similarities are enlarged instead of features, and divided by the norm of those.
        """
        similarities = torch.einsum("kd,dhw->khw", queries, self.features)
        enlarged = resized(similarities[None], (self.canvas[1], self.canvas[0]))[0]
        cosines = enlarged[:, : self.size[1], : self.size[0]] / self.norms
        best = cosines.flatten(1).argmax(dim=1).cpu().numpy()
        return np.asarray(np.stack([best % self.size[0], best // self.size[0]], axis=1), np.float32)

    @cached_property
    def norms(self) -> Tensor:
        """Norms float32 [height, width] of the enlarged features, a strip of rows at a time."""
        rows = max(1, STRIP_BYTES // (4 * len(self.features) * self.size[0]))
        x = (torch.arange(self.size[0]) + 0.5) / self.canvas[0] * 2 - 1
        y = (torch.arange(self.size[1]) + 0.5) / self.canvas[1] * 2 - 1
        strips = []
        for part in torch.split(y, rows):
            place = torch.stack(torch.meshgrid(x, part, indexing="xy"), dim=-1).to(self.features.device)
            vectors = functional.grid_sample(
                self.features[None], place[None], padding_mode="border", align_corners=False
            )
            strips.append(vectors[0].norm(dim=0))
        return torch.cat(strips).clamp_min(torch.finfo(torch.float32).tiny)


def _sampled(features: Tensor, place: Tensor, *, aligned: bool) -> Tensor:
    """Features [k, d] at positions [k, 2] between -1 and 1."""
    found = functional.grid_sample(features[None], place[None, None], padding_mode="border", align_corners=aligned)
    return found[0, :, 0].T


class MappedImages:
    """Maps of the images of a split, each computed once within the limit of `CACHED_BYTES`."""

    def __init__(
        self, maps: FrozenMaps, images: ImageSource, pixels: Pixels, parameters: CorrespondenceParameters
    ) -> None:
        self.maps, self.images, self.pixels, self.parameters = maps, images, pixels, parameters
        self.side = up_to_multiple(parameters.size, maps.maps.unit)
        self.encoded = 0
        self._kept: OrderedDict[int, ImageMap] = OrderedDict()

    def __getitem__(self, row: int) -> ImageMap:
        """Map of an image."""
        if row not in self._kept:
            self._kept[row] = self._map(self.images[row])
            self.encoded += 1
        self._kept.move_to_end(row)
        while len(self._kept) > 1 and sum(one.bytes for one in self._kept.values()) > CACHED_BYTES:
            self._kept.popitem(last=False)
        return self._kept[row]

    def _map(self, image: Image.Image) -> ImageMap:
        longer = max(image.size)
        canvas = (longer, longer) if self.parameters.canvas == "padded" else image.size
        whole = Image.new("RGB", canvas, WHITE)
        whole.paste(image, (0, 0))
        square = whole.resize((self.side, self.side), Image.Resampling.BICUBIC)
        view = self.pixels.normalised(torch.from_numpy(np.array(square)).permute(2, 0, 1))
        maps = self.maps(view[None])
        finest = maps[0].shape[-2:]
        features = torch.cat([resized(one, finest)[0] for one in maps])
        return ImageMap(features, image.size, canvas, self.side)


def matched(source: ImageMap, target: ImageMap, points: Points, parameters: CorrespondenceParameters) -> Points:
    """Pixels float32 [k, 2] in the target of points of the source."""
    if parameters.positions == "cells":
        return target.nearest_cells(source.at_cells(points))
    return target.nearest_pixels(source.at_pixels(points))
