"""Training-free segmentation by CAPI's rule: every pixel of a patch has the most frequent label of its neighbours.

Source: `KNNClassifier` of facebookresearch/capi (98b4fa1, eval_segmentation.py): images squashed to 224 pixels
(bicubic), labels to the same size (nearest), patches of the last layer standardised by the training patches' mean and
deviation, where the label of a patch consists of those of all its pixels; training patches most of whose pixels have no
class are dropped. Neighbours (1, 3, 10 or 30) and distance (cosine or Euclidean) are chosen by mean IoU on a random
tenth of the training images, which are then added to the memory, and the test images are scored once.

As there, pixels without a class vote too: where they win, the prediction is wrong for the pixel's class, and "no class"
counts as a further class of IoU 0 in the mean if it is predicted at all (scikit-learn's macro average).

It differs from `knn-segmentation` (Hummingbird), whose patches vote with class fractions weighted by similarity,
enlarged to the size of the image, and which selects nothing. What choosing on the test images would have given is the
diagnostic `chosen_on_test`, where comparing them with the memory is cheap.

Differences from CAPI: at most `memory` training patches are kept, spread evenly over the images (there: all, or every
n-th), and of tied classes the first is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tasks.catalog.frozen_dense_parameters import KnnSegmentationCapiParameters, PatchDistance
from tasks.datasets.dataset import IGNORED, DataError
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.confidence_intervals import over_images
from tasks.metrics.outcome import Json, Outcome, chosen_on_test
from tasks.metrics.pixels import Confusion
from tasks.protocols.dense.frozen_maps import FrozenMaps, PatchViews, check_tokens, from_patches, in_patches
from tasks.protocols.dense.image_batches import Array, DenseImages, Pixels, up_to_multiple
from tasks.protocols.segmentation import class_ious
from tasks.reporter import Reporter
from tasks.training.checkpoint import spread_over
from tasks.training.loop import generator_of

BLOCK = 65_536
"""Training patches that are compared at once."""
MOST_PRODUCTS = 10**12
"""Multiplications up to which the test images are scored with every setting, about a minute on one core."""
TINY = torch.finfo(torch.float32).tiny
NO_CLASS = "no class"
Setting = tuple[int, PatchDistance]
"""Number of neighbours, and distance."""


@dataclass(frozen=True, eq=False)
class LabelledPatches:
    """Patches: features float32 [n, d], and labels int16 [n, pixels] of all pixels of each, on the CPU."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def nearest(self, queries: Tensor, count: int, distance: PatchDistance) -> Tensor:
        """Indices int64 [q, count] of the nearest patches of queries [q, d], nearest first, on the CPU."""
        best, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
        for start in range(0, len(self), BLOCK):
            part = slice(start, start + BLOCK)
            products, norms = queries @ self.features[part].T, self.norms[part]
            some = products / norms.clamp_min(TINY) if distance == "cosine" else 2 * products - norms**2
            values, places = some.topk(min(count, some.shape[1]), dim=1)
            joined = torch.cat([best, values.cpu()], dim=1)
            best, order = joined.topk(min(count, joined.shape[1]), dim=1)
            rows = torch.cat([rows, places.cpu() + start], dim=1).gather(1, order)
        return rows

    @cached_property
    def norms(self) -> Tensor:
        """Norms float32 [n] of the features."""
        norms: Tensor = self.features.norm(dim=1)
        return norms

    def votes(self, rows: Tensor) -> Tensor:
        """Most frequent label int16 [q, pixels] at every pixel of the patches `rows` [q, k]; the first of several."""
        frequent: Tensor = self.labels[rows].mode(dim=1).values
        return frequent


