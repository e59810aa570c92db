"""Images of one number per pixel: masks of classes, and depth."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from backbones.io.image_reading import PIL_FAILURES
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.datasets.images import changed_meanwhile
from tasks.datasets.presence import advice

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def read_numbers(
    card: DatasetCard, path: Path, digest: str | None, *, modes: Collection[str], kind: str, needs: str
) -> Numbers:
    """int64 [h, w]. Raises DataError naming the file, for other `modes` of Pillow and for content that has changed.

    `digest` is the SHA-256 that the file had when the dataset was opened, or None; `kind` and `needs` are words of the
    message: what the file should be, and what its pixels need.
    """
    try:
        content = path.read_bytes()
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise changed_meanwhile(path)
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in modes:
                raise ValueError(f"{image.mode} pixels, and {needs}")
            return np.asarray(image, np.int64)
    except (Image.DecompressionBombError, *PIL_FAILURES) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path} cannot be read as {kind} ({reason}): {advice(card)}") from error
