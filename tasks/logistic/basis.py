"""The features in the eigenbasis of their own second moments, where L2 regularisation looks the same.

Centring is exact because the intercept is free, the rotation because the penalty is rotation invariant, and leaving
out directions in which no sample extends because the optimum has no weight there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROW_SPACE_BELOW = 0.75
"""With fewer samples than this share of the dimensions, the basis spans the samples instead of all dimensions."""
CHEAP = 1024
"""Up to so many dimensions the eigenbasis is always found in float64."""
RESOLVED = 1e-6
"""Second moments below this share of the largest drown in the rounding of float32."""
NEGLIGIBLE = 1e-13
"""Second moments below this share of the largest are rounding."""


@dataclass(frozen=True)
class Basis:
    """Orthonormal `directions` [d, r] by falling second moment about `mean` [d], which is float64."""

    mean: Tensor
    directions: Tensor

    def coordinates(self, features: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """`features` [n, d] in this basis, after a first coordinate of 1 for the intercept [n, 1 + r].

        Directions found in float64 are multiplied in float64, whatever the result is rounded to: a coordinate of
        small variance would otherwise carry the rounding of the large features that it is made of.
        """
        precision = torch.promote_types(self.directions.dtype, dtype)
        rotated = (features.double() - self.mean).to(precision) @ self.directions.to(precision)
        return torch.cat([rotated.new_ones(len(rotated), 1, dtype=dtype), rotated.to(dtype)], dim=1)

    def restore(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [c, d] and intercepts [c] for raw features, from `weights` [c, 1 + r] in this basis."""
        raw = weights[:, 1:] @ self.directions.T.to(weights.dtype)
        return raw, weights[:, 0] - (raw.double() @ self.mean).to(weights.dtype)

    def express(self, weights: Tensor, intercepts: Tensor) -> Tensor:
        """The inverse of `restore`, as far as the weights lie in the span of the basis."""
        about_mean = intercepts + (weights.double() @ self.mean).to(weights.dtype)
        return torch.cat([about_mean[:, None], weights @ self.directions.to(weights.dtype)], dim=1)


def eigenbasis(features: Tensor) -> Basis:
    """The eigenbasis of the second moments of `features` [n, d], float32.

    Few samples: from their n x n inner products. Many samples: from the d x d second moments. float64 where it is
    cheap or needed, because inner products square the condition number.
    """
    mean = features.mean(dim=0, dtype=torch.float64)
    exact = features.double() - mean
    if len(features) < ROW_SPACE_BELOW * features.shape[1]:
        return _row_space(mean, exact)
    if features.shape[1] > CHEAP:
        centred = exact.to(torch.float32)
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        if float((values < RESOLVED * values[-1]).float().mean()) < 0.1:
            return Basis(mean, vectors.flip(1))
    values, vectors = torch.linalg.eigh(exact.T @ exact)
    return Basis(mean, vectors[:, values > NEGLIGIBLE * values[-1]].flip(1))


def extended(basis: Basis, features: Tensor, more: Tensor) -> Basis:
    """A basis of the span of `features` and `more` rows, about their common mean.

    Keeps the directions of `basis` and adds what `more` needs besides, so that it is an eigenbasis of neither but
    close to one of both, at a fraction of the cost.
    """
    mean = torch.cat([features, more]).mean(dim=0, dtype=torch.float64)
    known = basis.directions
    if known.shape[0] == known.shape[1]:
        return Basis(mean, known)
    rest = torch.cat([more.double() - mean, (basis.mean - mean)[None]])
    largest = float(rest.square().sum())
    exact = known.double()
    rest = rest - (rest @ exact) @ exact.T
    new = _row_space(mean, rest, floor=NEGLIGIBLE * largest).directions
    return Basis(mean, torch.cat([exact, new - exact @ (exact.T @ new)], dim=1))


def _row_space(mean: Tensor, exact: Tensor, floor: float = 0.0) -> Basis:
    values, vectors = torch.linalg.eigh(exact @ exact.T)
    kept = values > max(float(NEGLIGIBLE * values[-1]), floor)
    return Basis(mean, (exact.T @ (vectors[:, kept] / values[kept].sqrt())).flip(1))
