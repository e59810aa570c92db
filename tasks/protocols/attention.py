"""Attentive overfitting: the spatial extent of the image that affects a backbone's features, by occlusion.

A window is moved over the image; where it covers something, the pooled features change by the root relative squared
error |f - f_occluded| / |f|. A pixel's saliency is the mean over all windows that cover it, and attentive diffusion is
the fraction of the map above its mean. Sources: paper section 4.9 and A.9; `saliency.py` of the authors' later code
(jonahanton/SSL_medicalimaging): occluded pixels are 0 after normalisation, and the image is enlarged by a margin that
is cut off again, so that every retained pixel is covered equally often (224 and 242 pixels for windows of 10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from backbones.model.architecture import freeze
from backbones.model.encoder import pool
from backbones.model.precision import arithmetic
from backbones.model.preprocessing import normalise, prepare
from tasks.catalog.analysis_parameters import AttentionParameters
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.confidence_intervals import mean_over
from tasks.metrics.outcome import Json, Outcome
from tasks.protocols.result_images import heat, save_sheet
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint, resumable_map, spread_over

Map = npt.NDArray[np.float32]
PICTURED = 4
LARGER = 64
"""Maximum number of pixels by which a canvas may exceed the requested side, for networks that accept only certain
sizes.
"""
REFUSALS = (RuntimeError, ValueError, AssertionError, TypeError)


def evaluate(inputs: ImageInputs, parameters: AttentionParameters, seed: int, reporter: Reporter) -> Outcome:
    """Compute the saliency maps of test images; `seed` has no effect."""
    del seed
    split = inputs.split("test", "val", "all", "train")
    indices = spread_over(len(split.images), parameters.images)
    encoder = OcclusionEncoder(inputs, parameters.window, reporter)

    def saliency(index: int) -> Tensor:
        return torch.from_numpy(encoder.saliency(split.images[index], parameters.stride, reporter))

    windows = len(encoder.positions(parameters.stride))
    reporter.phase("occluding", len(indices) * windows, "windows")
    checkpoint = None if inputs.checkpoint is None else Checkpoint(inputs.checkpoint / "saliency.pt", inputs.key)
    maps = [
        one.numpy()
        for one in resumable_map(indices, saliency, checkpoint, reporter, lambda done: reporter.advance(done * windows))
    ]
    diffusion = np.array([attentive_diffusion(one) for one in maps])
    agreement = _agreement(encoder, maps, [split.images[index] for index in indices[: parameters.compared]], reporter)
    shown = [(encoder.shown(split.images[index]), one) for index, one in zip(indices[:PICTURED], maps, strict=False)]
    save_sheet([[image, heat(one, image)] for image, one in shown], inputs.pictures, "saliency.png")
    return Outcome(
        headline="diffusion",
        metrics={"diffusion": float(diffusion.mean())},
        interval=mean_over(diffusion),
        samples={"test": len(indices)},
        diagnostics={"canvas": encoder.canvas, "windows": windows, **agreement},
        predictions={"index": np.array(indices), "diffusion": diffusion, "saliency": np.stack(maps).astype(np.float16)},
    )


@dataclass
class OcclusionEncoder:
    """A frozen backbone and the image size that it receives for saliency maps of its own input size."""

    inputs: ImageInputs
    window: int
    reporter: Reporter

    def __post_init__(self) -> None:
        self.device = torch.device(self.inputs.device)
        self.model: nn.Module = freeze(self.inputs.backbone.fresh()).to(self.device)
        self.size = self.inputs.spec.crop
        self.canvas = self._canvas()
        self.spec = replace(self.inputs.spec, resize=self.canvas, crop=self.canvas)

    def saliency(self, image: Image.Image, stride: int, reporter: Reporter) -> Map:
        """The map [size, size] of an image (PIL)."""
        pixels = normalise(prepare(image, self.spec)[None].to(self.device), self.spec)
        return occlusion_saliency(
            self.features,
            pixels,
            self.positions(stride),
            self.window,
            batch_size=self.inputs.batch_size,
            advance=reporter.advance,
        )[self._kept]

    def shown(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """The part of the image that the map covers, uint8 [size, size, 3]."""
        return prepare(image, self.spec).permute(1, 2, 0).numpy()[self._kept]

    def positions(self, stride: int) -> list[tuple[int, int]]:
        """Upper left corners of all windows; the last row and column end with the canvas."""
        last = self.canvas - self.window
        along = sorted({*range(0, last + 1, stride), last})
        return list(product(along, along))

    @torch.inference_mode()
    def features(self, batch: Tensor) -> Tensor:
        """Pooled features float32 [b, d] of normalised images."""
        with arithmetic(self.device, self.inputs.precision):
            maps = self.model.forward_features(batch)  # type: ignore[operator]
            return pool(self.model, maps, self.inputs.backbone.card.pooling).flatten(1).float()

    @property
    def _kept(self) -> tuple[slice, slice]:
        margin = (self.canvas - self.size) // 2
        return (slice(margin, margin + self.size),) * 2

    def _canvas(self) -> int:
        """The smallest accepted side that is at least the requested one; else the network's own, with the border
        covered less often.
        """
        wanted = self.size + 2 * (self.window - 1)
        for side in range(wanted, wanted + LARGER + 1):
            if self._takes(side):
                if side != wanted:
                    self.reporter.warn(
                        f"images are enlarged to {side} pixels, not {wanted}, which the network does not accept"
                    )
                return side
        self.reporter.warn(f"the network accepts {self.size} pixels only: the border of maps has fewer windows")
        return self.size

    def _takes(self, side: int) -> bool:
        try:
            self.features(torch.zeros(1, 3, side, side, device=self.device))
        except torch.OutOfMemoryError:
            raise
        except REFUSALS:
            return False
        return True


def occlusion_saliency(
    features: Callable[[Tensor], Tensor],
    pixels: Tensor,
    places: list[tuple[int, int]],
    window: int,
    *,
    batch_size: int,
    advance: Callable[[int], None] = lambda _count: None,
) -> Map:
    """Mean change of the features [h, w] over the windows that cover each pixel of `pixels` [1, 3, h, w]."""
    clean = features(pixels)
    total, times = np.zeros(pixels.shape[-2:]), np.zeros(pixels.shape[-2:])
    for start in range(0, len(places), batch_size):
        some = places[start : start + batch_size]
        covered = pixels.repeat(len(some), 1, 1, 1)
        for number, (top, left) in enumerate(some):
            covered[number, :, top : top + window, left : left + window] = 0
        changes = ((features(covered) - clean).norm(dim=1) / clean.norm()).cpu().numpy()
        for change, (top, left) in zip(changes, some, strict=True):
            total[top : top + window, left : left + window] += change
            times[top : top + window, left : left + window] += 1
        advance(len(some))
    return (total / times).astype(np.float32)


def attentive_diffusion(saliency: Map) -> float:
    """Percentage of the map above its mean."""
    values = saliency.astype(np.float64)
    return 100.0 * float((values > values.mean()).mean())


def _agreement(
    encoder: OcclusionEncoder, maps: list[Map], images: list[Image.Image], reporter: Reporter
) -> dict[str, Json]:
    """Agreement of the maps of the first images with those at stride 1."""
    if not images:
        return {}
    windows = len(encoder.positions(1))
    reporter.phase("comparing with stride 1", len(images) * windows, "windows")
    exact = [encoder.saliency(image, 1, reporter) for image in images]
    pairs = list(zip(maps, exact, strict=False))
    correlations = [float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) for one, other in pairs]
    shifts = [attentive_diffusion(one) - attentive_diffusion(other) for one, other in pairs]
    return {"agreement with stride 1": {"correlation": [*correlations], "diffusion difference": [*shifts]}}
