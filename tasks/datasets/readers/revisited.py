"""rOxford5k and rParis6k (Radenović et al., Revisiting Oxford and Paris, CVPR 2018).

Layout: `gnd_roxford5k.pkl` or `gnd_rparis6k.pkl` next to the folder `jpg` with all images. The pickle is a dictionary
of `imlist` and `qimlist`, names of database images and of queries without suffix, and `gnd`, for every query its box
`bbx` (x0 y0 x1 y1) and the indices in `imlist` of `easy`, `hard` and `junk` images. It is read as data: nothing in it
is run.

The database is the split `train`; the queries, cropped to their boxes as the protocol requires, are `test`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from backbones.checkpoints.haiku_pickle import BROKEN, RefusedPickle, read_plain_pickle
from backbones.io.image_reading import Pixels
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset, HeldTargets, Relevance, SourceSplit, digest_lines
from tasks.datasets.images import FileImages
from tasks.datasets.readers.make_splits import file_split, wrong_content

NAMED = ("easy", "hard", "junk")
LARGEST = 64 * 1024**2
"""Maximum size of a ground truth file in bytes; the published files are less than a tenth of it."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class CroppedImages(FileImages):
    """Image files cropped to a box, given on the image as stored."""

    boxes: tuple[Box, ...] = ()
    """x0 y0 x1 y1 of every image in pixels, rounded as Pillow does."""

    def image(self, index: int, content: bytes) -> Image.Image:
        """The image with this content. Raises `DataError`."""
        return super().image(index, content).crop(self.boxes[index])

    def decoded(self, index: int, content: bytes) -> Pixels | Image.Image:
        """The same as `image`."""
        return self.image(index, content)

    @property
    def digest(self) -> str:
        """Digest of the images and their boxes."""
        return digest_lines([super().digest, *(" ".join(f"{side:.3f}" for side in box) for box in self.boxes)])


@dataclass(frozen=True)
class GroundTruth:
    """A validated ground truth file."""

    database: tuple[str, ...]
    queries: tuple[str, ...]
    boxes: tuple[Box, ...]
    relevance: tuple[Relevance, ...]


def read(root: Path, card: DatasetCard) -> Dataset:
    """Database and queries with their relevant images; no labels."""
    path = root / f"gnd_{card.reader}.pkl"
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        truth = ground_truth(read_plain_pickle(path))
    except RefusedPickle as error:
        raise wrong_content(card, path, f"it requires {error}, and nothing was run") from error
    except (OSError, *BROKEN) as error:
        raise wrong_content(card, path, error) from error
    database = _split(root, card, "train", truth.database)
    return Dataset(card.name, (), multi_label=False, splits={"train": database, "test": _queries(root, card, truth)})


def ground_truth(content: object) -> GroundTruth:
    """Validated content of a pickle. Raises ValueError, TypeError or LookupError if invalid."""
    if not isinstance(content, Mapping):
        raise TypeError(f"it contains a {type(content).__name__}, not a dictionary")
    database, queries = _names(content["imlist"]), _names(content["qimlist"])
    entries = content["gnd"]
    if not isinstance(entries, Sequence) or len(entries) != len(queries):
        raise ValueError(f"{len(queries)} queries have {len(entries)} entries")
    boxes = tuple(_box(entry["bbx"], name) for entry, name in zip(entries, queries, strict=True))
    relevance = (_relevance(entry, name, len(database)) for entry, name in zip(entries, queries, strict=True))
    return GroundTruth(database, queries, boxes, tuple(relevance))


def _names(names: object) -> tuple[str, ...]:
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and "\0" not in name for name in names):
        raise TypeError("names of images are not a list of text")
    outside = next((name for name in names if name.startswith("/") or ".." in name.split("/")), None)
    if outside is not None:
        raise ValueError(f"the image {outside!r} is outside of its folder")
    return tuple(names)


def _box(given: object, query: str) -> Box:
    x0, y0, x1, y1 = (float(side) for side in np.asarray(given, np.float64).ravel())
    if not (0 <= x0 < x1 and 0 <= y0 < y1):
        raise ValueError(f"the box of the query {query} is {x0:g} {y0:g} {x1:g} {y1:g}")
    return x0, y0, x1, y1


def _relevance(entry: Mapping[str, object], query: str, images: int) -> Relevance:
    rows = [np.unique(np.asarray(entry[name]).astype(np.int64).ravel()) for name in NAMED]
    every = np.concatenate(rows)
    if len(np.unique(every)) < len(every) or (len(every) and not 0 <= every.min() <= every.max() < images):
        raise ValueError(f"the query {query} names an image twice, or one that is not among the {images}")
    return Relevance(*rows)


def _split(root: Path, card: DatasetCard, name: str, names: Sequence[str]) -> SourceSplit:
    return file_split(card, name, root, [f"jpg/{one}.jpg" for one in names], np.zeros((len(names), 0), np.int64), 0)


def _queries(root: Path, card: DatasetCard, truth: GroundTruth) -> SourceSplit:
    split = _split(root, card, "test", truth.queries)
    whole = split.images
    assert isinstance(whole, FileImages)
    images = CroppedImages(
        whole.dataset,
        whole.root,
        whole.files,
        reading=whole.reading,
        contents=whole.contents,
        traits=whole.traits,
        stored=frozenset(range(len(whole))),
        boxes=truth.boxes,
    )
    lines = (f"{name} {rows.tolist()}" for one in truth.relevance for name, rows in vars(one).items())
    targets = HeldTargets(truth.relevance, digest_lines(lines))
    return replace(split, images=images, images_digest=images.digest, named_digest="", targets={"relevance": targets})
