"""Keypoint correspondence without training: each keypoint is found by the most similar patch of the other image.

Score: percentage of correct keypoints (PCK), those within 0.1 of the longer side of the object's box in the target
image (Min et al., SPair-71k, 2019). Three readings are published: the mean over pairs, the percentage of all keypoints,
and the mean over classes of the latter.

Sources: `probe3d` is mbanani/probe3d (1fff822), whose numbers DINOv3 reports too: images padded with white to a square
of 800 pixels, blocks before the final norm, normalised features interpolated at the keypoint, the most similar patch by
cosine, whose position is its index by the number of patches, 200 pairs per class, mean over classes. `dift` is
Tsingularity/dift (47e7807): images squashed to 768 pixels, maps enlarged (bilinear) to the size of the image, the most
similar pixel by cosine, all pairs, mean over pairs. The default is Probe3D's rule on all pairs after the final norm,
with the backbone's own normalisation.

Differences: sides are rounded up to a multiple of the patch size, where Probe3D pads again; pairs of a class are drawn
from the published list (Probe3D: from files in the order of the disk); a keypoint at the threshold is correct, as in
DIFT.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from tasks.catalog.frozen_dense_parameters import CorrespondenceParameters
from tasks.datasets.dataset import DataError, ImageSource, KeypointPair, KeypointPairs, SourceSplit, Targets
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.dense import correspondence_interval, correspondence_jackknife
from tasks.metrics.jackknife import scores_of_jackknife
from tasks.metrics.outcome import Outcome
from tasks.protocols.dense.frozen_maps import FrozenMaps, check_tokens
from tasks.protocols.dense.image_batches import DenseImages, Pixels, up_to_multiple
from tasks.protocols.dense.network import resized
from tasks.protocols.result_images import save_sheet
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint, resumable_map

DRAWN_BY = 20
"""Seed of the pairs of a class, Probe3D's."""
PICTURED = 4
PICTURE_SIDE = 224
RIGHT, WRONG = (80, 220, 80), (240, 60, 60)
Drawn = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
CACHED_BYTES = 512 * 1024**2
"""Memory limit of maps cached for further pairs."""
STRIP_BYTES = 64 * 1024**2
"""Memory limit of enlarged features."""
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class SourcePair:
    """A pair and the row of its source image."""

    source: int
    pair: KeypointPair


def evaluate(inputs: ImageInputs, parameters: CorrespondenceParameters, seed: int, reporter: Reporter) -> Outcome:
    """Match the keypoints of all chosen pairs; nothing is trained or chosen, and `seed` has no effect.

    Raises `DataError`.
    """
    del seed
    split = inputs.split("test", "val", "all")
    targets: Targets[KeypointPairs] = inputs.targets(split, "keypoint-pairs")
    pairs = chosen_pairs(targets, parameters.pairs_per_class)
    pixels = Pixels.of(parameters.normalisation, inputs.spec)
    frozen = FrozenMaps(inputs, parameters.layers, norm=parameters.final_norm)
    tokens = check_tokens(frozen, DenseImages(split, targets, pixels, 1), reporter)
    images = MappedImages(frozen, AnnotatedImages(split, targets), pixels, parameters)
    found = _matched_pairs(inputs, images, pairs, parameters, reporter)
    errors = [relative_errors(points, one.pair) for one, points in zip(pairs, found, strict=True)]
    arrays = pair_arrays(pairs, errors, parameters.threshold)
    _save_pictures(inputs, split, pairs, found, parameters.threshold)
    return Outcome(
        headline=parameters.reading,
        metrics=scores_of_jackknife(correspondence_jackknife(arrays)),
        interval=correspondence_interval(arrays, parameters.reading),
        samples={"test": len(set(arrays["source"].tolist()) | set(arrays["target"].tolist())), "pairs": len(pairs)},
        diagnostics={"chance": _chance(split, pairs, parameters.threshold), **tokens},
        predictions={
            "index": np.arange(len(pairs)),
            **arrays,
            **correspondence_jackknife(arrays),
            "keypoint_pair": np.repeat(np.arange(len(pairs)), arrays["keypoints"]),
            "keypoint_error": np.concatenate(errors).astype(np.float32),
        },
    )


