"""Scan every image of a dataset once and report problems that would make results misleading."""

from __future__ import annotations

import re
import sys
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from backbones.io.errors import counted
from backbones.io.image_reading import traits_of
from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import ContentDigests, of_content
from tasks.datasets.dataset import DataError, Dataset, ImageSource
from tasks.datasets.file_states import state_of
from tasks.datasets.images import FileImages, ReadImages
from tasks.datasets.importing.messages import ScanReport, Warned
from tasks.datasets.manifest import manifest_of
from tasks.datasets.registry import open_dataset

GREY_SIDE = 32
PARTS = 4
FLATTEST = 2.0
"""Standard deviation in grey levels below which a picture is too uniform to be compared."""
SAME = 3.0
"""Maximum mean difference in grey levels of small copies of the same picture (JPEG, another size)."""
MOST_ALIKE = 200
"""Number of images with an equal part of a hash above which that part is ignored."""

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """Indices of two images that show the same picture."""

    first: int
    second: int


def pairs(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> Iterator[Pair]:
    """For each image of `second` [m, 32, 32], the first one of `first` [n, 32, 32] that shows the same picture."""
    buckets: list[dict[int, list[int]]] = [defaultdict(list) for _ in range(PARTS)]
    for number, parts in enumerate(_parts(first)):
        for bucket, part in zip(buckets, parts, strict=True):
            bucket[int(part)].append(number)
    for number, parts in enumerate(_parts(second)):
        shared = (bucket.get(int(part), []) for bucket, part in zip(buckets, parts, strict=True))
        candidates = sorted({place for places in shared if len(places) <= MOST_ALIKE for place in places})
        found = next((place for place in candidates if _same(first[place], second[number])), None)
        if found is not None:
            yield Pair(found, number)


def _parts(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Hash of each image as four numbers, uint16 [n, 4]."""
    if not len(grey):
        return np.zeros((0, PARTS), np.uint16)
    rows = grey.reshape(len(grey), 8, GREY_SIDE // 8, GREY_SIDE).mean(2)
    columns = np.linspace(0, GREY_SIDE - 1, 9).round().astype(int)
    signs = np.diff(rows[:, :, columns], axis=2) > 0
    return np.packbits(signs.reshape(len(grey), 64), axis=1).view(np.uint16)


def _same(first: Grey, second: Grey) -> bool:
    if first.std() < FLATTEST or second.std() < FLATTEST:
        return False  # nearly black pictures differ by a few grey levels; copies of them are equal files
    return float(np.abs(first.astype(np.int16) - second.astype(np.int16)).mean()) <= SAME


FEWEST = 5
"""Minimum number of images of a class for a meaningful accuracy."""
SHOWN = 5
SMALL = 64
"""Side in pixels below which an image is mostly interpolated for a backbone of 224 px."""
THREADS = 8

DecodedImage = tuple[Grey, int] | str
"""A grey copy and the shorter side in pixels; or the reason why the image cannot be read."""


@dataclass(frozen=True)
class NotedImages(FileImages):
    """Image files whose digests are computed from the decoded bytes, so that every file is read once."""

    digests: ContentDigests = field(kw_only=True)

    def content(self, index: int) -> bytes:
        """The bytes of the file. Raises `DataError`."""
        path = self.root / self.files[index]
        begun, state = time.time_ns(), state_of(str(path))
        content = super().content(index)
        self.digests.note(str(path), of_content(content, state, begun, traits_of))
        return content


@dataclass(frozen=True)
class ScannedSplit:
    """Results of scanning one split."""

    grey: npt.NDArray[np.uint8]
    """uint8 [n, 32, 32] of the readable images."""
    places: npt.NDArray[np.int64]
    """[n] their indices in the split."""
    sides: npt.NDArray[np.int64]
    unreadable: Mapping[int, str]

    def chosen(self, wanted: Sequence[int]) -> ScannedSplit:
        """Results for the images at these positions, as a separate split."""
        row = {int(place): at for at, place in enumerate(self.places)}
        readable = [(at, row[place]) for at, place in enumerate(wanted) if place in row]
        rows = np.array([old for _, old in readable], np.int64)
        return ScannedSplit(
            self.grey[rows],
            np.array([new for new, _ in readable], np.int64),
            self.sides[rows],
            {at: self.unreadable[place] for at, place in enumerate(wanted) if place in self.unreadable},
        )


def warnings(dataset: Dataset, seen: Mapping[str, ScannedSplit]) -> Iterator[Warned]:
    """Warnings on unreadable images, tiny classes, pictures in both training and test, and small images."""
    yield from _unreadable(seen)
    yield from _alike_names(dataset.classes)
    yield from _two_labels(dataset)
    yield from _tiny_classes(dataset)
    yield from _duplicates(dataset, seen)
    yield from _small(seen)


def look(images: ImageSource, advance: Callable[[int], None]) -> ScannedSplit:
    """Decode every image of one source."""

    def one(index: int) -> DecodedImage:
        try:
            image = images[index]
        except DataError as error:
            return str(error)
        grey = image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX)
        return np.asarray(grey, dtype=np.uint8), min(image.size)

    grey, places, sides, unreadable = [], [], [], {}
    with ThreadPoolExecutor(THREADS) as pool:
        for index, found in enumerate(pool.map(one, range(len(images)))):
            advance(1)
            if isinstance(found, str):
                unreadable[index] = found
            else:
                grey.append(found[0])
                places.append(index)
                sides.append(found[1])
    stacked = np.stack(grey) if grey else np.zeros((0, 32, 32), np.uint8)
    return ScannedSplit(stacked, np.array(places, np.int64), np.array(sides, np.int64), unreadable)


def _unreadable(seen: Mapping[str, ScannedSplit]) -> Iterator[Warned]:
    broken = [sentence for one in seen.values() for sentence in one.unreadable.values()]
    if broken:
        words = f"{counted(len(broken), 'image')} cannot be read: {broken[0]}. --skip-unreadable leaves them out"
        yield Warned(kind="unreadable", count=len(broken), words=words, examples=tuple(broken[:SHOWN]))


def _alike_names(classes: Sequence[str]) -> Iterator[Warned]:
    """Class names that differ only in what people and file systems overlook, or in the form of a number."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[_folded(name)].append(name)
    twins = [names for names in alike.values() if len(names) > 1]
    if twins:
        shown = tuple(" and ".join(names) for names in twins[:SHOWN])
        words = f"class names differ only in capital letters, spaces, accents' form or zeros: {', '.join(shown)}"
        yield Warned(kind="alike classes", count=len(twins), words=words, examples=shown)
    if missing := [name for name in classes if name.lower() in ("none", "na", "unknown", "undefined")]:
        words = f"the class {missing[0]} looks like a missing label: check whether it is a class"
        yield Warned(kind="missing labels", count=len(missing), words=words, examples=tuple(missing))


def _folded(name: str) -> str:
    """A name without capital letters, spaces and forms of accents; of a number, its value."""
    folded = "".join(unicodedata.normalize("NFKC", name).casefold().split())
    return f"{float(folded):g}" if re.fullmatch(r"[0-9]{1,15}(\.0*)?", folded) else folded


def _two_labels(dataset: Dataset) -> Iterator[Warned]:
    """Files with equal content and different labels."""
    labels: dict[str, dict[tuple[int, ...], str]] = defaultdict(dict)
    for split in dataset.splits.values():
        contents = split.images.contents if isinstance(split.images, ReadImages) else ()
        for content, label, name in zip(contents, split.labels, split.identifiers, strict=False):
            labels[content].setdefault(tuple(np.atleast_1d(label).tolist()), name)
    differing = [list(names.values()) for names in labels.values() if len(names) > 1]
    if differing:
        shown = tuple(" = ".join(names) for names in differing[:SHOWN])
        words = f"{counted(len(differing), 'image has', 'images have')} copies with another label: {shown[0]}"
        yield Warned(kind="conflicting labels", count=len(differing), words=words, examples=shown)


def _tiny_classes(dataset: Dataset) -> Iterator[Warned]:
    counts = np.zeros(len(dataset.classes), np.int64)
    train, test = np.zeros(len(dataset.classes), np.int64), np.zeros(len(dataset.classes), np.int64)
    asked = next((name for name in ("test", "val") if name in dataset.splits), "")
    for name, split in dataset.splits.items():
        found = (
            (split.labels > 0).sum(0) if split.labels.ndim == 2 else np.bincount(split.labels, minlength=len(counts))
        )
        counts += found
        train += found if name in ("train", "all") else 0
        test += found if name == asked else 0
    tiny = [name for name, count in zip(dataset.classes, counts, strict=True) if count < FEWEST]
    absent = [name for name, count in zip(dataset.classes, train, strict=True) if count == 0]
    if absent:
        words = (
            f"{counted(len(absent), 'class has', 'classes have')} no training image and can never be "
            f"recognised: {', '.join(absent[:SHOWN])}"
        )
        yield Warned(kind="untrained classes", count=len(absent), words=words, examples=tuple(absent[:SHOWN]))
    untested = [name for name, count in zip(dataset.classes, test, strict=True) if count == 0] if asked else []
    if untested:
        words = (
            f"{counted(len(untested), 'class has', 'classes have')} no image in {asked} and cannot "
            f"be measured: {', '.join(untested[:SHOWN])}"
        )
        yield Warned(kind="untested classes", count=len(untested), words=words, examples=tuple(untested[:SHOWN]))
    if tiny:
        words = (
            f"{counted(len(tiny), 'class has', 'classes have')} fewer than {FEWEST} images, too few "
            f"to be measured: {', '.join(tiny[:SHOWN])}"
        )
        yield Warned(kind="tiny classes", count=len(tiny), words=words, examples=tuple(tiny[:SHOWN]))


def _duplicates(dataset: Dataset, seen: Mapping[str, ScannedSplit]) -> Iterator[Warned]:
    """Pictures in several splits: test images must not be used for training or selection."""
    for known, asked in combinations([name for name in ("train", "val", "test") if name in seen], 2):
        names, others = (dataset.splits[name].identifiers for name in (known, asked))
        found = _repeated(dataset, seen, known, asked)
        if found:
            shown = tuple(f"{names[first]} = {others[second]}" for second, first in list(found.items())[:SHOWN])
            words = (
                f"{len(found)} of {counted(len(others), 'image')} of {asked} "
                f"{'is' if len(found) == 1 else 'are'} also in {known}, so {asked} is too easy: "
                f"{shown[0]}"
            )
            yield Warned(kind="duplicates", count=len(found), words=words, examples=shown)


def _repeated(dataset: Dataset, seen: Mapping[str, ScannedSplit], known: str, asked: str) -> dict[int, int]:
    """Indices of images of `asked` that are in `known`, with the index there: equal files, or in `train` similar
    images."""
    equal: dict[int, int] = {}
    first, second = (dataset.splits[name].images for name in (known, asked))
    if isinstance(first, ReadImages) and isinstance(second, ReadImages):
        places = {content: place for place, content in reversed(list(enumerate(first.contents)))}
        equal = {place: places[content] for place, content in enumerate(second.contents) if content in places}
    if known != "train":
        return equal
    one, other = seen[known], seen[asked]
    alike = {int(other.places[p.second]): int(one.places[p.first]) for p in pairs(one.grey, other.grey)}
    return dict(sorted({**alike, **equal}.items()))


def _small(seen: Mapping[str, ScannedSplit]) -> Iterator[Warned]:
    sides = np.concatenate([one.sides for one in seen.values()])
    if len(sides) and (middle := int(np.median(sides))) < SMALL:
        words = f"images are small (the median side is {middle} px): backbones for 224 px enlarge them"
        yield Warned(kind="small images", count=int((sides < SMALL).sum()), words=words)


def survey(card: DatasetCard, data_root: Path) -> ScanReport:
    """Open and scan a dataset."""
    try:
        dataset = open_dataset(card, data_root)
    except DataError as error:
        return ScanReport(error=str(error))
    manifest = manifest_of(dataset, card)
    seen = {name: look(split.images, lambda _count: None) for name, split in dataset.splits.items()}
    sides = np.concatenate([one.sides for one in seen.values()])
    return ScanReport(
        images={name: len(split.images) for name, split in dataset.splits.items()},
        classes=len(dataset.classes),
        side=int(np.median(sides)) if len(sides) else 0,
        problems=manifest.problems,
        notes=dataset.notes,
        warnings=tuple(warnings(dataset, seen)),
    )


if __name__ == "__main__":
    print(survey(DatasetCard.model_validate_json(sys.stdin.read()), Path(sys.argv[1])).model_dump_json())
