"""From an image file's content to 8-bit RGB: orientation, transparency and depth of values.

What a file's pixels need (`traits`) is found once, when the file is first read, and is part of the images' digest only
where it has an effect, so that images without orientation, transparency or deep values are named by content alone.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageColor, ImageOps, TiffImagePlugin, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]
"""[h, w, 3]."""
ORIENTATION = 0x0112
"""EXIF's and TIFF's tag; 1 is upright, 2 to 8 are turned or mirrored."""
TURNED_SIDEWAYS = (5, 6, 7, 8)
LARGEST_VALUES = (281, 341)
"""TIFF's tags MaxSampleValue and SMaxSampleValue."""
BITS_PER_SAMPLE = 258
WIDEST = 16
"""Bits of the deepest values that are read."""
PIL_FAILURES = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, struct.error, zlib.error)
"""What Pillow raises for files that are broken in one way or another."""
START = b"\xff\xd8\xff"
COLOURS = ("YCbCr", "Gray")


@dataclass(frozen=True)
class ImageReading:
    """How a dataset's images are read. The defaults are for images that need none of it, too."""

    background: str = "white"
    """A name or #rrggbb of the colour that transparent images are composited on."""
    upright: bool = True
    """Whether EXIF's orientation is applied; the published loaders of built-in datasets do not."""
    bits: int | None = None
    """Bits of the deep values of files that declare none, from the training images; None: all 16."""

    def effect(self, traits: str) -> str:
        """What this reading does to a file of these traits, for the digest of images; empty for most."""
        found = Traits.parse(traits)
        turned = f"\torientation {found.orientation}" if found.orientation > 1 and self.upright else ""
        mixed = f"\tbackground {colour(self.background)}" if found.transparent else ""
        shift = f"\tbits {self.bits_of(found)}" if found.largest is not None else ""
        return f"{turned}{mixed}{shift}"

    def bits_of(self, traits: Traits) -> int:
        """Bits of a deep image's values."""
        return traits.declared or self.bits or WIDEST


PLAIN = ImageReading()


def colour(name: str) -> str:
    """`#rrggbb`. Raises ValueError for what is no colour."""
    red, green, blue = ImageColor.getrgb(name)[:3]
    return f"#{red:02x}{green:02x}{blue:02x}"


@dataclass(frozen=True)
class Traits:
    """What the pixels of one file need before they are 8-bit RGB."""

    orientation: int = 1
    transparent: bool = False
    """Whether any pixel is not opaque."""
    largest: int | None = None
    """Of grey values deeper than 8 bits, the largest; None for 8-bit images."""
    declared: int | None = None
    """Bits of these values, where the file declares fewer than 16."""
    shallow_colour: bool = False
    """Whether it is 16-bit colour of which only a lower part is used: Pillow keeps the upper 8 bits alone."""

    def __str__(self) -> str:
        words = [f"turned={self.orientation}"] if self.orientation > 1 else []
        words += ["transparent"] if self.transparent else []
        words += [f"largest={self.largest}"] if self.largest is not None else []
        words += [f"declared={self.declared}"] if self.declared is not None else []
        return " ".join([*words, "shallow"] if self.shallow_colour else words)

    @classmethod
    def parse(cls, text: str) -> Traits:
        """From `str(traits)`; empty for an image that needs nothing."""
        if not text:
            return NO_TRAITS
        words = dict(word.partition("=")[::2] for word in text.split())
        return cls(
            int(words.get("turned", 1)),
            "transparent" in words,
            int(words["largest"]) if "largest" in words else None,
            int(words["declared"]) if "declared" in words else None,
            "shallow" in words,
        )


NO_TRAITS = Traits()


def traits_of(content: bytes) -> str:
    """The traits of an image file; empty for one without any, and for what is no image that can be decoded.

    Raises nothing that a damaged file could cause: whoever decodes it reports that.
    """
    if content.startswith(b"\xff\xd8\xff"):
        number = jpeg_orientation(content)
        return str(Traits(orientation=number)) if number > 1 else ""
    if _plain_png(content) or (content.startswith(b"BM") and content[28:30] != b"\x20\x00"):
        return ""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return str(_traits(image, content))
    except Exception:  # noqa: BLE001 - a file of any kind, broken in any way; decoding it reports which
        return ""


def rgb(image: Image.Image, reading: ImageReading, content: bytes = b"") -> Image.Image:
    """8-bit RGB of an opened image. Raises ValueError for pixels without a defined white, and what Pillow raises."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white: save it with 8 bits per channel")
    if deep(image):
        declared = _declared_bits(image, content)
        values = np.asarray(image, dtype=np.int64).clip(0, (1 << WIDEST) - 1)
        bits = declared or reading.bits or WIDEST
        image = turned(image, Image.fromarray((values >> max(bits - 8, 0)).clip(0, 255).astype(np.uint8)), reading)
        return image.convert("RGB")
    image.load()
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        flat = Image.new("RGBA", layer.size, colour(reading.background))
        flat.alpha_composite(layer)
        return turned(image, flat.convert("RGB"), reading)
    return turned(image, image.convert("RGB"), reading)


def turned(source: Image.Image, pixels: Image.Image, reading: ImageReading) -> Image.Image:
    """`pixels` as `source` declares that they are to be held."""
    number = orientation_of(source)
    if not reading.upright or number == 1:
        return pixels
    return transposed(pixels, number)


def transposed(pixels: Image.Image, number: int) -> Image.Image:
    """An image turned upright from EXIF's orientation 1 to 8."""
    bare = Image.frombytes(pixels.mode, pixels.size, pixels.tobytes())
    bare.getexif()[ORIENTATION] = number
    return ImageOps.exif_transpose(bare)


