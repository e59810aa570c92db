"""Cosine similarities in blocks, and weighted nearest neighbours as established by DINO, with votes
exp(similarity / 0.07).

Blocked over bank and queries: memory use besides the result does not grow with the bank; a memory-mapped bank is read
once per `QUERIES_HELD` queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.cpu.matmul import matmul_transposed
from backbones.cpu.threads import LONG, FollowingThreads
from tasks.features.shards import FeatureRows
from tasks.reporter import Reporter, SilentReporter

BY_NUMPY = ("cpu",)
"""Device types on which NumPy selects and sorts, with vector instructions that torch lacks."""
LAST_ROW = (1 << 32) - 1
POSITIVE = (1 << 31) - 1
NOTHING = -0x7F800001 << 32
"""Key smaller than all others: a similarity of minus infinity."""
HELD = 1 << 23
"""Maximum number of similarities in memory, unless a single query has more."""
BLOCK = 4_096
"""Gallery rows per block."""


class RunningTopK:
    """The `kept` best rows of each query.

    Each block is compared with the worst of them; larger values are buffered and merged when the buffer is full. After
    most of the bank, a block costs one comparison.
    """

    def __init__(self, queries: int, kept: int, device: torch.device) -> None:
        self._kept = kept
        self._keys = torch.full((queries, 2 * kept), NOTHING, dtype=torch.int64, device=device)
        self._used = torch.full((queries,), kept, dtype=torch.int64, device=device)
        self._worst = torch.full((queries, 1), -torch.inf, device=device)

    def update(self, similarity: Tensor, first: int) -> None:
        """Add `similarity` [queries, block] to the bank's rows from `first` on; blocks must come in ascending order."""
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
        """Write the entries in `above` to the next positions of their query; `counts` are free."""
        chosen = _places(above)
        query = torch.repeat_interleave(counts)
        row = chosen - query * similarity.shape[1] + first
        next_place = torch.arange(len(counts), device=counts.device) * self._keys.shape[1] + self._used
        place = torch.arange(len(chosen), device=counts.device)
        place += (next_place - (counts.cumsum(0) - counts)).index_select(0, query)
        self._keys.view(-1).index_copy_(0, place, _keys(similarity.view(-1).index_select(0, chosen), row))
        self._used += counts

    def topk(self) -> tuple[Tensor, Tensor]:
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
    """Flat positions of the true entries of a matrix, counted per row."""
    if chosen.device.type not in BY_NUMPY:
        return chosen.view(-1).nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(chosen.numpy()))


def _largest(keys: Tensor, count: int) -> Tensor:
    """The `count` largest entries of every row, in any order."""
    if keys.device.type not in BY_NUMPY:
        return keys.topk(count, dim=1, sorted=False).values
    return torch.from_numpy(np.partition(keys.numpy(), keys.shape[1] - count, axis=1)[:, -count:])


def _sorted(keys: Tensor) -> Tensor:
    if keys.device.type not in BY_NUMPY:
        return keys.sort(dim=1).values
    return torch.from_numpy(np.sort(keys.numpy(), axis=1))


def _keys(similarity: Tensor, rows: Tensor) -> Tensor:
    """Sortable integer keys: the bits of a float32 ascend with positive values and descend with negative ones."""
    bits = (similarity + 0.0).view(torch.int32)  # normalises -0.0 to 0.0
    return (_turned(bits).to(torch.int64) << 32) | (LAST_ROW - rows)


def _similarities(keys: Tensor) -> Tensor:
    return _turned((keys >> 32).to(torch.int32)).view(torch.float32)


def _turned(bits: Tensor) -> Tensor:
    """Map the bits of negative floats to ascending order; its own inverse."""
    return bits ^ ((bits >> 31) & POSITIVE)


QUERIES_HELD = 16384
"""Queries per pass over the bank."""
VOTERS_HELD = 2048
"""Queries per block of the vote."""
SHORTEST = 1e-12
"""Rows with a smaller norm count as zero."""


@dataclass(frozen=True)
class BlockSizes:
    """Numbers of bank rows and queries per block of similarities."""

    bank: int
    queries: int


CACHED, ON_DEVICE = BlockSizes(bank=2048, queries=512), BlockSizes(bank=8192, queries=2048)
"""On a CPU the similarities of a block fit into its cache, and blocks into memory that the allocator reuses."""


@dataclass(frozen=True)
class Neighbours:
    """The most similar bank rows of each query, best first: cosine `similarity` and row `index`, both [n, k]."""

    similarity: Tensor
    index: Tensor


