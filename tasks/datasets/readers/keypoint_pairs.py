"""Pairs of images with the keypoints that both show: SPair-71k (Min et al., 2019), and two views of one rendered solid.

Layout of SPair-71k: `Layout/large/test.txt` (or `small`) lists pairs as `000001-SOURCE-TARGET:CLASS`; each has an
annotation `PairAnnotation/test/PAIR.json` with the names of both images (`src_imname`, `trg_imname`), their sizes
(`src_imsize`: width, height, channels), the boxes of the objects (x0 y0 x1 y1) and the common keypoints (`src_kps`,
`trg_kps`: x, y); images are `JPEGImages/CLASS/NAME.jpg`. `ImageAnnotation` and `Segmentation` are not needed.

Every image is read once, as part of the split `test`, whatever the number of pairs that it is in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones.io.file_digests import canonical
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import (
    DataError,
    Dataset,
    HeldTargets,
    KeypointPair,
    KeypointPairs,
    SourceSplit,
    digest_lines,
)
from tasks.datasets.readers.make_splits import array_split, file_split, missing, read_lines, wrong_content
from tasks.synthetic import RENDERER_VERSION, SOLID_NAMES, SceneParameters
from tasks.synthetic.view_pairs import PAIRS_VERSION, ViewPair, render_pair

FAILURES = (OSError, ValueError, TypeError, LookupError)
SIZES = ("large", "small")
"""Lists of pairs that were published; all results are of the large one."""
Points = npt.NDArray[np.float32]
VIEWS = 2
"""Images of a pair: they are next to each other, the source first."""


@dataclass(frozen=True, eq=False)
class PairAnnotation:
    """A validated annotation file."""

    category: str
    images: tuple[str, str]
    """Paths of source and target below the root."""
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """Width and height of both."""
    points: tuple[Points, Points]
    box: tuple[float, float, float, float]


def read_spair(root: Path, card: DatasetCard) -> Dataset:
    """The test images with their pairs. Raises DataError."""
    size = str(card.reader_arguments.get("layout", "large"))
    if size not in SIZES:
        raise DataError(f"{card.name}: there is no layout {size!r}: choose from {', '.join(SIZES)}")
    names = read_lines(card, root / "Layout" / size / "test.txt")
    found = [_annotation(card, root, name) for name in names]
    classes = tuple(sorted({one.category for one in found}))
    return Dataset(card.name, classes, multi_label=False, splits={"test": _spair_split(root, card, found, classes)})


def _spair_split(
    root: Path, card: DatasetCard, found: Sequence[PairAnnotation], classes: tuple[str, ...]
) -> SourceSplit:
    """Labels are the images' classes."""
    label = {image: classes.index(one.category) for one in found for image in one.images}
    files = sorted(label)
    row = {file: place for place, file in enumerate(files)}
    pairs: list[list[KeypointPair]] = [[] for _ in files]
    frames: list[tuple[int, int] | None] = [None] * len(files)
    for one in found:
        source, target = (row[image] for image in one.images)
        pairs[source].append(KeypointPair(target, *one.points, one.box, classes.index(one.category)))
        frames[source], frames[target] = one.sizes
    digest = digest_lines(f"{file} {one}" for file, of_file in zip(files, pairs, strict=True) for one in of_file)
    targets = HeldTargets(tuple(map(tuple, pairs)), digest, classes, tuple(frames))
    split = file_split(card, "test", root, files, [label[file] for file in files], len(classes))
    return replace(split, targets={"keypoint-pairs": targets})


def _annotation(card: DatasetCard, root: Path, name: str) -> PairAnnotation:
    """Annotation of the pair of this name. Raises DataError that names the file."""
    path = root / "PairAnnotation" / "test" / f"{name}.json"
    try:
        return parsed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise missing(card, [path]) from error
    except FAILURES as error:
        raise wrong_content(card, path, error) from error


def parsed(content: Mapping[str, Any]) -> PairAnnotation:
    """Validated content of an annotation file. Raises ValueError, TypeError or LookupError if invalid."""
    category = str(content["category"])
    names = [str(content[f"{side}_imname"]) for side in ("src", "trg")]
    if any(not name or "/" in name or "\0" in name or name.startswith(".") for name in (category, *names)):
        raise ValueError(f"{category}/{names[0]} and {category}/{names[1]} are not names of images")
    source, target = (f"JPEGImages/{category}/{name}" for name in names)
    sizes = _size(content["src_imsize"]), _size(content["trg_imsize"])
    points = _points(content["src_kps"], sizes[0]), _points(content["trg_kps"], sizes[1])
    if len(points[0]) != len(points[1]):
        raise ValueError(f"{len(points[0])} keypoints of the source and {len(points[1])} of the target")
    x0, y0, x1, y1 = (float(side) for side in content["trg_bndbox"])
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"the box of the target is {x0:g} {y0:g} {x1:g} {y1:g}")
    return PairAnnotation(category, (source, target), sizes, points, (x0, y0, x1, y1))


def _size(given: Sequence[int]) -> tuple[int, int]:
    width, height = int(given[0]), int(given[1])
    if width < 1 or height < 1:
        raise ValueError(f"an image has the size {width} x {height}")
    return width, height


def _points(given: Any, size: tuple[int, int]) -> Points:  # noqa: ANN401 - parsed JSON
    """float32 [k, 2] within the image."""
    points = np.asarray(given, np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"keypoints of the shape {points.shape}, not [k, 2]")
    if not ((points >= 0) & (points <= np.array(size))).all():
        raise ValueError(f"a keypoint is outside of an image of {size[0]} x {size[1]} pixels")
    return points


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


def read_rendered(root: Path, card: DatasetCard) -> Dataset:  # noqa: ARG001 - every reader has this signature
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
