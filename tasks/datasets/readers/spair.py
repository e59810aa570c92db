"""SPair-71k (Min et al., 2019): pairs of images of one class with the keypoints that both show.

Layout: `Layout/large/test.txt` (or `small`) lists pairs as `000001-SOURCE-TARGET:CLASS`; each has an annotation
`PairAnnotation/test/PAIR.json` with the names of both images (`src_imname`, `trg_imname`), their sizes (`src_imsize`:
width, height, channels), the boxes of the objects (x0 y0 x1 y1) and the common keypoints (`src_kps`, `trg_kps`: x, y);
images are `JPEGImages/CLASS/NAME.jpg`. `ImageAnnotation`
and `Segmentation` are not needed.

Every image is read once, as part of the split `test`, whatever the number of pairs that it is in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset, SourceSplit, digest_lines
from tasks.datasets.dense_targets import HeldTargets, KeypointPair
from tasks.datasets.readers.make_splits import file_split, missing, read_lines, wrong_content

FAILURES = (OSError, ValueError, TypeError, LookupError)
SIZES = ("large", "small")
"""Lists of pairs that were published; all results are of the large one."""
Points = npt.NDArray[np.float32]


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


def read(root: Path, card: DatasetCard) -> Dataset:
    """The test images with their pairs. Raises DataError."""
    size = str(card.reader_arguments.get("layout", "large"))
    if size not in SIZES:
        raise DataError(f"{card.name}: there is no layout {size!r}: choose from {', '.join(SIZES)}")
    names = read_lines(card, root / "Layout" / size / "test.txt")
    found = [_annotation(card, root, name) for name in names]
    classes = tuple(sorted({one.category for one in found}))
    return Dataset(card.name, classes, multi_label=False, splits={"test": _split(root, card, found, classes)})


def _split(root: Path, card: DatasetCard, found: Sequence[PairAnnotation], classes: tuple[str, ...]) -> SourceSplit:
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
