"""JPEG files straight to arrays, by the same library and to the same bytes as Pillow, with fewer copies on the way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

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
