"""Images of one split: files that are decoded when they are asked for, or arrays in memory."""

from __future__ import annotations

import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from tasks.datasets.dataset import DataError, ImageSource

Pixels = npt.NDArray[np.uint8]
"""[h, w, 3]."""

PIL_FAILURES = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, struct.error, zlib.error)
"""What Pillow raises for files that are broken in one way or another."""


class PixelSource(ABC):
    """Images that have a shorter way to an array than over a Pillow image."""

    @abstractmethod
    def pixels(self, index: int) -> Pixels | Image.Image:
        """The same image as `self[index]`."""


@dataclass(frozen=True)
class FileImages(PixelSource):
    """Image files below a folder, decoded as RGB one at a time."""

    dataset: str
    root: Path
    files: tuple[str, ...]
    resize: tuple[int, int] | None = None
    """Width and height to which every image is resized at once (bicubic), as ChestX's published loader does."""

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image; raises `DataError` naming the file when it cannot be decoded."""
        image = decode(self.root / self.files[index], self.dataset)
        return image if self.resize is None else image.resize(self.resize, Image.Resampling.BICUBIC)

    def pixels(self, index: int) -> Pixels | Image.Image:
        """The same as an array, where that is the shorter way. Raises `DataError` as above."""
        if self.resize is not None:
            return self[index]
        path = self.root / self.files[index]
        with _as_data_error(path, self.dataset):
            found = pixels(path.read_bytes())
        return self[index] if found is None else found

    def size(self, index: int) -> tuple[int, int]:
        """Width and height from the file's header; raises `DataError` naming the file when it has none."""
        if self.resize is not None:
            return self.resize
        path = self.root / self.files[index]
        with _as_data_error(path, self.dataset), Image.open(path) as image:
            return image.size


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
    """The images of several lists, one list after the other."""

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


def size_of(images: ImageSource, index: int) -> tuple[int, int]:
    """Width and height of an image; of a file, without decoding it. Raises DataError naming a broken one."""
    return images.size(index) if isinstance(images, FileImages) else images[index].size


def pixels_of(images: ImageSource, index: int) -> Pixels | Image.Image:
    """An image by the shortest way there is. Raises DataError."""
    return images.pixels(index) if isinstance(images, PixelSource) else images[index]


def decode(path: Path, dataset: str, content: IO[bytes] | None = None) -> Image.Image:
    """Decode an image file as RGB; `content` where its bytes lie inside another file.

    Raises:
        DataError: the file is missing, broken, not an image, or larger than Pillow's limit against bombs.
    """
    with _as_data_error(path, dataset), Image.open(content or path) as image:
        return _rgb(image)


@contextmanager
def _as_data_error(path: Path, dataset: str) -> Iterator[None]:
    """Turn what Pillow raises about a file into a DataError."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large an image to decode ({error}): make it smaller or remove it") from error
    except PIL_FAILURES as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(
            f"{path} cannot be decoded ({reason.strip() or type(error).__name__}): put the original file there; "
            f"`ssl-console data check {dataset}` looks for others"
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB. 16-bit grey keeps its upper 8 bits; Pillow's own conversion would clip it to white."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white: save it with 8 bits per channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.int64).clip(0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


START = b"\xff\xd8\xff"
COLOURS = ("YCbCr", "Gray")


def pixels(content: bytes) -> npt.NDArray[np.uint8] | None:
    """uint8 [h, w, 3]; None for what Pillow should look at: other formats, CMYK, damage, sizes that it warns of."""
    if not content.startswith(START):
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(content)
        if colour not in COLOURS or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        found: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(content, colorspace="RGB", strict=True)
    except ValueError:
        return None
    return found
