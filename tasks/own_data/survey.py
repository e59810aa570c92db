"""Looks at every image of a dataset once and tells what would spoil a measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import DataError, Dataset, SourceSplit
from tasks.own_data.brought import Warned
from tasks.own_data.likeness import Grey, grey_copy, pairs

FEWEST = 5
"""Images of a class below which its accuracy says nothing."""
SHOWN = 5
SMALL = 64
"""Side in pixels below which an image is mostly interpolation for a backbone of 224 px."""
THREADS = 8

Look = tuple[Grey, int] | str
"""A grey copy and the shorter side in pixels; or why the image cannot be read."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one split."""

    grey: npt.NDArray[np.uint8]
    """uint8 [n, 32, 32] of the readable images."""
    places: npt.NDArray[np.int64]
    """[n] their positions in the split."""
    sides: npt.NDArray[np.int64]
    unreadable: Mapping[int, str]


def look_through(dataset: Dataset, advance: Callable[[int], None]) -> dict[str, Seen]:
    """Decode every image; `advance` is told how many more were looked at."""
    return {name: _look(split, advance) for name, split in dataset.splits.items()}


def warnings(dataset: Dataset, seen: Mapping[str, Seen]) -> Iterator[Warned]:
    """Unreadable images, tiny classes, the same picture in training and test, small images."""
    yield from _unreadable(seen)
    yield from _tiny_classes(dataset)
    yield from _duplicates(dataset, seen)
    yield from _small(seen)


def _look(split: SourceSplit, advance: Callable[[int], None]) -> Seen:
    def one(index: int) -> Look:
        try:
            image = split.images[index]
        except DataError as error:
            return str(error)
        return grey_copy(image), min(image.size)

    grey, places, sides, unreadable = [], [], [], {}
    with ThreadPoolExecutor(THREADS) as pool:
        for index, found in enumerate(pool.map(one, range(len(split.images)))):
            advance(1)
            if isinstance(found, str):
                unreadable[index] = found
            else:
                grey.append(found[0])
                places.append(index)
                sides.append(found[1])
    stacked = np.stack(grey) if grey else np.zeros((0, 32, 32), np.uint8)
    return Seen(stacked, np.array(places, np.int64), np.array(sides, np.int64), unreadable)


def _unreadable(seen: Mapping[str, Seen]) -> Iterator[Warned]:
    broken = [sentence for one in seen.values() for sentence in one.unreadable.values()]
    if broken:
        words = f"{len(broken)} images cannot be read: {broken[0]}. --skip-unreadable leaves them out"
        yield Warned(kind="unreadable", count=len(broken), words=words, examples=tuple(broken[:SHOWN]))


def _tiny_classes(dataset: Dataset) -> Iterator[Warned]:
    counts = np.zeros(len(dataset.classes), np.int64)
    train = np.zeros(len(dataset.classes), np.int64)
    for name, split in dataset.splits.items():
        found = split.labels.sum(0) if split.labels.ndim == 2 else np.bincount(split.labels, minlength=len(counts))
        counts += found
        train += found if name in ("train", "all") else 0
    tiny = [name for name, count in zip(dataset.classes, counts, strict=True) if count < FEWEST]
    absent = [name for name, count in zip(dataset.classes, train, strict=True) if count == 0]
    if absent:
        words = f"{len(absent)} classes have no training image and can never be recognised: {', '.join(absent[:SHOWN])}"
        yield Warned(kind="untrained classes", count=len(absent), words=words, examples=tuple(absent[:SHOWN]))
    if tiny:
        words = (
            f"{len(tiny)} classes have fewer than {FEWEST} images, too few to be measured: {', '.join(tiny[:SHOWN])}"
        )
        yield Warned(kind="tiny classes", count=len(tiny), words=words, examples=tuple(tiny[:SHOWN]))


def _duplicates(dataset: Dataset, seen: Mapping[str, Seen]) -> Iterator[Warned]:
    """Between training and each other split: what was trained on cannot be tested on."""
    if "train" not in seen:
        return
    for name in (split for split in seen if split != "train"):
        known, asked = seen["train"], seen[name]
        names, others = dataset.splits["train"].identifiers, dataset.splits[name].identifiers
        found = [(names[known.places[p.first]], others[asked.places[p.second]]) for p in pairs(known.grey, asked.grey)]
        if found:
            shown = tuple(f"{first} = {second}" for first, second in found[:SHOWN])
            words = (
                f"{len(found)} of {len(others)} images of {name} are also in train, so {name} is too easy: {shown[0]}"
            )
            yield Warned(kind="duplicates", count=len(found), words=words, examples=shown)


def _small(seen: Mapping[str, Seen]) -> Iterator[Warned]:
    sides = np.concatenate([one.sides for one in seen.values()])
    if len(sides) and (middle := int(np.median(sides))) < SMALL:
        words = f"images are small (the median side is {middle} px): backbones for 224 px see them enlarged"
        yield Warned(kind="small images", count=int((sides < SMALL).sum()), words=words)
