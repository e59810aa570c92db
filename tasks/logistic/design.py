"""The features as the solver multiplies with them: rotated, intercept first, then by falling second moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tasks.logistic.basis import Basis
from tasks.logistic.rows import Rows, fits
from tasks.logistic.settings import Settings


class Design:
    """Coordinates [n, 1 + r] of the samples and the two products with them, which it counts as `passes`."""

    def __init__(self, rows: Rows, basis: Basis) -> None:
        self.basis = basis
        self.rows = rows
        self.moments = torch.stack([block.square().sum(dim=0) for _, block in self.rows.blocks()]).sum(dim=0) / len(
            self
        )
        self.passes = 0
        self._leading: Rows | None = None

    @classmethod
    def within(cls, features: Tensor, basis: Callable[[Tensor], Basis], classes: int, settings: Settings) -> Design:
        """Of `features` on the device if they fit into its memory, else beside it; `basis` is found from them there."""
        device = torch.device(settings.device)
        resident = fits(len(features), features.shape[1], classes, device, settings.memory)
        place = features.to(device) if resident else features
        found = basis(place)
        rows = Rows(found.coordinates(place), found.mean.device, not resident, settings.memory is None)
        return cls(rows, found)

    def joined(self, more: Rows) -> Design:
        """Of these samples and `more`, known by their coordinates in this basis [m, 1 + r], about their common mean."""
        values = torch.cat([self.rows.values, more.values])
        shift = values[:, 1:].mean(dim=0, dtype=torch.float64)
        values[:, 1:].sub_(shift.to(values.dtype))
        return Design(replace(self.rows, values=values), self.basis.moved(shift.to(self.basis.mean.device)))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    @property
    def width(self) -> int:
        """Number of coordinates, the intercept included."""
        return self.rows.values.shape[1]

    def beside(self, features: Tensor) -> Rows:
        """Coordinates of other samples [m, d] in the same basis, for products on the same device."""
        place = features if self.rows.streamed else features.to(self.rows.device)
        return replace(self.rows, values=self.basis.coordinates(place))

    def logits(self, weights: Tensor) -> Tensor:
        """Logits [c, n] of `weights` [c, 1 + r]."""
        self.passes += 1
        return self.rows.logits(weights)

    def gradient(self, residual: Tensor) -> Tensor:
        """Gradient [c, 1 + r] of the mean loss whose derivative by the logits is `residual` [c, n]."""
        self.passes += 1
        return self.rows.gathered(residual).div_(len(self))

    def leading(self, count: int, precision: torch.dtype) -> Rows:
        """The first `count` coordinates, on the device."""
        known = self._leading.values if self._leading else None
        if known is None or known.shape[1] != count or known.dtype != precision:
            parts = [block[:, :count].to(precision) for _, block in self.rows.blocks()]
            self._leading = replace(self.rows, values=torch.cat(parts).contiguous(), streamed=False)
        assert self._leading is not None
        return self._leading


def rough_precision(device: torch.device) -> torch.dtype:
    """What is enough for a direction: bfloat16 where the device multiplies it faster than float32, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