def nearest(
    queries: FeatureRows,
    bank: FeatureRows,
    neighbours: int,
    *,
    device: str = "cpu",
    blocks: BlockSizes | None = None,
    reporter: Reporter | None = None,
) -> Neighbours:
    """Find the `neighbours` rows of `bank` [m, d] most similar to each row of `queries` [n, d].

    Both may be memory-mapped, in float16 or float32; `neighbours` above m is clipped. The similarity of a zero vector
    is 0. On ties the first rows are selected. Besides the result, memory use is at most QUERIES_HELD + 3 blocks of
    rows, ten numbers per similarity of a block and 8 x `neighbours` per query held, of 4 bytes each. `reporter` is
    advanced by the rows of the bank that are read. Raises ValueError for other shapes, an empty bank and NaN.
    """
    if len(queries.shape) != 2 or len(bank.shape) != 2 or queries.shape[1] != bank.shape[1] or not len(bank):
        raise ValueError(f"queries {tuple(queries.shape)} and bank {tuple(bank.shape)} must be rows of one length")
    kept = min(neighbours, len(bank))
    size = blocks or (CACHED if device == "cpu" else ON_DEVICE)
    reporter = reporter or SilentReporter()
    reporter.phase("neighbours", -(-len(queries) // QUERIES_HELD) * len(bank), "images")
    parts = [_searched(held, bank, kept, size, reporter) for _, held in unit_blocks(queries, QUERIES_HELD, device)]
    if not parts:
        parts = [Neighbours(torch.zeros((0, 0), device=device), torch.zeros((0, 0), dtype=torch.int64, device=device))]
    return Neighbours(torch.cat([part.similarity for part in parts]), torch.cat([part.index for part in parts]))


def _searched(queries: Tensor, bank: FeatureRows, kept: int, size: BlockSizes, reporter: Reporter) -> Neighbours:
    """The neighbours of unit-length `queries`, from one pass over the bank."""
    parts = torch.split(queries, size.queries)
    tops = [RunningTopK(len(part), kept, part.device) for part in parts]
    threads, long = FollowingThreads(), queries.device.type == "cpu" and queries.numel() * len(bank) > LONG
    for first, block in unit_blocks(bank, size.bank, str(queries.device)):
        if long:
            threads.update()
        for part, top in zip(parts, tops, strict=True):
            similarity = threads.compute(partial(matmul_transposed, part, block), (part.shape, block.shape))
            threads.follow(partial(top.update, similarity, first))
        reporter.advance(len(block))
    ranked = [top.topk() for top in tops]
    return Neighbours(torch.cat([found for found, _ in ranked]), torch.cat([rows for _, rows in ranked]))


def unit_blocks(rows: FeatureRows, size: int, device: str) -> Iterator[tuple[int, Tensor]]:
    """Unit-length float32 blocks of `rows` on the device, each with its first row's index; zero rows stay zero."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        block = part.clone() if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        yield start, _unit(block.to(device).float(), start)  # in this order half as much is copied to the device


def _unit(block: Tensor, start: int) -> Tensor:
    """Normalise rows to length 1, in place; zero rows stay zero. A norm that is not finite indicates such a value."""
    length = torch.linalg.vector_norm(block, dim=1, keepdim=True)
    if not bool(torch.isfinite(length).all()):
        raise ValueError(f"features hold NaN, infinity or huge numbers in rows {start} to {start + len(block) - 1}")
    return block.div_(length.clamp_min_(SHORTEST))


def vote(found: Neighbours, labels: Tensor, neighbours: int, *, classes: int, temperature: float = 0.07) -> Tensor:
    """Class scores [n, classes] from the first `neighbours` columns of `found`; the votes of a single-label query sum
    to 1.

    `labels` are int64 [m], or 0/1 [m, classes] for several labels per image, where a score is the weighted fraction of
    neighbours with the label. Similarities are relative to the largest, which leaves the weights unchanged.
    """
    kept = min(neighbours, found.index.shape[1])
    weight = torch.softmax(found.similarity[:, :kept] / temperature, dim=1)
    near = labels.to(found.index.device)[found.index[:, :kept]]
    if labels.ndim == 2:
        return torch.einsum("nk,nkc->nc", weight, near.to(weight.dtype))
    return torch.zeros(len(weight), classes, device=weight.device).scatter_add_(1, near, weight)


def classify(  # noqa: PLR0913 - the parameters of a search and of a vote
    queries: FeatureRows,
    bank: FeatureRows,
    labels: npt.NDArray[np.generic],
    *,
    neighbours: Sequence[int],
    classes: int,
    temperature: float = 0.07,
    device: str = "cpu",
    reporter: Reporter | None = None,
) -> npt.NDArray[np.float32]:
    """Class scores [len(neighbours), n, classes] for every k of `neighbours`, from one pass over the bank.

    `queries` [n, d], `bank` [m, d], `labels` int [m] or 0/1 [m, classes]. The predicted class is the argmax, the
    smallest index on a tie.
    """
    known = torch.from_numpy(np.array(labels))
    if len(known) != len(bank):
        raise ValueError(f"{len(known)} labels for {len(bank)} bank rows")
    known = known.to(torch.int64) if known.ndim == 1 else known.to(torch.float32)
    found = nearest(queries, bank, max(neighbours), device=device, reporter=reporter)
    return votes_of(found, known, neighbours, classes=classes, temperature=temperature)


def votes_of(
    found: Neighbours, labels: Tensor, neighbours: Sequence[int], *, classes: int, temperature: float
) -> npt.NDArray[np.float32]:
    """Class scores [len(neighbours), n, classes] from neighbours that have been found, block by block of queries."""
    queries = len(found.index)
    out = np.empty((len(neighbours), queries, classes), dtype=np.float32)
    for row, count in enumerate(neighbours):
        for first in range(0, queries, VOTERS_HELD):
            part = slice(first, first + VOTERS_HELD)
            block = Neighbours(found.similarity[part], found.index[part])
            out[row, part] = vote(block, labels, count, classes=classes, temperature=temperature).cpu().numpy()
    return out


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
