"""Images that are the same picture: a perceptual hash finds candidates, small grey copies confirm them.

The hash is the difference hash (Krawetz, "Kind of Like That", 2013): 64 signs of horizontal gradients. Of two hashes
at most three signs apart, one of four 16-bit parts is equal, so only images that share a part are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

GREY_SIDE = 32
PARTS = 4
FLATTEST = 2.0
"""Standard deviation in grey levels below which a picture has no features to be told by."""
SAME = 3.0
"""Mean difference in grey levels up to which two small copies show the same picture (JPEG, another size)."""
MOST_ALIKE = 200
"""Images that share one part of a hash, above which that part tells nothing."""

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """Two images that show the same picture, by their numbers."""

    first: int
    second: int


def grey_copy(image: Image.Image) -> Grey:
    """uint8 [32, 32], whatever the shape was."""
    return np.asarray(image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX), dtype=np.uint8)


def pairs(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> Iterator[Pair]:
    """For each image of `second` [m, 32, 32], the first one of `first` [n, 32, 32] that shows the same."""
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
    """The hash of each image as four numbers, uint16 [n, 4]."""
    if not len(grey):
        return np.zeros((0, PARTS), np.uint16)
    rows = grey.reshape(len(grey), 8, GREY_SIDE // 8, GREY_SIDE).mean(2)
    columns = np.linspace(0, GREY_SIDE - 1, 9).round().astype(int)
    signs = np.diff(rows[:, :, columns], axis=2) > 0
    return np.packbits(signs.reshape(len(grey), 64), axis=1).view(np.uint16)


def _same(first: Grey, second: Grey) -> bool:
    if first.std() < FLATTEST or second.std() < FLATTEST:
        return bool(np.array_equal(first, second)) and first.std() > 0
    return float(np.abs(first.astype(np.int16) - second.astype(np.int16)).mean()) <= SAME
