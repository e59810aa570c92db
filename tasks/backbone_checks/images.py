"""Images for checking backbones: two photographs, rendered scenes, handwritten digits; none is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.datasets.card import DatasetCard
from tasks.datasets.readers.embedded import read_digits
from tasks.synthetic import SceneKind, render
from tasks.synthetic import digits as handwritten

PHOTO_SIDES = (160, 400)
"""Range of the sides of squares cut out of the photographs (427 x 640), in pixels."""
SCENE_SIDE = 64


@dataclass(frozen=True)
class Labelled:
    """Images with one class each."""

    images: list[Image.Image]
    labels: npt.NDArray[np.int64]


def photographs(count: int) -> list[Image.Image]:
    """Random but fixed square crops of the two photographs included in scikit-learn."""
    random = np.random.RandomState(0)
    whole, cut = handwritten.photographs(), []
    for index in range(count):
        image, side = whole[index % len(whole)], int(random.randint(*PHOTO_SIDES))
        left, top = int(random.randint(0, image.width - side)), int(random.randint(0, image.height - side))
        cut.append(image.crop((left, top, left + side, top + side)))
    return cut


def scenes(count: int) -> list[Image.Image]:
    """Rendered scenes, alternately of one solid and of several, from a series used by no task and no pre-training."""
    kinds = (SceneKind.OBJECT, SceneKind.SCENE)
    return [
        Image.fromarray(render(kinds[index % 2], "examination", index, size=SCENE_SIDE, seed=0).image)
        for index in range(count)
    ]


def digits(split: str, count: int) -> Labelled:
    """The first digits of `train` or `test`, balanced over classes."""
    card = DatasetCard(name="digits", title="digits", reader="digits")
    part = read_digits(Path(), card).splits[split]
    chosen = range(min(count, len(part.images)))
    return Labelled([part.images[index] for index in chosen], np.array(part.labels[: len(chosen)]))
