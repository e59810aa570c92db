"""Conversion of an image file's content to 8-bit RGB: orientation, transparency and bit depth.

The necessary conversions (`traits`) are determined once, when the file is first read, and are part of the images'
digest only where they have an effect, so that images without orientation, transparency or deep values are identified by
content alone.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageColor, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]
"""[h, w, 3]."""
Values = npt.NDArray[np.int64]
"""[h, w] or [h, w, channels]."""
ORIENTATION = 0x0112
"""EXIF's and TIFF's tag; 1 is upright, 2 to 8 are rotated or mirrored."""
TURNED_SIDEWAYS = (5, 6, 7, 8)
LARGEST_VALUES = (281, 341)
"""TIFF's tags MaxSampleValue and SMaxSampleValue."""
BITS_PER_SAMPLE = 258
PLANAR_CONFIGURATION = 284
SWAPPED = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""Pillow's byte orders of 16-bit colours, and those that exchange upper and lower bytes."""
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "RGBa", "CMYK")
WIDEST = 16
"""Maximum supported bit depth."""
PIL_FAILURES = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, struct.error, zlib.error)
"""Exceptions of Pillow for damaged files."""
START = b"\xff\xd8\xff"
COLOURS = ("YCbCr", "Gray")


@dataclass(frozen=True)
class ImageReading:
    """Options for reading a dataset's images. The defaults also suit images that need no conversion."""

    background: str = "white"
    """Name or #rrggbb of the background colour of transparent images."""
    upright: bool = True
    """Whether EXIF's orientation is applied; the published loaders of built-in datasets do not apply it."""
    bits: int | None = None
    """Bit depth for deep values of files that declare none, from the training images; None: all 16."""

    def effect(self, traits: str) -> str:
        """Effect of this reading on a file of these traits, for the digest of images; empty for most files."""
        found = Traits.parse(traits)
        turned = f"\torientation {found.orientation}" if found.orientation > 1 and self.upright else ""
        mixed = f"\tbackground {colour(self.background)}" if found.transparent else ""
        shift = f"\tbits {self.bits_of(found)}" if found.largest is not None else ""
        return f"{turned}{mixed}{shift}"

    def bits_of(self, traits: Traits) -> int:
        """Bit depth of a deep image's values."""
        return traits.declared or self.bits or WIDEST


PLAIN = ImageReading()


def colour(name: str) -> str:
    """`#rrggbb`. Raises ValueError for an invalid colour."""
    red, green, blue = ImageColor.getrgb(name)[:3]
    return f"#{red:02x}{green:02x}{blue:02x}"


@dataclass(frozen=True)
class Traits:
    """Conversions that the pixels of one file need to become 8-bit RGB."""

    orientation: int = 1
    transparent: bool = False
    """Whether any pixel is not opaque."""
    largest: int | None = None
    """Largest of grey or colour values deeper than 8 bits; None for 8-bit images."""
    declared: int | None = None
    """Bit depth of these values, where the file declares fewer than 16."""
    frames: int = 1
    """Number of frames of an animation or a stack of images, of which the first is read."""
    shallow: bool = False
    """Whether it is 16-bit grey with alpha that uses only a lower part: only the upper 8 bits can be read."""

    def __str__(self) -> str:
        words = [f"turned={self.orientation}"] if self.orientation > 1 else []
        words += ["transparent"] if self.transparent else []
        words += [f"largest={self.largest}"] if self.largest is not None else []
        words += [f"declared={self.declared}"] if self.declared is not None else []
        words += [f"frames={self.frames}"] if self.frames > 1 else []
        return " ".join([*words, "shallow"] if self.shallow else words)

    @classmethod
    def parse(cls, text: str) -> Traits:
        """Parse `str(traits)`; an empty text gives no conversions."""
        if not text:
            return NO_TRAITS
        words = dict(word.partition("=")[::2] for word in text.split())
        return cls(
            int(words.get("turned", 1)),
            "transparent" in words,
            int(words["largest"]) if "largest" in words else None,
            int(words["declared"]) if "declared" in words else None,
            int(words.get("frames", 1)),
            "shallow" in words,
        )


NO_TRAITS = Traits()


