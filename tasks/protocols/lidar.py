"""LiDAR: rank of the discriminant analysis that separates images by several random views of each.

Source: Thilak et al., LiDAR, 2023 (arXiv 2312.04000). Every image is a class of its own, and its views are the samples.
With the covariance B of the images' mean features and the mean covariance W of views around them, plus delta on its
diagonal, LiDAR is the exponential of the entropy of the normalised eigenvalues of W^-1/2 B W^-1/2: at most the smaller
of the features' width and the number of images less one. Public implementations (stable-pretraining, RADIO) agree on
1,000 images; they add 1e-8 or 1e-4 to every eigenvalue, which is omitted here, as in RankMe.

The publication takes the views of each method's own pre-training. To compare methods, all backbones encode the same
views here: random windows of `smallest` to 100 % of the area and flips, at the backbone's input size. Stored features
contain no views, so the protocol encodes images x views itself, 50,000 by default, decoding each image once. Memory
holds 16 matrices [d, d] in float64, regardless of the number of images. LiDAR is descriptive and never ranked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from backbones.model.architecture import freeze
from backbones.model.encoder import pool
from backbones.model.precision import arithmetic
from backbones.model.preprocessing import normalise
from tasks.catalog.analysis_parameters import LidarParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import ImageInputs
from tasks.features.manifest import NotFiniteError
from tasks.metrics.jackknife import interval_of_jackknife, scores_of_jackknife
from tasks.metrics.outcome import Outcome
from tasks.metrics.spectrum import lidar
from tasks.protocols.finetune.classifier import random_view
from tasks.reporter import Reporter
from tasks.solvers.moments import GROUPS
from tasks.training.checkpoint import Checkpoint, spread_over
from tasks.training.loop import generator_of, prefetched

PURPOSE = 11
"""Second number of the addresses of views."""
LARGE_SHARE = 0.01
"""Ratio of delta to the mean variance of views above which a warning is given."""
Floats = npt.NDArray[np.float64]


def evaluate(inputs: ImageInputs, parameters: LidarParameters, seed: int, reporter: Reporter) -> Outcome:
    """Encode views of training images and score their features. Raises NotFiniteError, DataError."""
    split = inputs.split("train", "all", "val", "test")
    if len(split.images) < 2:
        raise DataError(f"{inputs.dataset.name}/{split.name} has {len(split.images)} images: LiDAR needs at least 2")
    rows = spread_over(len(split.images), parameters.images)
    moments = _encoded(ViewEncoder(inputs, parameters, seed), rows, reporter)
    whole = moments.merged()
    variance = float(np.trace(whole.within(parameters.views)) / len(whole.means[0]))
    if parameters.delta > LARGE_SHARE * variance:
        reporter.warn(
            f"views vary by {variance:.2g} on average, so delta = {parameters.delta:g} affects LiDAR: a "
            "smaller one helps (lidar.delta)"
        )
    parts = [whole, *moments.without_each()]
    scores = [lidar(part.between(), part.within(parameters.views), parameters.delta) for part in parts]
    arrays = {"jackknife:lidar": np.array(scores)}
    return Outcome(
        headline="lidar",
        metrics=scores_of_jackknife(arrays),
        interval=interval_of_jackknife(arrays, "lidar"),
        samples={"train": len(rows)},
        diagnostics={
            "dimension": whole.means.shape[1],
            "largest": min(whole.means.shape[1], len(rows) - 1),
            "views_encoded": len(rows) * parameters.views,
        },
        predictions=cast("dict[str, npt.NDArray[np.generic]]", arrays),
    )


@dataclass(frozen=True)
class ViewMoments:
    """Sums over images in float64, by jackknife group: image i is in group i modulo `GROUPS`."""

    counts: Floats
    """[groups]."""
    means: Floats
    """[groups, d] sums of the images' mean features."""
    products: Floats
    """[groups, d, d] sums of the outer products of the means."""
    scatter: Floats
    """[groups, d, d] sums of the outer products of views around their image's mean."""

    def merged(self) -> ViewMoments:
        sums = (one.sum(axis=0, keepdims=True) for one in (self.counts, self.means, self.products, self.scatter))
        return ViewMoments(*sums)

    def without_each(self) -> Iterator[ViewMoments]:
        """All groups but one as one, for every group that has images if others have two."""
        for number in np.flatnonzero(self.counts):
            kept = np.arange(len(self.counts)) != number
            if self.counts[kept].sum() > 1:
                parts = (one[kept] for one in (self.counts, self.means, self.products, self.scatter))
                yield ViewMoments(*parts).merged()

    def between(self) -> Floats:
        """Covariance [d, d] of the images' means, of one group."""
        mean, count = self.means[0] / self.counts[0], self.counts[0]
        covariance: Floats = (self.products[0] - count * np.outer(mean, mean)) / (count - 1)
        return covariance

    def within(self, views: int) -> Floats:
        """Mean covariance [d, d] of an image's views, of one group."""
        covariance: Floats = self.scatter[0] / (self.counts[0] * (views - 1))
        return covariance


