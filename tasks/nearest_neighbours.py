"""Weighted cosine nearest neighbours: the evaluation that DINO made usual, exp(similarity / 0.07) votes.

Blocked over the bank and the queries, so that no more than a block of similarities ever exists and a memory-mapped
bank is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Features = npt.NDArray[np.floating] | Tensor

BANK_BLOCK = 8192
QUERY_BLOCK = 2048


@dataclass(frozen=True)
class Neighbours:
    """The bank rows most similar to each query, best first: cosine `similarity` and row `index`, both [n, k]."""

    similarity: Tensor
    index: Tensor


def nearest(
    queries: Features, bank: Features, neighbours: int, *, device: str = "cpu", bank_block: int = BANK_BLOCK
) -> Neighbours:
    """Find the `neighbours` rows of `bank` [m, d] that are most similar to each row of `queries` [n, d].

    Both may be memory-mapped, in float16 or float32; `neighbours` above m is clipped. A zero vector is similar to
    nothing (0). Raises ValueError on other shapes, an empty bank and NaN.
    """
    if queries.ndim != 2 or bank.ndim != 2 or queries.shape[1] != bank.shape[1] or not len(bank):
        raise ValueError(f"queries {tuple(queries.shape)} and bank {tuple(bank.shape)} must be rows of one length")
    kept = min(neighbours, len(bank))
    best = Neighbours(
        torch.full((len(queries), 0), -2.0, device=device),
        torch.zeros((len(queries), 0), dtype=torch.int64, device=device),
    )
    for start, block in _blocks(bank, bank_block, device):
        best = _merged(best, queries, block, start, kept)
    return best


def _blocks(rows: Features, size: int, device: str) -> Iterator[tuple[int, Tensor]]:
    """Unit-length float32 blocks of `rows` on the device, each with its first row's number."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        block = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        block = block.to(device=device, dtype=torch.float32)
        if not bool(torch.isfinite(block).all()):
            raise ValueError(f"features hold NaN or infinity in rows {start} to {start + len(block) - 1}")
        yield start, torch.nn.functional.normalize(block, dim=1)


def _merged(best: Neighbours, queries: Features, block: Tensor, start: int, kept: int) -> Neighbours:
    """`best` after seeing one more block of the bank."""
    similarities, indices = [], []
    for first, rows in _blocks(queries, QUERY_BLOCK, str(block.device)):
        found, index = torch.topk(rows @ block.T, min(kept, len(block)), dim=1)
        known = slice(first, first + len(rows))
        candidates = torch.cat([best.similarity[known], found], dim=1)
        numbers = torch.cat([best.index[known], index + start], dim=1)
        top, place = torch.topk(candidates, min(kept, candidates.shape[1]), dim=1)
        similarities.append(top)
        indices.append(numbers.gather(1, place))
    return Neighbours(torch.cat(similarities), torch.cat(indices))


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
    queries: Features,
    bank: Features,
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