def traits_of(content: bytes) -> str:
    """Traits of an image file; empty for one without any, and for files that cannot be decoded.

    Never raises for a damaged file: decoding it reports the error.
    """
    if content.startswith(b"\xff\xd8\xff"):
        number = jpeg_orientation(content)
        return str(Traits(orientation=number)) if number > 1 else ""
    if _plain_png(content) or (content.startswith(b"BM") and content[28:30] != b"\x20\x00"):
        return ""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return str(_traits(image, content))
    except Exception:  # noqa: BLE001 - any damage of any file; decoding it reports the error
        return ""


def rgb(image: Image.Image, reading: ImageReading, content: bytes = b"") -> Image.Image:
    """8-bit RGB of an opened image. Raises ValueError for pixels without a defined white, and Pillow's exceptions."""
    pixels = _shallow(image, reading, content)
    if pixels.has_transparency_data:
        layer = pixels.convert("RGBA")
        flat = Image.new("RGBA", layer.size, colour(reading.background))
        flat.alpha_composite(layer)
        pixels = flat
    return turned(image, pixels.convert("RGB"), reading)


def _shallow(image: Image.Image, reading: ImageReading, content: bytes) -> Image.Image:
    """Image with 8 bits per channel."""
    if _has_deep_planes(image):
        raise ValueError(
            "16-bit colours in separate planes are not decoded correctly: save it with interleaved colours"
        )
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white: save it with 8 bits per channel")
    if deep(image):
        bits = _declared_bits(image, content) or reading.bits or WIDEST
        return Image.fromarray(_shifted(grey_values(image), bits))
    bits = _declared_bits(image, content) or reading.bits or WIDEST if deep_colour(image) else WIDEST
    if bits < WIDEST:
        # 16-bit colours of which `bits` are used; alpha as well, unless it exceeds their maximum
        values, count = colour_values(image, content), _colours(image)
        alpha = values[:, :, count:]
        opacity = _shifted(alpha, WIDEST if (alpha >> bits).any() else bits)
        pixels = np.dstack([_shifted(values[:, :, :count], bits), opacity])
        return Image.frombytes(image.mode, image.size, pixels.tobytes())
    image.load()
    return image


def _shifted(values: Values, bits: int) -> Pixels:
    return (values >> max(bits - 8, 0)).clip(0, 255).astype(np.uint8)


def grey_values(image: Image.Image) -> Values:
    """Values of a deep grey image [h, w]. Raises ValueError for negative ones and for more than 16 bits."""
    values = np.asarray(image, dtype=np.int64)
    if values.size and (values.min() < 0 or values.max() >> WIDEST):
        raise ValueError(
            f"its values are {values.min()} to {values.max()}, for which neither black nor white is defined: save it "
            "with 8 or 16 bits, 0 being black"
        )
    return values


def deep_colour(image: Image.Image) -> bool:
    """Whether an opened image has 16 bits per colour, of which Pillow only retains the upper 8."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    modes = [_raw_mode(tile).partition(";") for tile in tiles]
    return any(name in COLOUR_MODES and order in SWAPPED for name, _, order in modes)


def colour_values(image: Image.Image, content: bytes) -> Values:
    """Values of a 16-bit colour image [h, w, channels], whose file has this content.

    Read twice: the second time with the bytes of each value exchanged, so that the lower ones become the upper ones.
    """
    upper = np.asarray(image, np.int64)
    with Image.open(io.BytesIO(content)) as again:
        assert isinstance(again, ImageFile.ImageFile)
        again.tile = [tile._replace(args=_swapped(tile)) for tile in again.tile]
        return upper << 8 | np.asarray(again, np.int64)


def _has_deep_planes(image: Image.Image) -> bool:
    """Whether it is a TIFF that stores 16-bit colours in separate planes, which Pillow misinterprets."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    separate = image.tag_v2.get(PLANAR_CONFIGURATION, 1) == 2 and len(image.getbands()) > 1
    return separate and max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) > 8


def _colours(image: Image.Image) -> int:
    return 3 if image.mode in ("RGBA", "RGBX", "RGBa") else len(image.getbands())


def _raw_mode(tile: Any) -> str:  # noqa: ANN401 - of Pillow: codec, extents, offset, arguments
    return str(tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0])


def _swapped(tile: Any) -> Any:  # noqa: ANN401 - as above
    name, _, order = _raw_mode(tile).partition(";")
    swapped = f"{name};{SWAPPED[order]}"
    return swapped if isinstance(tile.args, str) else (swapped, *tile.args[1:])