class ViewEncoder:
    """A frozen backbone and the random views of images."""

    def __init__(self, inputs: ImageInputs, parameters: LidarParameters, seed: int) -> None:
        self.inputs, self.parameters, self.seed = inputs, parameters, seed
        self.device = torch.device(inputs.device)
        self.model: nn.Module = freeze(inputs.backbone.fresh()).to(self.device)
        self.images = inputs.split("train", "all", "val", "test").images

    def views(self, row: int) -> Tensor:
        """Views uint8 [views, 3, crop, crop] of an image, the same for the same seed. Raises DataError."""
        image, random, area = self.images[row], generator_of(self.seed, PURPOSE, row), (self.parameters.smallest, 1.0)
        size = self.inputs.spec.crop
        return torch.stack([random_view(image, size, random, area) for _ in range(self.parameters.views)])

    @torch.inference_mode()
    def features(self, views: Tensor) -> Tensor:
        """Pooled features float64 [n, d] of views uint8 [n, 3, h, w]. Raises NotFiniteError."""
        card, spec, found = self.inputs.backbone.card, self.inputs.spec, []
        for part in torch.split(views, self.inputs.batch_size):
            with arithmetic(self.device, self.inputs.precision):
                maps = self.model.forward_features(normalise(part.to(self.device), spec))  # type: ignore[operator]
                found.append(pool(self.model, maps, card.pooling).flatten(1).double())
        features = torch.cat(found)
        if not bool(torch.isfinite(features).all()):
            raise NotFiniteError(f"{card.name}: features of views hold NaN or infinity: float32 helps (--precision)")
        return features


def _encoded(encoder: ViewEncoder, rows: list[int], reporter: Reporter) -> ViewMoments:
    """Moments of all rows, resumed from a checkpoint if it exists."""
    inputs, views = encoder.inputs, encoder.parameters.views
    checkpoint = None if inputs.checkpoint is None else Checkpoint(inputs.checkpoint / "views.pt", inputs.key)
    state = checkpoint.restore(reporter, inputs.device) if checkpoint is not None else None
    reporter.phase("encoding views", len(rows) * views, "views")
    first = int(state["done"]) if state is not None else 0
    reporter.advance(first * views)
    sums: list[Tensor] = list(state["sums"]) if state is not None else []
    kept = time.monotonic()
    with prefetched(lambda place: encoder.views(rows[place]), len(rows)) as batches:
        for place in range(first, len(rows)):
            features = encoder.features(batches(place))
            width = features.shape[1]
            shapes = ((GROUPS,), (GROUPS, width), (GROUPS, width, width), (GROUPS, width, width))
            sums = sums or [torch.zeros(one, dtype=torch.float64, device=encoder.device) for one in shapes]
            _add(sums, features, place % GROUPS)
            reporter.advance(views)
            if checkpoint is not None and time.monotonic() - kept >= inputs.checkpoint_s:
                checkpoint.save({"done": place + 1, "sums": sums})
                kept = time.monotonic()
    return ViewMoments(*(one.cpu().numpy() for one in sums))


def _add(sums: list[Tensor], features: Tensor, group: int) -> None:
    """Add the views [views, d] of one image to its group."""
    counts, means, products, scatter = sums
    mean = features.mean(dim=0)
    centred = features - mean
    counts[group] += 1
    means[group] += mean
    products[group] += torch.outer(mean, mean)
    scatter[group] += centred.T @ centred
