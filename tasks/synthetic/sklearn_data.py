"""The handwritten digits and photographs included in scikit-learn, read from its files without importing it.

Importing `sklearn.datasets` takes almost two seconds, half as long as torch.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, eq=False)
class HandwrittenDigits:
    """The 1,797 digits of `sklearn.datasets.load_digits`: `images` [n, 8, 8] from 0 to 16, `labels` [n]."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]


@lru_cache(maxsize=1)
def handwritten_digits() -> HandwrittenDigits:
    """Read the digits."""
    with gzip.open(_folder() / "data" / "digits.csv.gz", "rt", encoding="utf-8") as file:
        rows = np.loadtxt(file, delimiter=",")
    return HandwrittenDigits(rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64))


def photographs() -> list[Image.Image]:
    """Read the two photographs, 427 x 640 pixels, in the order of `sklearn.datasets.load_sample_images`."""
    return [Image.open(path).convert("RGB") for path in sorted((_folder() / "images").glob("*.jpg"))]


def _folder() -> Path:
    spec = find_spec("sklearn")  # locates the package without importing it
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("scikit-learn is not installed: make install", name="sklearn")
    return Path(spec.origin).parent / "datasets"
