"""Further test sets of a dataset: other images of its classes, read as splits named `shift ...`, and corrupted images.

Corruptions are defined by this project and named `console-...`: they are not those of ImageNet-C. There are eight kinds
at severities 1 to 5, computed on access. Lengths are fractions of the shorter side, so that images of any size are
changed alike; random numbers depend on kind, severity and the index of the image.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from backbones.io.errors import counted
from tasks.datasets.dataset import DataError, Dataset, ImageSource, SourceSplit, digest_labels, digest_lines

SHIFT = "shift "
TEST_NAMES = ("test", "val", "all", "train")
OTHER = -1
"""Label of an image whose class is not in the dataset."""
CORRUPTION_VERSION = 1
"""Incremented whenever the pixels of a corruption change."""
PREFIX = "console-"
NOISE = (0.04, 0.08, 0.12, 0.18, 0.26)
BLUR = (0.01, 0.02, 0.03, 0.045, 0.06)
PIXELATE = (0.6, 0.45, 0.33, 0.24, 0.17)
JPEG = (40, 25, 15, 10, 6)
BRIGHTNESS = (1.3, 1.6, 1.9, 2.3, 2.8)
CONTRAST = (0.6, 0.45, 0.3, 0.2, 0.12)
COLOUR = (0.6, 0.4, 0.25, 0.1, 0.0)
OCCLUSION = (0.05, 0.1, 0.17, 0.26, 0.36)
"""Deviation, radius, size, quality, factors, and the covered fraction of the area, at severities 1 to 5."""
BOXES = 3
GREY = 127
Change = Callable[[Image.Image, int, np.random.Generator], Image.Image]
"""Image, index of the severity (0 to 4), generator."""


def with_shifts(base: Dataset, shifts: Mapping[str, Dataset]) -> Dataset:
    """The dataset with one more split for each shift, labelled with the dataset's classes.

    Raises `DataError` when a shift has no class of the dataset, or several labels an image.
    """
    splits, notes = dict(base.splits), list(base.notes)
    for name, shift in shifts.items():
        numbers = class_numbers(base, shift)
        split = next(shift.splits[one] for one in TEST_NAMES if one in shift.splits)
        labels = numbers[split.labels]
        splits[f"{SHIFT}{name}"] = replace(
            split, name=f"{SHIFT}{name}", labels=labels, labels_digest=digest_labels(labels), targets={}
        )
        notes.extend(_unused(base, name, shift, labels))
    return replace(base, splits=splits, notes=tuple(notes))


def class_numbers(base: Dataset, shift: Dataset) -> npt.NDArray[np.int64]:
    """The dataset's class of every class of a shift, by name; `OTHER` for those that are not in the dataset.

    Folders 0, 1, 2, ... (ImageNet-V2) are numbers of the dataset's classes in their order. Raises `DataError`.
    """
    if base.multi_label or shift.multi_label:
        raise DataError(f"{base.name} and {shift.name} must have one label an image to be compared")
    known = {name: number for number, name in enumerate(base.classes)}
    if not set(shift.classes) & set(known) and all(name.isdigit() for name in shift.classes):
        numbers = np.array([int(name) for name in shift.classes], np.int64)
        if numbers.max() < len(base.classes):
            return numbers
    found = np.array([known.get(name, OTHER) for name in shift.classes], np.int64)
    if (found == OTHER).all():
        raise DataError(
            f"{shift.name} has no class of {base.name}: its folders {', '.join(shift.classes[:3])} ... must have the "
            f"names {', '.join(base.classes[:3])} ..., or be numbers from 0"
        )
    return found


def without_shifts(dataset: Dataset) -> Dataset:
    """The dataset without its shifts."""
    return replace(dataset, splits={name: one for name, one in dataset.splits.items() if not name.startswith(SHIFT)})


def shifts_of(dataset: Dataset) -> dict[str, SourceSplit]:
    """The further test sets, by their names."""
    return {name.removeprefix(SHIFT): one for name, one in dataset.splits.items() if name.startswith(SHIFT)}


def _unused(base: Dataset, name: str, shift: Dataset, labels: npt.NDArray[np.int64]) -> list[str]:
    count = int((labels == OTHER).sum())
    if not count:
        return []
    unknown = [each for each, number in zip(shift.classes, class_numbers(base, shift), strict=True) if number == OTHER]
    named = ", ".join(unknown[:3]) + (" ..." if len(unknown) > 3 else "")
    images = counted(count, f"image of {name} is", f"images of {name} are")
    return [f"{images} left out: {base.name} has no class {named}"]


def _noise(image: Image.Image, level: int, random: np.random.Generator) -> Image.Image:
    values = np.asarray(image, np.float64)
    values = values + random.normal(0, 255 * NOISE[level], values.shape)
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def _blur(image: Image.Image, level: int, _random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(BLUR[level] * min(image.size)))


def _pixelate(image: Image.Image, level: int, _random: np.random.Generator) -> Image.Image:
    small = [max(1, round(side * PIXELATE[level])) for side in image.size]
    return image.resize((small[0], small[1]), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def _jpeg(image: Image.Image, level: int, _random: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG[level], subsampling=2)
    with Image.open(buffer) as read:
        return read.convert("RGB")


def _brightness(image: Image.Image, level: int, _random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(BRIGHTNESS[level])


def _contrast(image: Image.Image, level: int, _random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(CONTRAST[level])


def _colour(image: Image.Image, level: int, _random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Color(image).enhance(COLOUR[level])


def _occlusion(image: Image.Image, level: int, random: np.random.Generator) -> Image.Image:
    """Grey squares that together cover a fraction of the area, less where they overlap."""
    values: npt.NDArray[np.uint8] = np.array(image)
    side = max(1, round((OCCLUSION[level] / BOXES * image.width * image.height) ** 0.5))
    for _ in range(BOXES):
        top, left = (int(random.integers(0, max(1, length - side + 1))) for length in values.shape[:2])
        values[top : top + side, left : left + side] = GREY
    return Image.fromarray(values)


CORRUPTIONS: Mapping[str, Change] = {
    "noise": _noise,
    "blur": _blur,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
    "brightness": _brightness,
    "contrast": _contrast,
    "colour": _colour,
    "occlusion": _occlusion,
}


def corrupted(image: Image.Image, kind: str, severity: int, place: int) -> Image.Image:
    """An RGB image of the same size; equal arguments give equal pixels."""
    random = np.random.default_rng([zlib.crc32(kind.encode()), severity, place])
    return CORRUPTIONS[kind](image, severity - 1, random)


@dataclass(frozen=True)
class CorruptedImages:
    """Images of a split, corrupted on access."""

    images: ImageSource
    kind: str
    severity: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image. Raises `DataError` as the split's own images do."""
        return corrupted(self.images[index], self.kind, self.severity, index)


def corrupted_split(split: SourceSplit, kind: str, severity: int) -> SourceSplit:
    """All images of a split, corrupted, with the same labels and identifiers."""
    name = f"{PREFIX}{kind}-{severity}"
    digest = digest_lines([split.images_digest, name, f"corruptions {CORRUPTION_VERSION}"])
    images = CorruptedImages(split.images, kind, severity)
    return replace(split, name=name, images=images, images_digest=digest, targets={}, named_digest="")
