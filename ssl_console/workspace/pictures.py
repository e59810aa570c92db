"""Images that a run has written, and their rendering in character cells.

A cell is about twice as high as it is wide, so the upper half block shows two pixels, one in the foreground and one in
the background colour. Without colours, the character represents the brightness.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssl_console.workspace.paths import RunFolder

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
HALF = "▀"
SHADES = " ░▒▓█"
ASCII_SHADES = " .:-=+*#%@"
"""Dark to bright."""
CUBE = (0, 95, 135, 175, 215, 255)
"""Levels of a channel in the colours 16 to 231 of 256."""


class PictureCell(NamedTuple):
    """One character; without a foreground colour it has the terminal's."""

    sign: str
    ink: Colour | None = None
    ground: Colour | None = None


Row = list[PictureCell]


@dataclass(frozen=True)
class Picture:
    """An image in memory."""

    path: Path
    image: Image


def picture_files(folder: RunFolder) -> list[Path]:
    """Image files of the run, by name."""
    return sorted(path for path in folder.path.glob("*.png") if not path.name.startswith("."))


def open_picture(path: Path) -> Picture | None:
    """The image; None for a file that is missing or not an image."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - most of what the console does needs no pictures

    try:
        with Image.open(path) as file:
            return Picture(path, file.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError):
        return None


def colour_cells(picture: Picture, columns: int, rows: int, *, few_colours: bool = False) -> list[Row]:
    """The image fitted into `columns` x `rows` cells of two pixels each; dithered for terminals of 256 colours."""
    image = _fitted(picture.image, columns, 2 * rows)
    image = _dithered(image) if few_colours else image
    pixels = image.load()
    return [
        [PictureCell(HALF, _at(pixels, x, y), _at(pixels, x, y + 1)) for x in range(image.width)]
        for y in range(0, image.height, 2)
    ]


def shaded(picture: Picture, columns: int, rows: int, shades: str) -> list[Row]:
    """The image in characters from dark to bright."""
    image = _fitted(picture.image, columns, 2 * rows).convert("L")
    image = image.resize((image.width, image.height // 2))
    pixels = image.load()
    assert pixels is not None
    steps = len(shades)
    return [
        [PictureCell(shades[int(pixels[x, y]) * steps // 256]) for x in range(image.width)]  # type: ignore[arg-type]
        for y in range(image.height)
    ]


def _dithered(image: Image) -> Image:
    """Image dithered to the 240 fixed colours of 256-colour terminals."""
    from PIL import Image as PillowImage  # noqa: PLC0415 - as above

    cube = [(red, green, blue) for red in CUBE for green in CUBE for blue in CUBE]
    greys = [(8 + 10 * step,) * 3 for step in range(24)]
    palette = PillowImage.new("P", (1, 1))
    palette.putpalette([channel for colour in cube + greys for channel in colour])
    return image.quantize(palette=palette, dither=PillowImage.Dither.FLOYDSTEINBERG).convert("RGB")


def _fitted(image: Image, width: int, height: int) -> Image:
    """Image scaled to the largest size that fits, an even number of pixels high."""
    from PIL.Image import Resampling  # noqa: PLC0415 - as above

    scale = min(width / image.width, height / image.height)
    size = max(1, int(image.width * scale)), max(2, int(image.height * scale) // 2 * 2)
    return image.resize(size, Resampling.BOX if scale < 1 else Resampling.NEAREST)


def _at(pixels: object, x: int, y: int) -> Colour:
    red, green, blue = pixels[x, y]  # type: ignore[index]
    return red, green, blue
