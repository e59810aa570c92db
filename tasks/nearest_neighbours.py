"""Weighted cosine nearest neighbours: the evaluation that DINO made usual, exp(similarity / 0.07) votes.

Blocked over the bank and the queries: what is held in memory besides the answer does not grow with the bank, of which
a memory-mapped one is read once for every `QUERIES_HELD` queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.features.rows import Rows

QUERIES_HELD = 16384
"""Queries that one reading of the bank serves."""
BANK_BLOCK = 8192
QUERY_BLOCK = 2048
"""Bank rows and queries between which similarities exist at the same time."""


SHORTEST = 1e-12
"""A row that is shorter counts as zero."""


@dataclass(frozen=True)
class Neighbours:
    """The bank rows most similar to each query, best first: cosine `similarity` and row `index`, both [n, k]."""

    similarity: Tensor
    index: Tensor


def nearest(
    queries: Rows, bank: Rows, neighbours: int, *, device: str = "cpu", bank_block: int = BANK_BLOCK
) -> Neighbours:
    """Find the `neighbours` rows of `bank` [m, d] that are most similar to each row of `queries` [n, d].

    Both may be memory-mapped, in float16 or float32; `neighbours` above m is clipped. A zero vector is similar to
    nothing (0). Of equally similar rows the first ones count, from the second block on. Besides the answer, no more
    than QUERIES_HELD + 3 `bank_block` rows and 2 QUERY_BLOCK x `bank_block` similarities are in memory, in float32.
    Raises ValueError on other shapes, an empty bank and NaN.
    """
    if len(queries.shape) != 2 or len(bank.shape) != 2 or queries.shape[1] != bank.shape[1] or not len(bank):
        raise ValueError(f"queries {tuple(queries.shape)} and bank {tuple(bank.shape)} must be rows of one length")
    kept = min(neighbours, len(bank))
    parts = [_searched(held, bank, kept, bank_block) for _, held in _blocks(queries, QUERIES_HELD, device)]
    if not parts:
        parts = [_none(0, device)]
    return Neighbours(torch.cat([part.similarity for part in parts]), torch.cat([part.index for part in parts]))


def _searched(queries: Tensor, bank: Rows, kept: int, bank_block: int) -> Neighbours:
    """The neighbours of unit-length `queries`, from one reading of the bank."""
    starts = range(0, len(queries), QUERY_BLOCK)
    best = [_none(len(queries[start : start + QUERY_BLOCK]), str(queries.device)) for start in starts]
    for first, block in _blocks(bank, bank_block, str(queries.device)):
        for number, start in enumerate(starts):
            similarity = queries[start : start + QUERY_BLOCK] @ block.T
            best[number] = _merged(best[number], _better(best[number], similarity, first, kept), kept)
    return Neighbours(torch.cat([part.similarity for part in best]), torch.cat([part.index for part in best]))


def _none(queries: int, device: str) -> Neighbours:
    return Neighbours(
        torch.zeros((queries, 0), device=device), torch.zeros((queries, 0), dtype=torch.int64, device=device)
    )


def _blocks(rows: Rows, size: int, device: str) -> Iterator[tuple[int, Tensor]]:
    """Unit-length float32 blocks of `rows` on the device, each with its first row's number."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        block = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        yield start, _unit(block.to(device).float(), start)  # in this order half as much is sent to the device


def _unit(block: Tensor, start: int) -> Tensor:
    """Rows of length 1; those of length 0 stay. A length that is not finite tells of a value that is not."""
    length = torch.linalg.vector_norm(block, dim=1, keepdim=True)
    if not bool(torch.isfinite(length).all()):
        raise ValueError(f"features hold NaN, infinity or huge numbers in rows {start} to {start + len(block) - 1}")
    return torch.div(block, length.clamp_min_(SHORTEST))


def _better(best: Neighbours, similarity: Tensor, first: int, kept: int) -> Neighbours:
    """Of `similarity` [n, block] to the bank rows from `first` on, what may displace something of `best`.

    Once `kept` are known for every query, few rows of a block are more similar than the last of them: those are picked
    out, which costs a fraction of ranking the block.
    """
    if best.similarity.shape[1] == kept:
        above = similarity > best.similarity[:, -1:]
        counts = above.sum(dim=1)
        most = int(counts.max())
        if most < min(kept, similarity.shape[1]):
            return _picked(similarity, above, counts, most, first)
    found, index = torch.topk(similarity, min(kept, similarity.shape[1]), dim=1)
    return Neighbours(found, index + first)


def _picked(similarity: Tensor, above: Tensor, counts: Tensor, most: int, first: int) -> Neighbours:
    """The entries that are `above`, row by row, moved to the left of [n, most]; the rest is similar to nothing."""
    row, column = above.nonzero(as_tuple=True)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    picked = torch.full((len(similarity), most), -2.0, device=similarity.device)
    index = torch.zeros((len(similarity), most), dtype=torch.int64, device=similarity.device)
    picked[row, place] = similarity[row, column]
    index[row, place] = column + first
    return Neighbours(picked, index)


def _merged(best: Neighbours, found: Neighbours, kept: int) -> Neighbours:
    candidates = torch.cat([best.similarity, found.similarity], dim=1)
    numbers = torch.cat([best.index, found.index], dim=1)
    top, place = torch.topk(candidates, min(kept, candidates.shape[1]), dim=1)
    return Neighbours(top, numbers.gather(1, place))


def vote(found: Neighbours, labels: Tensor, neighbours: int, *, classes: int, temperature: float = 0.07) -> Tensor:
    """Class scores [n, classes] from the first `neighbours` columns of `found`; one label's votes sum to 1.

    `labels` are int64 [m], or 0/1 [m, classes] for several labels per image, where a score is the weighted share of
    neighbours that carry the label. Similarities are taken relative to the best, which leaves the shares unchanged.
    """
    kept = min(neighbours, found.index.shape[1])
    weight = torch.softmax(found.similarity[:, :kept] / temperature, dim=1)
    near = labels.to(found.index.device)[found.index[:, :kept]]
    if labels.ndim == 2:
        return torch.einsum("nk,nkc->nc", weight, near.to(weight.dtype))
    return torch.zeros(len(weight), classes, device=weight.device).scatter_add_(1, near, weight)


def classify(
    queries: Rows,
    bank: Rows,
    labels: npt.NDArray[np.generic],
    *,
    neighbours: Sequence[int],
    classes: int,
    temperature: float = 0.07,
    device: str = "cpu",
) -> npt.NDArray[np.float32]:
    """Class scores [len(neighbours), n, classes] for every k of `neighbours`, from one pass over the bank.

    `queries` [n, d], `bank` [m, d], `labels` int [m] or 0/1 [m, classes]. The predicted class is the argmax, the
    lowest number on a tie.
    """
    known = torch.from_numpy(np.array(labels))
    if len(known) != len(bank):
        raise ValueError(f"{len(known)} labels for {len(bank)} bank rows")
    known = known.to(torch.int64) if known.ndim == 1 else known.to(torch.float32)
    found = nearest(queries, bank, max(neighbours), device=device)
    out = np.empty((len(neighbours), len(queries), classes), dtype=np.float32)
    for row, count in enumerate(neighbours):
        for first in range(0, len(queries), QUERY_BLOCK):
            part = slice(first, first + QUERY_BLOCK)
            block = Neighbours(found.similarity[part], found.index[part])
            out[row, part] = vote(block, known, count, classes=classes, temperature=temperature).cpu().numpy()
    return out
