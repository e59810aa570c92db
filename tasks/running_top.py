"""The largest similarities seen so far, of a few queries to a bank that passes by in blocks.

A similarity and the number of its row make one integer, the similarity's bits above the row's: the order of these keys
is the order of similarities, and of equal ones the first row leads. Selecting is comparing integers, and a tie is
settled the same way however the bank is cut into blocks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BY_NUMPY = ("cpu",)
"""Kinds of devices on whose tensors NumPy selects and sorts: with vector instructions, where torch has none."""
LAST_ROW = (1 << 32) - 1
POSITIVE = (1 << 31) - 1
NOTHING = -0x7F800001 << 32
"""The key below all others: a similarity of minus infinity."""


class RunningTop:
    """The `kept` best rows of each query.

    A block is compared with the worst of them; what is above it waits beside them and is ranked when the place for it
    is used up. Once most of the bank has passed, a block costs one comparison.
    """

    def __init__(self, queries: int, kept: int, device: torch.device) -> None:
        self._kept = kept
        self._keys = torch.full((queries, 2 * kept), NOTHING, dtype=torch.int64, device=device)
        self._used = torch.full((queries,), kept, dtype=torch.int64, device=device)
        self._worst = torch.full((queries, 1), -torch.inf, device=device)

    def offer(self, similarity: Tensor, first: int) -> None:
        """Take note of `similarity` [queries, block] to the bank's rows from `first` on, which come in rising order."""
        above = similarity > self._worst
        counts = above.count_nonzero(dim=1)
        most, places = int((self._used + counts).max()), self._keys.shape[1]
        if most > places:
            self._rank(self._keys)
            most = self._kept + int(counts.max())
        if most > places:
            rows = torch.arange(first, first + similarity.shape[1], device=similarity.device)
            self._rank(torch.cat([self._keys[:, : self._kept], _keys(similarity, rows)], dim=1))
        else:
            self._put(similarity, above, counts, first)

    def _put(self, similarity: Tensor, above: Tensor, counts: Tensor, first: int) -> None:
        """What is `above` into the next places of its query, of which `counts` are free."""
        chosen = _places(above)
        query = torch.repeat_interleave(counts)
        row = chosen - query * similarity.shape[1] + first
        next_place = torch.arange(len(counts), device=counts.device) * self._keys.shape[1] + self._used
        place = torch.arange(len(chosen), device=counts.device)
        place += (next_place - (counts.cumsum(0) - counts)).index_select(0, query)
        self._keys.view(-1).index_copy_(0, place, _keys(similarity.view(-1).index_select(0, chosen), row))
        self._used += counts

    def ranked(self) -> tuple[Tensor, Tensor]:
        """Similarities and rows, best first, both [queries, kept]."""
        self._rank(self._keys)
        ordered = _sorted(self._keys[:, : self._kept]).flip(1)
        return _similarities(ordered), LAST_ROW - (ordered & LAST_ROW)

    def _rank(self, keys: Tensor) -> None:
        best = _largest(keys, self._kept)
        self._keys[:, : self._kept] = best
        self._keys[:, self._kept :] = NOTHING
        self._used.fill_(self._kept)
        self._worst = _similarities(best.amin(dim=1, keepdim=True))


def _places(chosen: Tensor) -> Tensor:
    """Where a matrix is true, counted row by row through the whole of it."""
    if chosen.device.type not in BY_NUMPY:
        return chosen.view(-1).nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(chosen.numpy()))


def _largest(keys: Tensor, count: int) -> Tensor:
    """The `count` largest of every row, in any order."""
    if keys.device.type not in BY_NUMPY:
        return keys.topk(count, dim=1, sorted=False).values
    return torch.from_numpy(np.partition(keys.numpy(), keys.shape[1] - count, axis=1)[:, -count:])


def _sorted(keys: Tensor) -> Tensor:
    if keys.device.type not in BY_NUMPY:
        return keys.sort(dim=1).values
    return torch.from_numpy(np.sort(keys.numpy(), axis=1))


def _keys(similarity: Tensor, rows: Tensor) -> Tensor:
    """The bits of a float32 rise with it where it is positive, and fall where it is negative."""
    bits = (similarity + 0.0).view(torch.int32)  # there are no two zeros any more
    return (_turned(bits).to(torch.int64) << 32) | (LAST_ROW - rows)


def _similarities(keys: Tensor) -> Tensor:
    return _turned((keys >> 32).to(torch.int32)).view(torch.float32)


def _turned(bits: Tensor) -> Tensor:
    """Its own inverse."""
    return bits ^ ((bits >> 31) & POSITIVE)
