"""The features as the solver multiplies with them: rotated, intercept first, then by falling second moment."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.logistic.basis import Basis


class Design:
    """Coordinates [n, 1 + r] of the samples and the two products with them, which it counts as `passes`."""

    def __init__(self, features: Tensor, basis: Basis, dtype: torch.dtype) -> None:
        self.features = features
        self.basis = basis
        self.coordinates = basis.coordinates(features, dtype)
        self.moments = self.coordinates.square().mean(dim=0)
        self.passes = 0
        self._leading = self.coordinates[:, :1].contiguous()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.coordinates)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the products."""
        return self.coordinates.dtype

    @property
    def width(self) -> int:
        """Number of coordinates, the intercept included."""
        return self.coordinates.shape[1]

    def logits(self, weights: Tensor) -> Tensor:
        """Logits [c, n] of `weights` [c, 1 + r]."""
        self.passes += 1
        return weights @ self.coordinates.T

    def gradient(self, residual: Tensor) -> Tensor:
        """Gradient [c, 1 + r] of the mean loss whose derivative by the logits is `residual` [c, n]."""
        self.passes += 1
        return (residual @ self.coordinates).div_(len(self))

    def leading(self, count: int) -> Tensor:
        """The first `count` coordinates [n, count], contiguous."""
        if self._leading.shape[1] != count:
            self._leading = self.coordinates[:, :count].contiguous()
        return self._leading

    def in_float64(self) -> Design:
        """The same samples in double precision."""
        exact = Design(self.features, self.basis, torch.float64)
        exact.passes = self.passes
        return exact
