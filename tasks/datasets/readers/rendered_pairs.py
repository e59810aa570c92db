"""Rendered pairs of views with keypoints: two views of one solid, and points of its surface that both show."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backbones.io.file_digests import canonical
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset, SourceSplit, digest_lines
from tasks.datasets.dense_targets import HeldTargets, KeypointPair, KeypointPairs
from tasks.datasets.readers.make_splits import array_split
from tasks.synthetic import RENDERER_VERSION, SOLID_NAMES, SceneParameters
from tasks.synthetic.view_pairs import PAIRS_VERSION, ViewPair, render_pair

VIEWS = 2
"""Images of a pair: they are next to each other, the source first."""


@dataclass(frozen=True)
class PairSeries:
    """Pairs of one split: the arguments that determine every pixel."""

    split: str
    count: int
    size: int
    seed: int

    @property
    def digest(self) -> str:
        """Digest of images and points, without rendering."""
        versions = f"renderer {RENDERER_VERSION}, pairs {PAIRS_VERSION}"
        return digest_lines([versions, canonical([asdict(SceneParameters()), asdict(self)]).decode()])


def read(root: Path, card: DatasetCard) -> Dataset:  # noqa: ARG001 - every reader has this signature
    """Render `test` with `pairs` pairs, labelled by the solid; `size` (pixels per side) and `seed` are of the card.

    Rendered once per process.
    """
    arguments = card.reader_arguments
    size, seed = int(arguments.get("size", 64)), int(arguments.get("seed", 0))
    series = PairSeries("test", int(arguments.get("pairs", 100)), size, seed)
    return Dataset(card.name, SOLID_NAMES, multi_label=False, splits={"test": _split(card, series)})


def _split(card: DatasetCard, series: PairSeries) -> SourceSplit:
    images, pairs = _draw(series)
    labels = np.repeat([one.solid for one in pairs], VIEWS)
    names = [f"pair/{series.split}/{index}/{view}" for index in range(series.count) for view in range(VIEWS)]
    digests = digest_lines([series.digest, "images"]), digest_lines([series.digest, "labels"])
    split = array_split(card, series.split, images, labels, len(SOLID_NAMES), identifiers=tuple(names), digests=digests)
    held = tuple(part for index, pair in enumerate(pairs) for part in _targets(index, pair))
    targets = HeldTargets(held, digest_lines([series.digest, "points"]), SOLID_NAMES)
    return replace(split, targets={"keypoint-pairs": targets})


def _targets(index: int, pair: ViewPair) -> tuple[KeypointPairs, KeypointPairs]:
    """Of the source and of the target."""
    x0, y0, x1, y1 = (float(side) for side in pair.boxes[1])
    return (KeypointPair(VIEWS * index + 1, pair.points[0], pair.points[1], (x0, y0, x1, y1), pair.solid),), ()


@lru_cache(maxsize=4)
def _draw(series: PairSeries) -> tuple[npt.NDArray[np.uint8], tuple[ViewPair, ...]]:
    pairs = tuple(render_pair(series.split, index, series.size, series.seed) for index in range(series.count))
    images = np.stack([image for pair in pairs for image in pair.images])
    images.flags.writeable = False
    return images, pairs