@dataclass
class PatchMoments:
    """Sums over patches, for standardisation."""

    total: Tensor
    squares: Tensor
    count: int = 0

    @classmethod
    def empty(cls, width: int, device: torch.device) -> PatchMoments:
        zeros = torch.zeros(width, dtype=torch.float64, device=device)
        return cls(zeros, zeros.clone())

    def add(self, patches: Tensor) -> None:
        """Count patches [n, d]."""
        wide = patches.double()
        self.total += wide.sum(dim=0)
        self.squares += (wide * wide).sum(dim=0)
        self.count += len(patches)

    def standardised(self, patches: Tensor) -> Tensor:
        """Patches [n, d] standardised by mean and population deviation; a constant feature is only centred."""
        mean = self.total / self.count
        deviation = (self.squares / self.count - mean**2).clamp_min(0).sqrt()
        deviation = torch.where(deviation > torch.finfo(torch.float32).eps * mean.abs(), deviation, 1.0)
        return ((patches - mean) / deviation).float()


def evaluate(inputs: ImageInputs, parameters: KnnSegmentationCapiParameters, seed: int, reporter: Reporter) -> Outcome:
    """Select neighbours and distance on a part of `train`, then score the other split; nothing is trained.

    The seed determines the validation images. Raises `DataError`.
    """
    pixels = Pixels.of(parameters.normalisation, inputs.spec)
    learning, judged = DenseImages.of_roles(inputs, "masks", pixels)
    classes = learning.targets.classes
    maps = FrozenMaps(inputs, parameters.layers)
    views = PatchViews(maps, pixels, up_to_multiple(parameters.size, maps.maps.unit))
    tokens = check_tokens(maps, judged, reporter)
    chosen = PatchVoting(views, learning, len(classes), parameters, reporter)
    setting, scores = chosen.select(*validation_split(len(learning), parameters.validation_share, seed))
    settings = chosen.settings if chosen.products(len(judged)) <= MOST_PRODUCTS else [setting]
    confusions = chosen.test(judged, settings)
    confusion, counts = confusions[setting], confusions[setting].counts
    return Outcome(
        headline="miou",
        metrics=counts.scores,
        interval=over_images(counts.mean_ious, len(counts.images)),
        samples={"train": len(learning), "test": len(judged)},
        hyperparameters={"neighbours": setting[0], "distance": setting[1]},
        diagnostics={
            "patches": len(chosen.memory),
            "chance": counts.chance,
            "validation_miou": scores,
            "class_iou": class_ious((*classes, NO_CLASS), counts),
            **_optimism(confusions, setting),
            **tokens,
        },
        predictions=confusion.arrays,
    )


def _optimism(confusions: Mapping[Setting, Confusion], selected: Setting) -> dict[str, Json]:
    if len(confusions) < 2:
        return {}
    scores = {setting: confusion.counts.mean_iou for setting, confusion in confusions.items()}
    choices = [f"{count} neighbours, {distance}" for count, distance in scores]
    return {"chosen_on_test": chosen_on_test(list(scores.values()), choices, scores[selected])}


