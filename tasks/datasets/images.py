"""Images of one split: files decoded on access, or arrays in memory."""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import starmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from backbones.io.image_reading import (
    PIL_FAILURES,
    PLAIN,
    TURNED_SIDEWAYS,
    ImageReading,
    Pixels,
    orientation_of,
    pixels,
    rgb,
)
from tasks.datasets.dataset import DataError, ImageSource, digest_lines

MOST_AT_ONCE = 2**20
READ_AHEAD = 2**22
"""Bytes of files that are read before the first of them is decoded."""


class PixelSource(ABC):
    """Images that can be read as arrays without a Pillow image."""

    @abstractmethod
    def pixels(self, index: int) -> Pixels | Image.Image:
        """The same image as `self[index]`."""

    def several(self, indices: Iterable[int]) -> Iterator[Pixels | Image.Image]:
        """`pixels` of each index, in order."""
        return map(self.pixels, indices)


@dataclass(frozen=True)
class ReadImages(PixelSource):
    """Images whose content is read on access."""

    dataset: str
    root: Path
    files: tuple[str, ...]
    reading: ImageReading = field(default=PLAIN, kw_only=True)
    contents: tuple[str, ...] = field(default=(), kw_only=True)
    """A line per image that identifies its content; empty if no digest is needed."""
    traits: Mapping[int, str] = field(default_factory=dict, kw_only=True)
    """Traits of the pixels of some images, by index (`backbones.io.image_reading.Traits`)."""
    stored: frozenset[int] = field(default=frozenset(), kw_only=True)
    """Images that are not rotated, because their annotations are for the image as stored."""

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image; raises `DataError` with the file name if it cannot be decoded."""
        return self.image(index, self.content(index))

    def pixels(self, index: int) -> Pixels | Image.Image:
        """The image as an array if that is faster. Raises `DataError`."""
        return self.decoded(index, self.content(index))

    def several(self, indices: Iterable[int]) -> Iterator[Pixels | Image.Image]:
        """`pixels` of each index, in order. Files are read some megabytes ahead of decoding, because reading and
        decoding in turns takes half as long again under the interpreter lock."""
        read: list[tuple[int, bytes]] = []
        for index in indices:
            read.append((index, self.content(index)))
            if sum(len(content) for _, content in read) >= READ_AHEAD:
                yield from starmap(self.decoded, read)
                read.clear()
        yield from starmap(self.decoded, read)

    @abstractmethod
    def content(self, index: int) -> bytes:
        """Bytes of the image file. Raises `DataError`."""

    def image(self, index: int, content: bytes) -> Image.Image:
        """The image with this content. Raises `DataError`."""
        return decode(self.root / self.files[index], self.dataset, content, self.reading_of(index))

    def decoded(self, index: int, content: bytes) -> Pixels | Image.Image:
        """The image with this content, as an array if that is faster. Raises `DataError`."""
        found = pixels(content, self.reading_of(index))
        return self.image(index, content) if found is None else found

    def path(self, index: int) -> Path:
        """File that contains the image."""
        return self.root / self.files[index]

    def reading_of(self, index: int) -> ImageReading:
        """Options for reading the image."""
        return replace(self.reading, upright=False) if index in self.stored else self.reading

    @property
    def digest(self) -> str:
        """Digest of the images' content and order, and of their reading."""
        lines = list(self.contents)
        for place, traits in self.traits.items():
            lines[place] += self.reading_of(place).effect(traits)
        return digest_lines(lines)


