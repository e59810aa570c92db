"""Cosine similarities of queries to a whole gallery, a block of queries at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from tasks.features.shards import FeatureRows
from tasks.solvers.matmul import matmul_transposed
from tasks.solvers.nearest_neighbours import unit_blocks

HELD = 1 << 23
"""Similarities in memory at the same time, unless one query has more of them."""
BLOCK = 4_096
"""Rows of the gallery that are read at once."""


def similarities(
    queries: FeatureRows, gallery: FeatureRows, device: str = "cpu"
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """First query and cosine similarities [some queries, n] to every row of `gallery` [n, d], for all queries in turn.

    Raises ValueError for features that are not finite.
    """
    width = max(1, HELD // max(len(gallery), 1))
    for first, held in unit_blocks(queries, width, device):
        found = torch.empty(len(held), len(gallery))
        for start, block in unit_blocks(gallery, BLOCK, device):
            found[:, start : start + len(block)] = matmul_transposed(held, block)
        yield first, found.numpy()
