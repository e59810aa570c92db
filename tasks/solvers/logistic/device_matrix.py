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
MARGINS_HELD = 20
"""Arrays [classes, samples] on the device at the peak of a path: directions, iterate, state and temporaries."""
TRIALS_HELD = 64
"""Solutions [classes, dimensions] of a selection stored on the device: those of the grid and its extension."""
CLASSES_AT_ONCE = 1 << 26
"""Elements of the weighted coordinates of several classes on a GPU, which one class does not fully use."""
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


def fits(samples: int, dimensions: int, classes: int, device: torch.device, memory: int | None) -> bool:
    """Whether the samples fit on the device, with `memory` bytes for everything.

    None means four fifths of the free memory of a CUDA device, and no limit elsewhere.
    """
    if memory is None and device.type != "cuda":
        return True
    limit = int(FREE_SHARE * torch.cuda.mem_get_info(device)[0]) if memory is None else memory
    return resident_bytes(samples, dimensions, classes) <= limit


def resident_bytes(samples: int, dimensions: int, classes: int) -> int:
    """Upper bound of the device memory of a path with resident samples: features, coordinates, margins, eigenbasis,
    blocks.

    With streaming, the samples are not included: 4 x 2 d n bytes less. Example: 50,000 x 2,048 with 100 classes need
    2.0 GB.
    """
    leading = min(MOST_LEADING, dimensions) + 1
    basis = 8 * dimensions * (2 * BLOCK + 4 * min(dimensions, samples))
    together = min(classes * leading * samples, CLASSES_AT_ONCE + leading * samples)
    blocks = 4 * (2 * leading * samples + together + 4 * classes * leading**2)
    rows, margins = 2 * (dimensions + 1) * samples, MARGINS_HELD * classes * samples
    trials = TRIALS_HELD * classes * (dimensions + 1)
    return 4 * (rows + margins + trials) + max(basis, blocks)


def is_card(device: torch.device) -> bool:
    """Whether the device runs asynchronously, so that reading a number from it waits for all earlier operations."""
    return device.type == "cuda"
