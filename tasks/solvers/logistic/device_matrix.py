"""Sample matrix for products on a device: resident there, or on the host and streamed in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backbones.cpu.matmul import PackedMatrix, matmul_transposed

BLOCK = 16_384
"""Rows per block, for streaming and for conversion to double precision."""
FREE_SHARE = 0.8
"""Fraction of free CUDA memory that a path uses by default."""
PEAK_BYTES = {(False, False): 54, (False, True): 74, (True, False): 84, (True, True): 112}
"""Bytes per class and sample on the device at the peak of a path, by whether the classes are independent labels, whose
states have two arrays, and whether graphs keep arguments, results and temporaries of their own. Seven margins of
directions are 28 of them, the others are the iterate, its state and temporaries."""
NOT_YET = 12
"""Of these bytes, those that are not needed while blocks are computed."""
MOST_REPLAYED = 1 << 23
"""Classes times samples up to which graphs are used: beyond, an operation on as many float32 numbers moves 64 MB, which
takes the memory of an H200 (4.8 TB/s) 14 us, longer than the host needs to start it."""
WEIGHTS_HELD = 13
"""Arrays [classes, dimensions] on the device: directions, iterate, gradient and temporaries."""
TRIALS_HELD = 64
"""Solutions [classes, dimensions] of a selection stored on the device: those of the grid and its extension."""
CLASSES_AT_ONCE = 1 << 26
"""Elements of the weighted coordinates of several classes on a GPU, which one class does not fully use."""
BLOCKS_AT_ONCE = 1 << 24
"""Elements of the blocks of several classes that are inverted at once."""
AT_ONCE = 1 << 24
"""Elements of the weighted directions of several classes, which are computed in parts."""
MOST_PARTS, SHORTEST_PART = 512, 512
"""Parts of the rows of `long_products`: several for each multiprocessor of a large GPU, each long enough to be read at
the speed of its memory."""
MOST_LEADING = 192
"""Maximum number of leading coordinates of `newton_direction` where memory is limited, without the intercept."""


@dataclass(frozen=True)
class DeviceMatrix:
    """`values` [n, k] for products on `device`; if `streamed`, copied there block by block.

    `spacious`: memory is not limited, and products may use two more copies to be faster.
    """

    values: Tensor
    device: torch.device
    streamed: bool = False
    spacious: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Row ranges and their rows on the device; a single block if resident."""
        if self.streamed:
            return device_blocks(self.values, self.device)
        return iter([(slice(0, len(self.values)), self.values)])

    def blocks_of_bounded_size(self) -> Iterator[tuple[slice, Tensor]]:
        """Row ranges and their rows, at most `BLOCK` rows on a GPU, for operations that need as much memory again."""
        return device_blocks(self.values, self.device) if is_card(self.device) else self.blocks()

    def logits(self, weights: Tensor) -> Tensor:
        """[c, n] of `weights` [c, k]."""
        if not self.streamed:
            return self._samples.left_multiply(weights)
        return torch.cat([matmul_transposed(weights, block) for _, block in self.blocks()], dim=1)

    def transpose_matmul(self, residual: Tensor) -> Tensor:
        """Sum [c, k] of the rows, weighted by `residual` [c, n]."""
        if not self.streamed:
            return self._coordinates.left_multiply(residual)
        total = residual.new_zeros(len(residual), self.values.shape[1])
        for place, block in self.blocks():
            total.addmm_(residual[:, place], block)
        return total

    @cached_property
    def _samples(self) -> PackedMatrix:
        return PackedMatrix(self.values, packable=self.spacious)

    @cached_property
    def _coordinates(self) -> PackedMatrix:
        return PackedMatrix(self.values.T, packable=self.spacious)


def device_blocks(values: Tensor, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Row ranges of `values` [n, k] and their rows on the device."""
    for start in range(0, len(values), BLOCK):
        place = slice(start, min(start + BLOCK, len(values)))
        yield place, values[place].to(device, non_blocking=True)


@dataclass(frozen=True)
class ProblemSize:
    """Shape of a selection; `labels`: its classes are independent."""

    samples: int
    dimensions: int
    classes: int
    held: int = 0
    """Samples for validation."""
    labels: bool = False

    def fits(self, device: torch.device, memory: int | None) -> bool:
        """Whether the samples fit on the device, with `memory` bytes for everything.

        None means four fifths of the free memory of a CUDA device, and no limit elsewhere.
        """
        if memory is None and device.type != "cuda":
            return True
        limit = int(FREE_SHARE * torch.cuda.mem_get_info(device)[0]) if memory is None else memory
        return self.bytes() <= limit

    def bytes(self, *, streamed: bool = False) -> int:
        """Upper bound of the device memory of a selection.

        The largest of what the basis, the coordinates, the joined coordinates of the final fit, and a path need. With
        streaming, the samples are not included. Example: 50,000 x 2,048 with 100 classes and 12,500 samples for
        validation need 1.4 GB.
        """
        total, width, block = self.samples + self.held, self.dimensions + 1, min(BLOCK, self.samples)
        copies, rows = (0, 0) if streamed else (4 * self.samples * self.dimensions, 4 * total * width)
        directions = 8 * self.dimensions * min(self.dimensions, self.samples)
        solutions = 4 * TRIALS_HELD * self.classes * width + directions
        needed = (
            copies + 16 * block * self.dimensions + 4 * directions,
            copies + rows * self.samples // total + 2 * directions + 16 * block * width,
            2 * rows + solutions,
            rows + solutions + self._path_bytes(total),
        )
        return max(needed) + streamed * 8 * block * width

    def _path_bytes(self, samples: int) -> int:
        """What a path needs next to coordinates and solutions: margins, weights, leading coordinates, blocks."""
        leading, classes = min(MOST_LEADING, self.dimensions) + 1, self.classes
        margins, some = classes * samples, min(classes * leading**2, BLOCKS_AT_ONCE + leading**2)
        weighted = min(classes * leading * samples, CLASSES_AT_ONCE + leading * samples)
        held = PEAK_BYTES[self.labels, margins <= MOST_REPLAYED]
        steps = held * margins + 4 * leading * samples
        blocks = (held - NOT_YET) * margins + 4 * (3 * leading * samples + max(weighted + 2 * some, 4 * some))
        return 4 * classes * (WEIGHTS_HELD * (self.dimensions + 1) + leading**2) + max(steps, blocks)


def class_parts(span: Tensor) -> Iterator[slice]:
    """Ranges of the classes of `span` [m, c, n] with at most `AT_ONCE` elements together, or those of one [c, n]."""
    directions, classes, samples = span.shape
    step = max(1, min(AT_ONCE, classes * samples) // (directions * samples))
    for start in range(0, classes, step):
        yield slice(start, start + step)


def long_products(first: Tensor, second: Tensor) -> Tensor:
    """Inner products [m, p] of few but long rows [m, k] and [p, k], as sums over many parts of the rows.

    A library computes such a product by one thread block or a few, and leaves the others of a GPU idle.
    """
    parts = min(MOST_PARTS, first.shape[1] // SHORTEST_PART)
    if parts < 2:
        return first @ second.T
    length = first.shape[1] // parts
    whole = parts * length
    rows, columns = (one[:, :whole].view(len(one), parts, length).transpose(0, 1) for one in (first, second))
    return torch.bmm(rows, columns.transpose(1, 2)).sum(dim=0).addmm_(first[:, whole:], second[:, whole:].T)


def is_card(device: torch.device) -> bool:
    """Whether the device runs asynchronously, so that reading a number from it waits for all earlier operations."""
    return device.type == "cuda"