@dataclass(frozen=True)
class FileImages(ReadImages):
    """Image files below a folder, decoded as RGB one at a time."""

    resize: tuple[int, int] | None = None
    """Width and height to which every image is resized when read (bicubic), as in ChestX's published loader."""

    def image(self, index: int, content: bytes) -> Image.Image:
        """The image with this content. Raises `DataError`."""
        image = super().image(index, content)
        return image if self.resize is None else image.resize(self.resize, Image.Resampling.BICUBIC)

    def decoded(self, index: int, content: bytes) -> Pixels | Image.Image:
        """The image with this content, as an array if that is faster. Raises `DataError`."""
        return super().decoded(index, content) if self.resize is None else self.image(index, content)

    def content(self, index: int) -> bytes:
        """Bytes of the file. Raises `DataError`, also if they differ from the digest."""
        path = f"{self._folder}{self.files[index]}"
        try:
            content = _read(path)
        except PIL_FAILURES as error:
            raise _data_error(Path(path), self.dataset, error) from error
        if self.contents and hashlib.sha256(content).hexdigest() != self.contents[index]:
            raise changed_meanwhile(Path(path))
        return content

    @cached_property
    def _folder(self) -> str:
        """The folder as text with a separator: joining paths takes a fifth of the time of reading a small file."""
        return f"{self.root}{os.sep}"

    def size(self, index: int) -> tuple[int, int]:
        """Width and height from the file's header; raises `DataError` with the file name if it has none."""
        if self.resize is not None:
            return self.resize
        path = self.root / self.files[index]
        with _as_data_error(path, self.dataset), Image.open(path) as image:
            sideways = self.reading_of(index).upright and orientation_of(image) in TURNED_SIDEWAYS
            return (image.height, image.width) if sideways else image.size

    @property
    def digest(self) -> str:
        """Digest of the images' content and order, of their reading, and of their common size."""
        if self.resize is None:
            return super().digest
        return digest_lines([super().digest, f"resized to {self.resize[0]} x {self.resize[1]}"])


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory: `arrays` is uint8 [n, height, width, 3]."""

    arrays: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image."""
        return Image.fromarray(self.arrays[index])


@dataclass(frozen=True)
class JoinedImages:
    """Concatenation of several image lists."""

    parts: tuple[ImageSource, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image; raises `DataError` as its part does."""
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


def digest_of(images: ImageSource) -> str | None:
    """Digest of images read from files; None for others."""
    if isinstance(images, ReadImages):
        return images.digest
    parts = [digest_of(part) for part in images.parts] if isinstance(images, JoinedImages) else []
    return digest_lines([part for part in parts if part is not None]) if parts and None not in parts else None


def size_of(images: ImageSource, index: int) -> tuple[int, int]:
    """Width and height of an image; a file is not decoded. Raises DataError with the name of a broken file."""
    return images.size(index) if isinstance(images, FileImages) else images[index].size


def pixels_of(images: ImageSource, index: int) -> Pixels | Image.Image:
    """An image in its fastest form. Raises DataError."""
    return images.pixels(index) if isinstance(images, PixelSource) else images[index]


def several_pixels(images: ImageSource, indices: Iterable[int]) -> Iterator[Pixels | Image.Image]:
    """`pixels_of` each index, in order, in less time than one by one."""
    return images.several(indices) if isinstance(images, PixelSource) else map(images.__getitem__, indices)


def decode(path: Path, dataset: str, content: bytes, reading: ImageReading = PLAIN) -> Image.Image:
    """Decode the content of an image file as RGB; `path` is used in messages.

    Raises:
        DataError: the file is broken, not an image, or larger than Pillow's decompression limit.
    """
    with _as_data_error(path, dataset), Image.open(io.BytesIO(content)) as image:
        return rgb(image, reading, content)


def _read(path: str) -> bytes:
    """Content of a file, in half the time of `read_bytes` under the interpreter lock. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        content = os.read(descriptor, size)
        if size and len(content) == size:
            return content
        while rest := os.read(descriptor, MOST_AT_ONCE):  # Linux reads 2 GB at most at once
            content += rest
        return content
    finally:
        os.close(descriptor)


def changed_meanwhile(path: Path) -> DataError:
    """Error for a file whose content differs from the dataset's digest."""
    return DataError(f"{path} changed after the dataset was opened: run it again, which reads the file again")


@contextmanager
def _as_data_error(path: Path, dataset: str) -> Iterator[None]:
    """Convert Pillow's exceptions about a file into DataError."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large an image to decode ({error}): make it smaller or remove it") from error
    except PIL_FAILURES as error:
        raise _data_error(path, dataset, error) from error


def _data_error(path: Path, dataset: str, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = "unknown image format" if isinstance(error, UnidentifiedImageError) else reason
    return DataError(
        f"{path} cannot be decoded ({reason.strip() or type(error).__name__}): put the original file there; "
        f"`ssl-console data check {dataset}` finds any others"
    )
