"""Recorded answers of the demo backbones: which test images of digits and shapes were right, under three protocols.

`data/demo_right.npz` is from runs of `ssl-console run -b 'demo/*' -t knn/digits linear/digits layers/digits knn/shapes
linear/shapes layers/shapes` with seed 0.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FILE = Path(__file__).parent / "data" / "demo_right.npz"


@cache
def recorded(dataset: str) -> Floats:
    """Scores [backbones, protocols, n] in percent: 100 where the image was right."""
    with np.load(FILE, allow_pickle=False) as arrays:
        scores: Floats = 100.0 * arrays[dataset]
    return scores


def names() -> list[str]:
    """The backbones, in order."""
    with np.load(FILE, allow_pickle=False) as arrays:
        return [str(name) for name in arrays["backbones"]]


def resampled(scores: Floats, samples: int, generator: np.random.Generator) -> Floats:
    """Other images of the same population: drawn again, the same for all backbones and protocols."""
    return scores[..., generator.integers(0, scores.shape[-1], samples)]
