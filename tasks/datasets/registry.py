"""Open a dataset: from its card to its images and labels, with notes on how its images were read and found."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from backbones.io.card_files import suggest
from backbones.io.errors import counted
from backbones.io.image_reading import TURNED_SIDEWAYS, WIDEST, Traits, colour
from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import ContentDigests, using
from tasks.datasets.dataset import DataError, Dataset, ImageSource, SourceSplit
from tasks.datasets.images import FileImages, JoinedImages, ReadImages, digest_of
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.presence import files_place, folders_of, presence, signed_files
from tasks.datasets.readers.make_splits import missing
from tasks.datasets.shifts import with_shifts

BYTE = 8
Located = tuple[ReadImages, int, Traits]
"""An image, by its source and index there, and the traits of its pixels."""


class Read(Protocol):
    """Signature of a dataset reader."""

    def __call__(self, root: Path, card: DatasetCard) -> Dataset:
        """List images and labels of the layout in `root` without decoding images.

        Raises:
            DataError: a file is missing or has invalid content.
        """
        ...


def open_dataset(
    card: DatasetCard, data_root: Path, cache_folder: Path | None = None, *, digests: ContentDigests | None = None
) -> Dataset:
    """Find a dataset's files, list them and their labels, and compute the digests of those that may have changed.

    Digests are stored in `cache_folder`, if given. `digests` replaces the stored ones.

    Raises:
        DataError: the reader is unknown, or the data are missing or invalid.
    """
    if card.reader not in LAYOUTS:
        close = suggest(card.reader, LAYOUTS)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(LAYOUTS)}"
        raise DataError(f"there is no reader {card.reader!r} for datasets: {hint}")
    found = presence(card, data_root)
    if found.status != "present":
        raise missing(card, found.missing)
    read = _reader(card)
    place = files_place(card, data_root, cache_folder) if cache_folder is not None else None
    with using(digests or ContentDigests.load(place)) as used:
        dataset = settle(read(found.base, card))
        # further test sets, whose files' digests are stored with those of the dataset
        shifts = {one.name: settle(_reader(one)(presence(one, data_root).base, one)) for one in card.shifts}
        dataset = with_shifts(dataset, shifts)
        used.files([path for path in map(str, signed_files(card, data_root)) if os.path.isfile(path)])  # noqa: PTH113
    for folder in folders_of(card, used.used):
        used.list_folder(folder)
    if place is not None:
        used.record().write(place)
    return dataset


def _reader(card: DatasetCard) -> Read:
    module, _, function = LAYOUTS[card.reader].reader.partition(":")
    return cast("Read", getattr(import_module(module), function or "read"))


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
        split = _with_images(
            split, _mapped(split.images, lambda one: replace(one, reading=replace(one.reading, bits=bits)))
        )
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


def notes_on_links(splits: Iterable[SourceSplit]) -> Iterator[str]:
    """A sentence per split with images reached through a link out of their folder.

    The folder itself may be a link, as is common in data roots.
    """
    for split in splits:
        if isinstance(split.images, FileImages):
            out = list(_leading_out(split.images))
            if out:
                first, place = out[0]
                links = counted(
                    len(out),
                    f"image of {split.name} is a link that leads",
                    f"images of {split.name} are links that lead",
                )
                yield f"{links} out of {split.images.root}: {first} is {place}"


def _leading_out(images: FileImages) -> Iterator[tuple[str, Path]]:
    """Name and real path of each such image. One `lstat` per file; folders are resolved once."""
    root = images.root.resolve()
    folders: dict[str, bool] = {}
    for name in images.files:
        path = images.root / name
        parent = os.path.dirname(path)  # noqa: PTH120 - once per image
        if parent not in folders:
            folders[parent] = Path(parent).resolve().is_relative_to(root)
        linked = stat.S_ISLNK(path.lstat().st_mode)
        if not folders[parent] or linked:
            place = path.resolve()
            if not place.is_relative_to(root):
                yield name, place
