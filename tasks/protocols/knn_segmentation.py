"""Training-free segmentation: every test patch has the mean label of the nearest training patches.

Source: in-context evaluation of Hummingbird (Balazevic et al. 2023) as in vpariza/open-hummingbird-eval (5e79da2):
images squashed to one size, L2-normalised patches of the last layer with the class fractions of their pixels, a bounded
memory that prefers patches of rare classes, 30 neighbours, softmax of cosines / 0.02, label fractions resized to the
image (bilinear), the class of the largest one scored at that size.

Differences: training images are encoded once without augmentation (there: one or two epochs of crops at scales 0.5 to
2), and classes are those of the data. The published reading, after the best matching of predicted to true classes, is
stored as the diagnostic `matched_miou` and is never the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from tasks.catalog.frozen_dense_parameters import KnnSegmentationParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.confidence_intervals import over_images
from tasks.metrics.outcome import Outcome
from tasks.metrics.pixels import Confusion
from tasks.protocols.dense.frozen_maps import FrozenMaps, check_tokens
from tasks.protocols.dense.image_batches import Array, DenseImages, Pixels
from tasks.protocols.dense.network import resized
from tasks.protocols.dense.views import nearest
from tasks.protocols.segmentation import class_ious
from tasks.reporter import Reporter
from tasks.training.checkpoint import spread_over
from tasks.training.loop import generator_of

QUERIES = 1_024
"""Test patches compared with the memory at once."""
UNKNOWN_LAST = 1e6
"""Score of patches without labelled pixels, which are selected last and have no weight."""


@dataclass(frozen=True)
class PatchMemory:
    """Training patches: unit vectors [n, d], and the fractions [n, classes] of classes among their labelled pixels."""

    features: Tensor
    labels: Tensor

    def shares(self, queries: Tensor, neighbours: int, temperature: float) -> Tensor:
        """Mean label [q, classes] of the nearest patches of unit vectors [q, d], weighted by softmax(cosine / T)."""
        found = []
        for start in range(0, len(queries), QUERIES):
            part = queries[start : start + QUERIES]
            cosines, rows = (part @ self.features.T).topk(min(neighbours, len(self.features)), dim=1)
            weights = functional.softmax(cosines / temperature, dim=1)
            found.append(torch.einsum("qk,qkc->qc", weights, self.labels[rows]))
        return torch.cat(found)


def evaluate(inputs: ImageInputs, parameters: KnnSegmentationParameters, seed: int, reporter: Reporter) -> Outcome:
    """Fill the memory from `train`, score the other split; nothing is trained or selected. The seed determines the
    selection of patches if the memory is too small for all. Raises `DataError`.
    """
    pixels = Pixels.of(parameters.normalisation, inputs.spec)
    learning, judged = DenseImages.of_roles(inputs, "masks", pixels)
    classes = learning.targets.classes
    views = SquashedImages(FrozenMaps(inputs, parameters.layers), pixels, parameters.size)
    tokens = check_tokens(views.maps, judged, reporter)
    memory = fill(views, learning, len(classes), parameters, seed, reporter)
    confusion = _test(views, judged, memory, parameters, reporter)
    counts = confusion.counts
    return Outcome(
        headline="miou",
        metrics=counts.scores,
        interval=over_images(counts.mean_ious, len(counts.images)),
        samples={"train": len(learning), "test": len(judged)},
        diagnostics={
            "patches": len(memory.features),
            "chance": counts.chance,
            "class_iou": class_ious(classes, counts),
            **tokens,
            "matched_miou": matched_miou(confusion.matrix),
        },
        predictions=confusion.arrays,
    )


@dataclass(frozen=True)
class SquashedImages:
    """Images and masks of one square size, and unit vectors of the patches."""

    maps: FrozenMaps
    pixels: Pixels
    size: int

    @property
    def side(self) -> int:
        """Side in pixels: a multiple of the patch size."""
        unit = self.maps.maps.unit
        return -(-self.size // unit) * unit

    def patches(self, image: Image.Image) -> tuple[Tensor, tuple[int, int]]:
        """Unit vectors float32 [h w, d] of one image, and h and w."""
        squashed = image.resize((self.side, self.side), Image.Resampling.BILINEAR)
        view = self.pixels.normalised(torch.from_numpy(np.array(squashed)).permute(2, 0, 1))
        maps = self.maps(view[None])
        finest = maps[0].shape[-2:]
        joined = torch.cat([resized(one, finest) for one in maps], dim=1)
        return functional.normalize(joined[0].flatten(1).T, dim=1), (int(finest[0]), int(finest[1]))

    def mask(self, mask: Array) -> Array:
        """Class indices [side, side], nearest."""
        return nearest(mask, self.side, self.side)


def fill(
    views: SquashedImages,
    images: DenseImages,
    classes: int,
    parameters: KnnSegmentationParameters,
    seed: int,
    reporter: Reporter,
) -> PatchMemory:
    """Fill the memory with equally many patches of every image, or with patches of some images if it has less than
    one for each. Raises DataError if no pixel has a class.
    """
    each = max(1, parameters.memory // len(images))
    features, labels = [], []
    shown = spread_over(len(images), parameters.memory)
    reporter.phase("memory", len(shown), "images")
    for index in shown:
        image, mask = images.pair(index)
        vectors, grid = views.patches(image)
        shares = label_shares(views.mask(mask), classes, grid)
        rows = chosen_patches(shares, each, generator_of(seed, 5, index))
        features.append(vectors[rows.to(vectors.device)])
        labels.append(shares[rows])
        reporter.advance()
    if not sum(map(len, labels)):
        raise DataError(f"no training image of {images.split.name} has a pixel with a class")
    return PatchMemory(torch.cat(features), torch.cat(labels).to(features[0].device))


def label_shares(mask: Array, classes: int, grid: tuple[int, int]) -> Tensor:
    """Class fractions float32 [h w, classes] of the labelled pixels of every patch; zeros where none is labelled."""
    high, wide = mask.shape[0] // grid[0], mask.shape[1] // grid[1]
    whole = torch.from_numpy(np.ascontiguousarray(mask[: high * grid[0], : wide * grid[1]], np.int64))
    blocks = whole.view(grid[0], high, grid[1], wide).permute(0, 2, 1, 3).reshape(grid[0] * grid[1], -1)
    counts = torch.zeros(len(blocks), classes + 1).scatter_add_(1, blocks + 1, torch.ones(blocks.shape))[:, 1:]
    return counts / counts.sum(dim=1, keepdim=True).clamp(1)


def chosen_patches(shares: Tensor, count: int, random: np.random.Generator) -> Tensor:
    """Rows of at most `count` patches with labelled pixels, preferring classes that are rare in the image. A patch's
    score is a uniform random number times the sum, over its classes, of the number of patches with the class; the
    lowest scores are kept (`sample_features` of open-hummingbird-eval).
    """
    present = (shares > 0).float()
    known = present.any(dim=1)
    scores = (present @ present.sum(dim=0)).numpy() * random.random(len(shares))
    scores = np.where(known.numpy(), scores, UNKNOWN_LAST)
    order = np.argsort(scores, kind="stable")[: min(count, int(known.sum()))]
    return torch.from_numpy(np.sort(order))


@torch.inference_mode()
def _test(
    views: SquashedImages,
    images: DenseImages,
    memory: PatchMemory,
    parameters: KnnSegmentationParameters,
    reporter: Reporter,
) -> Confusion:
    confusion = Confusion(memory.labels.shape[1])
    reporter.phase("test", len(images), "images")
    for index in range(len(images)):
        image, mask = images.pair(index)
        queries, grid = views.patches(image)
        shares = memory.shares(queries, parameters.neighbours, parameters.temperature)
        full = resized(shares.T.reshape(1, -1, *grid), (views.side, views.side))
        confusion.add(full[0].argmax(dim=0).cpu().numpy(), views.mask(mask))
        reporter.advance()
    return confusion


def matched_miou(matrix: npt.NDArray[np.int64]) -> float:
    """Mean IoU in percent after the best one-to-one matching of predicted to true classes, over true classes."""
    union = matrix.sum(axis=1)[:, None] + matrix.sum(axis=0)[None, :] - matrix
    ious = np.divide(matrix, union, out=np.zeros(matrix.shape), where=union > 0)
    rows, columns = linear_sum_assignment(-ious)
    there = matrix.sum(axis=1)[rows] > 0
    return float(100 * ious[rows, columns][there].mean())
