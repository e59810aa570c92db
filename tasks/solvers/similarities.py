"""Cosine similarities of queries to a gallery, in blocks of queries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from tasks.features.shards import FeatureRows
from tasks.solvers.matmul import matmul_transposed
from tasks.solvers.nearest_neighbours import unit_blocks

HELD = 1 << 23
"""Maximum number of similarities in memory, unless a single query has more."""
BLOCK = 4_096
"""Gallery rows per block."""


def similarities(
    queries: FeatureRows, gallery: FeatureRows, device: str = "cpu"
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """First query and cosine similarities [block, n] to every row of `gallery` [n, d], block by block.

    Raises ValueError for features that are not finite.
    """
    width = max(1, HELD // max(len(gallery), 1))
    for first, held in unit_blocks(queries, width, device):
        found = torch.empty(len(held), len(gallery))
        for start, block in unit_blocks(gallery, BLOCK, device):
            found[:, start : start + len(block)] = matmul_transposed(held, block)
        yield first, found.numpy()