def turned(source: Image.Image, pixels: Image.Image, reading: ImageReading) -> Image.Image:
    """`pixels` rotated as declared by `source`."""
    number = orientation_of(source)
    if not reading.upright or number == 1:
        return pixels
    return transposed(pixels, number)


def transposed(pixels: Image.Image, number: int) -> Image.Image:
    """Image rotated upright from EXIF's orientation 1 to 8."""
    bare = Image.frombytes(pixels.mode, pixels.size, pixels.tobytes())
    bare.getexif()[ORIENTATION] = number
    return ImageOps.exif_transpose(bare)


def deep(image: Image.Image) -> bool:
    """Whether its grey values have more than 8 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation (1 to 8) of an opened image; 1 where none is declared."""
    if image.format == "TIFF":  # Pillow rotates these itself
        return 1
    number = image.getexif().get(ORIENTATION, 1)
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def jpeg_orientation(content: bytes) -> int:
    """Orientation (1 to 8) from a JPEG's Exif segment; 1 where none is declared. Reads no pixels."""
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
    """Orientation from the first directory of a TIFF block."""
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
    """Whether a PNG has 8 bits or fewer, no transparency and no Exif, according to the chunks before the pixels."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or content[25:26] not in (b"\0", b"\x02", b"\x03"):
        return False
    pixels = content.find(b"IDAT")
    head, tail = content[:pixels], content[-4096:]
    return content[24] <= 8 and pixels > 0 and b"tRNS" not in head and not (b"eXIf" in head or b"eXIf" in tail)


def _traits(image: Image.Image, content: bytes) -> Traits:
    coloured = deep_colour(image)  # before the pixels are loaded
    orientation = orientation_of(image)
    frames = int(getattr(image, "n_frames", 1))
    if deep(image):
        largest = int(grey_values(image).max(initial=0))
        return Traits(orientation, largest=largest, declared=_declared_bits(image, content), frames=frames)
    if coloured:
        values = colour_values(image, content)
        colours, alpha = np.split(values, [_colours(image)], axis=2)
        full = (1 << int(alpha.max(initial=0)).bit_length()) - 1
        transparent = bool(alpha.size) and int(alpha.min()) < full
        return Traits(orientation, transparent, int(colours.max(initial=0)), _declared_bits(image, content), frames)
    transparent = False
    if image.has_transparency_data:
        transparent = int(np.asarray(image.convert("RGBA"))[:, :, 3].min(initial=255)) < 255
    deep_grey_alpha = content.startswith(b"\x89PNG") and content[24:26] == b"\x10\x04"
    shallow = deep_grey_alpha and int(np.asarray(image.convert("RGB")).max(initial=0)) < 128
    return Traits(orientation, transparent, frames=frames, shallow=shallow)


def _declared_bits(image: Image.Image, content: bytes) -> int | None:
    """Bit depth, where the file declares less than its pixels have: PNG's sBIT, TIFF's tags."""
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


def pixels(content: bytes, reading: ImageReading = PLAIN) -> npt.NDArray[np.uint8] | None:
    """uint8 [h, w, 3]; None where Pillow is needed: other formats, CMYK, damage, very large sizes, and images to
    be rotated.
    """
    if not is_plain_jpeg(content, reading):
        return None
    try:
        found: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(content, colorspace="RGB", strict=True)
    except ValueError:
        return None
    return found


def is_plain_jpeg(content: bytes, reading: ImageReading = PLAIN) -> bool:
    """Whether it is a JPEG file of usual colours and size that need not be rotated, by its header."""
    if not content.startswith(START) or (reading.upright and jpeg_orientation(content) != 1):
        return False
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        return False
    return colour in COLOURS and height * width <= (Image.MAX_IMAGE_PIXELS or 0)


class ImageError(ValueError):
    """An image file that cannot be decoded; the message names it and the reason."""


def read_image(path: Path, reading: ImageReading = PLAIN) -> Pixels | Image.Image:
    """Read an image file as 8-bit RGB by the fastest decoder. Raises ImageError, FileNotFoundError."""
    content = path.read_bytes()
    found = pixels(content, reading)
    if found is not None:
        return found
    try:
        with Image.open(io.BytesIO(content)) as image:
            return rgb(image, reading, content)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image, or has an unsupported format: convert it, or leave it out"
        ) from error
    except (Image.DecompressionBombError, *PIL_FAILURES) as error:
        raise ImageError(f"{path} cannot be decoded ({error}): restore the original file, or leave it out") from error