def validation_split(images: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices for the memory and for validation, at least one each. Raises DataError for a single image."""
    if images < 2:
        raise DataError("one training image cannot be divided into a memory and validation images")
    order = generator_of(seed, 8).permutation(images).tolist()
    count = min(images - 1, max(1, int(share * images)))
    return order[count:], order[:count]


class PatchVoting:
    """A bounded memory of standardised training patches."""

    def __init__(
        self,
        views: PatchViews,
        images: DenseImages,
        classes: int,
        parameters: KnnSegmentationCapiParameters,
        reporter: Reporter,
    ) -> None:
        self.views, self.images, self.classes, self.parameters = views, images, classes, parameters
        self.reporter = reporter
        self.each = max(1, parameters.memory // len(images))
        device = torch.device(views.maps.inputs.device)
        self.moments = PatchMoments.empty(sum(views.maps.channels), device)
        self.memory = LabelledPatches(torch.empty(0), torch.empty(0))

    def select(self, rows: Sequence[int], validation: Sequence[int]) -> tuple[Setting, dict[str, Json]]:
        """Fill the memory and select the setting with the best mean IoU, the first of several. Patches of the
        validation images are then added to the memory. Returns all mean IoUs in percent, by setting.
        """
        learnt = self._kept(rows)
        self.memory = replace(learnt, features=self.moments.standardised(learnt.features))
        settings = self.settings
        confusions = {setting: Confusion(self.classes + 1) for setting in settings}
        self.reporter.phase("validation", len(validation), "images")
        added = []
        for patches, grid, mask in self._shown(self.images, validation):
            queries = self.moments.standardised(patches.features)
            added.append(self._some(replace(patches, features=queries)))
            for setting, predicted in self._answers(queries, settings):
                self._score(confusions[setting], predicted, grid, mask)
        self.memory = _together([self.memory, *added])
        scores = {setting: confusion.counts.mean_iou for setting, confusion in confusions.items()}
        best = max(settings, key=lambda setting: scores[setting])
        return best, {f"{count} {distance}": scores[count, distance] for count, distance in settings}

    @property
    def settings(self) -> list[Setting]:
        """All candidates."""
        return [(count, distance) for count in self.parameters.neighbours for distance in self.parameters.distances]

    def products(self, images: int) -> int:
        """Multiplications that compare all patches of this number of images with the memory, for all distances."""
        side = self.views.side // self.views.maps.maps.unit
        return images * side**2 * self.memory.features.numel() * len(self.parameters.distances)

    def test(self, judged: DenseImages, settings: Sequence[Setting]) -> dict[Setting, Confusion]:
        """Confusion of the images' pixels, with pixels for which "no class" was predicted as the last class."""
        confusions = {setting: Confusion(self.classes + 1) for setting in settings}
        self.reporter.phase("test", len(judged), "images")
        for patches, grid, mask in self._shown(judged, range(len(judged))):
            for setting, predicted in self._answers(self.moments.standardised(patches.features), settings):
                self._score(confusions[setting], predicted, grid, mask)
        return confusions

    def _kept(self, rows: Sequence[int]) -> LabelledPatches:
        """As many patches of training images as the memory can hold. Raises DataError if none has a class."""
        self.reporter.phase("memory", len(rows), "images")
        room = set(spread_over(len(rows), self.parameters.memory))
        kept = []
        for place, (patches, _, _) in enumerate(self._shown(self.images, rows)):
            self.moments.add(patches.features)
            if place in room:
                kept.append(self._some(patches))
        if not sum(map(len, kept)):
            raise DataError(f"no training image of {self.images.split.name} has a patch with a class")
        return _together(kept)

    def _some(self, patches: LabelledPatches) -> LabelledPatches:
        """Evenly spaced patches among those whose most frequent label is a class."""
        known = (patches.labels.mode(dim=1).values != IGNORED).nonzero()[:, 0]
        rows = known[spread_over(len(known), self.each)] if len(known) else known
        return LabelledPatches(patches.features[rows.to(patches.features.device)], patches.labels[rows])

    @torch.inference_mode()
    def _shown(
        self, images: DenseImages, rows: Sequence[int]
    ) -> Iterator[tuple[LabelledPatches, tuple[int, int], Array]]:
        for row in rows:
            image, mask = images.pair(row)
            features, grid = self.views.features(image)
            squashed = self.views.mask(mask)
            yield LabelledPatches(features, in_patches(squashed, grid)), grid, squashed
            self.reporter.advance()

    def _answers(self, queries: Tensor, settings: Sequence[Setting]) -> Iterator[tuple[Setting, Tensor]]:
        """Labels [q, pixels] of every setting; neighbours are found once for each distance."""
        for distance in dict.fromkeys(distance for _, distance in settings):
            counts = [count for count, other in settings if other == distance]
            rows = self.memory.nearest(queries, max(counts), distance)
            for count in counts:
                yield (count, distance), self.memory.votes(rows[:, :count])

    def _score(self, confusion: Confusion, predicted: Tensor, grid: tuple[int, int], mask: Array) -> None:
        whole = from_patches(predicted, grid, self.views.side)
        confusion.add(np.where(whole == IGNORED, self.classes, whole), mask)


def _together(parts: Sequence[LabelledPatches]) -> LabelledPatches:
    return LabelledPatches(torch.cat([one.features for one in parts]), torch.cat([one.labels for one in parts]))
