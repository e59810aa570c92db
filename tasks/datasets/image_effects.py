"""Effects of image reading on a dataset: one scale for values over 8 bits, frames of annotations, and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from backbones.io.image_reading import TURNED_SIDEWAYS, WIDEST, ImageReading, Traits, colour
from tasks.datasets.dataset import DataError, Dataset, ImageSource, SourceSplit
from tasks.datasets.images import FileImages, JoinedImages, ReadImages, digest_of

BYTE = 8
Located = tuple[ReadImages, int, Traits]
"""An image, by its source and index there, and the traits of its pixels."""


def settle(dataset: Dataset) -> Dataset:
    """Complete a dataset with everything that depends on all images, and with notes on the affected images.

    Raises DataError for images whose pixels cannot be read correctly, and for annotations that fit neither frame of
    their image.
    """
    if not any(True for split in dataset.splits.values() for _ in _located(split.images)):
        return dataset
    _refuse_shallow(dataset)
    bits = _bits(dataset)
    splits = {name: _settled(dataset.name, split, bits) for name, split in dataset.splits.items()}
    settled = replace(dataset, splits=splits)
    return replace(settled, notes=(*dataset.notes, *_notes(settled, bits)))


def _settled(name: str, split: SourceSplit, bits: int | None) -> SourceSplit:
    if bits is not None:
        split = _with_images(split, _mapped(split.images, lambda one: replace(one, reading=_deep(one.reading, bits))))
    if split.targets:
        split = _with_images(split, _framed(name, split))
    return replace(split, named_digest="") if any(_changed(*one) for one in _located(split.images)) else split


def _changed(images: ReadImages, place: int, traits: Traits) -> bool:
    """Whether earlier versions read other pixels: they used the upper 8 of 16 bits and ignored orientation."""
    reading = images.reading_of(place)
    full_depth = traits.largest is None or reading.bits_of(traits) == WIDEST
    return not full_depth or traits.transparent or (traits.orientation > 1 and reading.upright)


def _with_images(split: SourceSplit, images: ImageSource) -> SourceSplit:
    return replace(split, images=images, images_digest=digest_of(images) or split.images_digest)


def _deep(reading: ImageReading, bits: int) -> ImageReading:
    return replace(reading, bits=bits)


def _mapped(images: ImageSource, change: Callable[[ReadImages], ReadImages]) -> ImageSource:
    if isinstance(images, JoinedImages):
        return JoinedImages(tuple(_mapped(part, change) for part in images.parts))
    return change(images) if isinstance(images, ReadImages) else images


def _located(images: ImageSource) -> Iterator[Located]:
    """All images with traits."""
    for part in images.parts if isinstance(images, JoinedImages) else (images,):
        if isinstance(part, ReadImages):
            for place, words in part.traits.items():
                yield part, place, Traits.parse(words)


def _bits(dataset: Dataset) -> int | None:
    """Number of significant bits of files that do not declare it: one number for the dataset, from its training images.

    From the other images if no training image has more than 8 bits.
    """
    largest: dict[str, list[int]] = {
        name: [
            traits.largest
            for _, _, traits in _located(split.images)
            if traits.largest is not None and traits.declared is None
        ]
        for name, split in dataset.splits.items()
    }
    wanted = largest.get("train") or largest.get("all") or [one for some in largest.values() for one in some]
    return min(WIDEST, max(BYTE, max(wanted).bit_length())) if wanted else None


def _refuse_shallow(dataset: Dataset) -> None:
    for split in dataset.splits.values():
        for images, place, traits in _located(split.images):
            if traits.shallow:
                raise DataError(
                    f"{images.root / images.files[place]} has 16-bit greys with transparency of which only the lower "
                    "part is used, and only the upper 8 bits of these can be read: save the images with 8 bits"
                )


def _framed(name: str, split: SourceSplit) -> ImageSource:
    """Rotate images only if their annotations are for the rotated image. Raises DataError."""
    offset = 0
    parts: list[ImageSource] = []
    sources = split.images.parts if isinstance(split.images, JoinedImages) else (split.images,)
    for part in sources:
        parts.append(_framed_part(name, split, part, offset) if isinstance(part, FileImages) else part)
        offset += len(part)
    return JoinedImages(tuple(parts)) if isinstance(split.images, JoinedImages) else parts[0]


def _framed_part(name: str, split: SourceSplit, images: FileImages, offset: int) -> FileImages:
    if not images.reading.upright or images.resize is not None:
        return images
    turned = [place for place, words in images.traits.items() if Traits.parse(words).orientation > 1]
    stored = {place for place in turned if not _made_upright(name, split, images, place, offset)}
    return replace(images, stored=frozenset(stored)) if stored else images


def _made_upright(name: str, split: SourceSplit, images: FileImages, place: int, offset: int) -> bool:
    """Whether the annotations of an image fit it when upright, rather than as stored."""
    upright = images.size(place)
    sideways = Traits.parse(images.traits[place]).orientation in TURNED_SIDEWAYS
    lying = (upright[1], upright[0]) if sideways else upright
    for kind, targets in split.targets.items():
        frame = _frame(targets, place + offset)
        if frame is None or frame == upright:
            continue
        if frame == lying:
            return False
        raise DataError(
            f"{name}: {images.root / images.files[place]} is {lying[0]} x {lying[1]} pixels as stored and {upright[0]} "
            f"x {upright[1]} as its EXIF orientation turns it, and its {kind} are for {frame[0]} x {frame[1]}: save "
            "the image without an orientation, as it was annotated"
        )
    return True


def _frame(targets: Any, index: int) -> tuple[int, int] | None:  # noqa: ANN401 - targets of any kind
    """Width and height of the image the annotations were made for; None if not declared."""
    frame: Callable[[int], tuple[int, int] | None] | None = getattr(targets, "frame", None)
    return frame(index) if frame is not None else None


def _notes(dataset: Dataset, bits: int | None) -> Iterator[str]:
    """A sentence about each effect with the number of images."""
    found = {name: list(_located(split.images)) for name, split in dataset.splits.items()}
    every = [one for some in found.values() for one in some]
    clear = _counts(found, lambda one: one[2].transparent)
    if clear:
        background = colour(every[0][0].reading.background)
        yield f"{clear}: transparent, composited on {every[0][0].reading.background} ({background})"
    if turned := _counts(found, lambda one: one[2].orientation > 1 and one[0].reading_of(one[1]).upright):
        yield f"{turned}: rotated by their EXIF orientation"
    if lying := _counts(found, lambda one: one[2].orientation > 1 and not one[0].reading_of(one[1]).upright):
        yield f"{lying}: read as stored, ignoring their EXIF orientation"
    if stacks := _counts(found, lambda one: one[2].frames > 1):
        yield f"{stacks}: animations or stacks, of which the first image is read"
    if deep := _counts(found, lambda one: one[2].declared is not None):
        yield f"{deep}: deeper than 8 bits, scaled by the bits that the files declare"
    if bits is not None:
        undeclared = _counts(found, lambda one: one[2].largest is not None and one[2].declared is None)
        yield f"{undeclared}: 16-bit values, all scaled as {bits}-bit values, the most that training images have"
        above = _counts(found, lambda one: one[2].declared is None and (one[2].largest or 0) >> bits > 0)
        if above:
            yield f"{above}: brighter than every training image, clipped to white"


def _counts(found: Mapping[str, list[Located]], chosen: Callable[[Located], bool]) -> str:
    """`3 images of train, 1 image of test`; empty for none."""
    counts = {name: sum(map(chosen, some)) for name, some in found.items()}
    return ", ".join(f"{n:,} {'image' if n == 1 else 'images'} of {name}" for name, n in counts.items() if n)