def deep(image: Image.Image) -> bool:
    """Whether its grey values have more than 8 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


def orientation_of(image: Image.Image) -> int:
    """1 to 8 of an opened image; 1 where nothing is declared."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    number = image.getexif().get(ORIENTATION, 1)
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def jpeg_orientation(content: bytes) -> int:
    """1 to 8 from a JPEG's Exif segment; 1 where nothing is declared. Reads no pixels."""
    place = 2
    while content[place : place + 1] == b"\xff" and len(content) >= place + 4:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xE1 and content[place + 4 : place + 10] == b"Exif\0\0":
            return _orientation_in(content[place + 10 : place + 2 + length])
        if marker in (0xDA, 0xD9):
            break
        place += 1 if marker == 0xFF else 2 + length
    return 1


def _orientation_in(block: bytes) -> int:
    """From a TIFF block: its first directory."""
    try:
        order = {b"II": "<", b"MM": ">"}[block[:2]]
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for number in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, start + 2 + 12 * number)
            if tag == ORIENTATION and kind == 3:
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def _plain_png(content: bytes) -> bool:
    """Whether a PNG has 8 bits or fewer, no transparency and no Exif, told from its chunks before the pixels."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or content[25:26] not in (b"\0", b"\x02", b"\x03"):
        return False
    pixels = content.find(b"IDAT")
    head, tail = content[:pixels], content[-4096:]
    return content[24] <= 8 and pixels > 0 and b"tRNS" not in head and not (b"eXIf" in head or b"eXIf" in tail)


def _traits(image: Image.Image, content: bytes) -> Traits:
    orientation = orientation_of(image)
    if deep(image):
        declared = _declared_bits(image, content)
        return Traits(orientation, largest=int(np.asarray(image, np.int64).max(initial=0)), declared=declared)
    shallow = _deep_colour(content) and _high_byte(image) < 128
    transparent = False
    if image.has_transparency_data:
        transparent = int(np.asarray(image.convert("RGBA"))[:, :, 3].min(initial=255)) < 255
    return Traits(orientation, transparent, shallow_colour=shallow)


def _high_byte(image: Image.Image) -> int:
    return int(np.asarray(image.convert("RGB")).max(initial=0))


def _deep_colour(content: bytes) -> bool:
    return content.startswith(b"\x89PNG") and content[24:26] in (b"\x10\x02", b"\x10\x06")


def _declared_bits(image: Image.Image, content: bytes) -> int | None:
    """Bits of the values, where the file declares fewer than its pixels have: PNG's sBIT, TIFF's tags."""
    if content.startswith(b"\x89PNG"):
        place = content.find(b"sBIT", 0, max(content.find(b"IDAT"), 0))
        bits = content[place + 4] if place > 0 else 0
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        stored = tags.get(BITS_PER_SAMPLE, (WIDEST,))[0]
        values = [_largest(tags[tag]) for tag in LARGEST_VALUES if tag in tags]
        bits = max(values, default=0).bit_length() or (stored if 8 < stored < WIDEST else 0)
    else:
        bits = 0
    return bits if 8 <= bits < WIDEST else None


def _largest(value: object) -> int:
    return int(max(value)) if isinstance(value, tuple) else int(str(value))


def orient_array(values: npt.NDArray[np.generic], number: int) -> npt.NDArray[np.generic]:
    """An array [h, w, ...] turned upright from EXIF's orientation 1 to 8."""
    if number in TURNED_SIDEWAYS:
        values = values.swapaxes(0, 1)
    flip_rows, flip_columns = number in (3, 4, 7, 8), number in (2, 3, 6, 7)
    return values[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def pixels(content: bytes, reading: ImageReading = PLAIN) -> npt.NDArray[np.uint8] | None:
    """uint8 [h, w, 3]; None for what Pillow should look at: other formats, CMYK, damage, sizes that it warns of, and
    images that are to be turned.
    """
    if not content.startswith(START) or (reading.upright and jpeg_orientation(content) != 1):
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(content)
        if colour not in COLOURS or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        found: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(content, colorspace="RGB", strict=True)
    except ValueError:
        return None
    return found


class ImageError(ValueError):
    """An image file that cannot be decoded; the message names it and says why."""


def read_image(path: Path, reading: ImageReading = PLAIN) -> Pixels | Image.Image:
    """An image file as 8-bit RGB, by the shortest way. Raises ImageError, FileNotFoundError."""
    content = path.read_bytes()
    found = pixels(content, reading)
    if found is not None:
        return found
    try:
        with Image.open(io.BytesIO(content)) as image:
            return rgb(image, reading, content)
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is no image, or of a format that is not read: convert it, or leave it out") from error
    except (Image.DecompressionBombError, *PIL_FAILURES) as error:
        raise ImageError(f"{path} cannot be decoded ({error}): put the original file there, or leave it out") from error
