"""How often each sample is drawn, when as many are drawn with replacement as there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

BLOCK = 64
"""Replicates held in memory at once."""

Counts = npt.NDArray[np.float32]


def counts(samples: int, replicates: int, seed: int) -> Iterator[Counts]:
    """Blocks of [samples, some replicates]; every column adds up to `samples`."""
    generator = np.random.default_rng(seed)
    for start in range(0, replicates, BLOCK):
        width = min(BLOCK, replicates - start)
        drawn = generator.integers(0, samples, size=(samples, width)) * width + np.arange(width)
        yield np.bincount(drawn.ravel(), minlength=samples * width).reshape(samples, width).astype(np.float32)