@dataclass(frozen=True)
class AnnotatedImages:
    """Images of a split, checked against the size that their annotations state."""

    split: SourceSplit
    targets: Targets[KeypointPairs]

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image. Raises DataError for one of another size than its annotations have."""
        image, frame = self.split.images[index], getattr(self.targets, "frame", lambda _index: None)(index)
        if frame not in (None, image.size):
            raise DataError(
                f"{self.split.identifiers[index]} is {image.width} x {image.height} pixels, and its keypoints are for "
                f"{frame[0]} x {frame[1]}: they do not belong together"
            )
        return image


def chosen_pairs(targets: Targets[KeypointPairs], per_class: int) -> list[SourcePair]:
    """Pairs by class, source and target; of each class at most `per_class`, all for 0. Raises DataError for none."""
    every = [SourcePair(row, pair) for row in range(len(targets)) for pair in targets[row]]
    if not every:
        raise DataError("there is no pair of images with keypoints")
    every.sort(key=lambda one: (one.pair.category, one.source, one.pair.target))
    if not per_class:
        return every
    categories = np.array([one.pair.category for one in every])
    kept: list[int] = []
    for category in np.unique(categories):
        rows = np.flatnonzero(categories == category)
        kept += sorted(np.random.default_rng(DRAWN_BY).permutation(rows)[:per_class].tolist())
    return [every[row] for row in kept]


def _matched_pairs(
    inputs: ImageInputs,
    images: MappedImages,
    pairs: Sequence[SourcePair],
    parameters: CorrespondenceParameters,
    reporter: Reporter,
) -> list[Points]:
    """Positions [k, 2] found in the target image of each pair, continued from the run's checkpoint."""

    def positions(index: int) -> Tensor:
        one = pairs[index]
        with torch.inference_mode():
            source, target = (images[row] for row in (one.source, one.pair.target))
            found = matched(source, target, one.pair.source_points, parameters)
        reporter.advance()
        return torch.from_numpy(found)

    reporter.phase("matching", len(pairs), "pairs")
    checkpoint = None if inputs.checkpoint is None else Checkpoint(inputs.checkpoint / "matches.pt", inputs.key)
    found = resumable_map(range(len(pairs)), positions, checkpoint, reporter, reporter.advance)
    return [one.numpy() for one in found]


def relative_errors(found: Points, pair: KeypointPair) -> npt.NDArray[np.float64]:
    """Distances [k] from the true positions, as fractions of the longer side of the object's box."""
    x0, y0, x1, y1 = pair.box
    distance = np.linalg.norm(found.astype(np.float64) - pair.target_points.astype(np.float64), axis=1)
    shares: npt.NDArray[np.float64] = distance / max(x1 - x0, y1 - y0)
    return shares


def pair_arrays(
    pairs: Sequence[SourcePair], errors: Sequence[npt.NDArray[np.float64]], threshold: float
) -> dict[str, npt.NDArray[np.int64]]:
    """Images, class, number of keypoints and of correct ones of every pair."""
    return {
        "source": np.array([one.source for one in pairs]),
        "target": np.array([one.pair.target for one in pairs]),
        "category": np.array([one.pair.category for one in pairs]),
        "keypoints": np.array([len(one) for one in errors]),
        "correct": np.array([int((one <= threshold).sum()) for one in errors]),
    }


def _chance(split: SourceSplit, pairs: Sequence[SourcePair], threshold: float) -> float:
    """Percentage of keypoints that a random pixel of the target image would match, up to the image's borders."""
    areas = []
    for one in pairs:
        x0, y0, x1, y1 = one.pair.box
        width, height = split.images[one.pair.target].size
        areas.append(min(1.0, math.pi * (threshold * max(x1 - x0, y1 - y0)) ** 2 / (width * height)))
    return 100.0 * float(np.mean(areas))


def _save_pictures(
    inputs: ImageInputs, split: SourceSplit, pairs: Sequence[SourcePair], found: Sequence[Points], threshold: float
) -> None:
    """Some pairs, evenly spaced: keypoints of the source, and where they were found in the target."""
    rows = []
    for place in np.linspace(0, len(pairs) - 1, min(PICTURED, len(pairs))).round().astype(int).tolist():
        one = pairs[place]
        right = relative_errors(found[place], one.pair) <= threshold
        source, target = (split.images[row] for row in (one.source, one.pair.target))
        rows.append([_marked(source, one.pair.source_points, right), _marked(target, found[place], right)])
    save_sheet(rows, inputs.pictures, "keypoints.png")


def _marked(image: Image.Image, points: Points, right: npt.NDArray[np.bool_]) -> Drawn:
    """The image in a square, with points coloured by whether they were found."""
    scale = PICTURE_SIDE / max(image.size)
    square = Image.new("RGB", (PICTURE_SIDE, PICTURE_SIDE))
    square.paste(image.resize((round(image.width * scale), round(image.height * scale))))
    draw = ImageDraw.Draw(square)
    for (x, y), correct in zip((points + 0.5) * scale, right, strict=True):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=RIGHT if correct else WRONG, outline=(0, 0, 0))
    return np.array(square)


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


def _values_at(features: Tensor, place: Tensor, *, aligned: bool) -> Tensor:
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
        return _matched_cells(source, target, points)
    place = (torch.from_numpy(points) + 0.5) / torch.tensor(source.canvas) * 2 - 1
    vectors = _values_at(source.features, place.to(source.features.device), aligned=False)
    return target.nearest_pixels(functional.normalize(vectors, dim=1))


def _matched_cells(source: ImageMap, target: ImageMap, points: Points) -> Points:
    """The corner, in pixels, of the patch most similar to the source's features between patches.

    As Probe3D: points are rounded down to pixels of the network's input, and the first and last patches are at the
    borders of the canvas.
    """
    share = np.floor(points.astype(np.float64) * source.side / np.array(source.canvas)) / source.side
    place = torch.from_numpy(share).float().to(source.features.device) * 2 - 1
    queries = _values_at(functional.normalize(source.features, dim=0), place, aligned=True)
    cosines = queries @ functional.normalize(target.features.flatten(1), dim=0)
    best = cosines.argmax(dim=1).cpu().numpy()
    high, wide = target.features.shape[1:]
    corner = np.stack([best % wide / wide, best // wide / high], axis=1)
    return np.asarray(corner * np.array(target.canvas), np.float32)
