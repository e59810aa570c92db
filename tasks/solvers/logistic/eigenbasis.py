"""The features in the eigenbasis of their second moments, in which L2 regularisation has the same form.

Centring is exact because the intercept is free, rotation because the penalty is rotation invariant, and omitting
directions without variance because the optimum has no weight in them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.cpu.matmul import matmul_transposed
from tasks.solvers.logistic import device_matrix
from tasks.solvers.logistic.device_matrix import DeviceMatrix, ProblemSize, device_blocks
from tasks.solvers.logistic.objective import Likelihood, Settings

ROW_SPACE_BELOW = 0.75
"""With fewer samples than this fraction of the dimensions, the basis spans the samples instead of all dimensions."""
CHEAP = 256
"""Maximum number of dimensions for which the eigenbasis is always computed in float64."""
PANEL = 512
"""Rows of the second moments computed at once."""
RESOLVED = 1e-6
"""Second moments below this fraction of the largest are dominated by float32 rounding."""
NEGLIGIBLE = 1e-13
"""Second moments below this fraction of the largest are rounding errors."""
NEARLY_COMPLETE = 0.9
"""Fraction of dimensions from which the others are kept as well: a basis of all dimensions is not extended later."""
DEFLATED = 64
"""Number of directions whose part of the features is subtracted before the product with the others."""
EXTRA = 8
"""Additional directions of the subspace iteration, for accuracy."""
ITERATIONS = 2
"""Of the subspace iteration."""
SAMPLED = 4096
"""Maximum number of samples from which leading directions are computed."""
ROWS = 1024
"""Samples converted to double precision at once for a reflected basis: 16 MB for 2,048 dimensions."""


@dataclass(frozen=True)
class Basis:
    """Orthonormal `directions` [d, r] in order of descending second moment about `mean` [d] (float64)."""

    mean: Tensor
    directions: Tensor
    reflection: Tensor | None = None
    """[r, d - r] of the block reflection that completes the first r directions, with `turn` [r, r]."""
    turn: Tensor | None = None

    @property
    def complete(self) -> bool:
        """Whether it spans all dimensions."""
        return self.directions.shape[0] == self.directions.shape[1]

    def coordinates(self, features: Tensor) -> Tensor:
        """Coordinates [n, 1 + r] of `features` [n, d] in this basis, float32; the first is 1 for the intercept.

        They stay on the device of the features. With directions computed in float64, the part of the features in the
        first `DEFLATED` of them is removed in float64 before the others are multiplied in float32: a coordinate of
        small variance would otherwise have the rounding error of the large features.
        """
        if self.reflection is not None and self.turn is not None:
            return self._reflected(features, self.reflection, self.turn)
        found = features.new_ones(len(features), 1 + self.directions.shape[1], dtype=torch.float32)
        exact = self.directions.dtype == torch.float64
        first = self.directions[:, : DEFLATED if exact else 0]
        others = self.directions[:, first.shape[1] :].float().T.contiguous()
        mean = self.mean if exact else self.mean.float()
        shift = ((mean.double() - self.mean) @ self.directions.double()).float()

        def coordinates_of(block: Tensor) -> Tensor:
            centred, parts = block.to(mean.dtype) - mean, []
            if exact:
                parts = [matmul_transposed(centred, first.T.contiguous())]
                centred -= matmul_transposed(parts[0], first.contiguous())
            if len(others):
                parts.append(matmul_transposed(centred.float(), others))
            return torch.cat([part.float() for part in parts], dim=1).add_(shift)

        for place, block in device_blocks(features, self.mean.device):
            found[place, 1:] = coordinates_of(block).to(found.device)
        return found

    def _reflected(self, features: Tensor, reflection: Tensor, turn: Tensor) -> Tensor:
        """The same in float64 for directions completed by a block reflection, by products with r columns only."""
        found = features.new_ones(len(features), 1 + self.directions.shape[1], dtype=torch.float32)
        count = len(reflection)
        first, across = self.directions[:, :count].T.contiguous(), reflection.T.contiguous()
        for start in range(0, len(features), ROWS):
            centred = features[start : start + ROWS].double() - self.mean
            leading = matmul_transposed(centred, first)
            rest = centred[:, count:].add_(matmul_transposed(centred[:, :count] @ turn - leading, across))
            found[start : start + ROWS, 1 : 1 + count] = leading
            found[start : start + ROWS, 1 + count :] = rest
        return found

    def restore(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [c, d] and intercepts [c] for raw features, from `weights` [c, 1 + r] in this basis (float64)."""
        raw = weights[:, 1:].double() @ self.directions.double().T
        return raw, weights[:, 0] - raw @ self.mean

    def moved(self, shift: Tensor) -> Basis:
        """The same directions about the mean with coordinates `shift` [r] (float64)."""
        return replace(self, mean=self.mean + self.directions.double() @ shift)

    def express(self, weights: Tensor, intercepts: Tensor) -> Tensor:
        """Inverse of `restore`, for weights in the span of the basis, as float32."""
        about_mean = intercepts + weights.double() @ self.mean
        return torch.cat([about_mean[:, None], weights.double() @ self.directions.double()], dim=1).float()


def eigenbasis(features: Tensor, device: torch.device) -> Basis:
    """Eigenbasis of the second moments of `features` [n, d], float32, computed and stored on `device`.

    For few samples from their n x n inner products, else from the d x d second moments. float64 where it is cheap or
    needed, because inner products square the condition number.
    """
    mean = _total(features, device) / len(features)
    if len(features) < ROW_SPACE_BELOW * features.shape[1]:
        return _row_space(mean, features.to(device).double() - mean)
    if features.shape[1] > CHEAP:
        values, vectors = torch.linalg.eigh(_moments(features, mean, torch.float32))
        if float((values < RESOLVED * values[-1]).float().mean()) < 0.1:
            return Basis(mean, vectors.flip(1))
    values, vectors = torch.linalg.eigh(_moments(features, mean, torch.float64))
    kept = values > NEGLIGIBLE * values[-1]
    if float(kept.float().mean()) >= NEARLY_COMPLETE:
        kept = torch.ones_like(kept)
    return Basis(mean, vectors[:, kept].flip(1))


def leading_directions_suffice(samples: int, dimensions: int, columns: int) -> bool:
    """Whether `leading_basis` saves more time than the iterations that a full eigenbasis saves, on one core of a CPU.

    Measured: the products, float64 moments and eigenvectors against a tenth of the path over so many `columns`.
    """
    full = 0.018 * dimensions + 0.13 * dimensions**2 / samples
    return dimensions > CHEAP and samples >= ROW_SPACE_BELOW * dimensions and columns < full


def leading_basis(features: Tensor) -> Basis:
    """All dimensions of `features` [n, d], of which only the first `DEFLATED` directions are approximate eigenvectors.

    For the solver it is as good as an eigenbasis, whose computation takes longer than a path over few classes: where
    the penalty does not dominate, the Hessian differs from its diagonal in any basis. The directions are those of a
    subspace iteration (Halko et al. 2011, algorithm 4.4), completed by a block reflection (Schreiber & Parlett 1988).
    """
    mean = _total(features, features.device) / len(features)
    first = _leading_directions(features, mean)
    count = first.shape[1]
    left, values, right = torch.linalg.svd(first[:count])
    turn: Tensor = -left @ right
    both = torch.eye(count, dtype=first.dtype) + right.T @ (values[:, None] * right)
    reflection = torch.linalg.solve(both, first[count:].T)
    others = torch.cat([turn - first[:count], -first[count:]]) @ reflection
    others[count:].diagonal().add_(1.0)
    return Basis(mean, torch.cat([first, others], dim=1), reflection, turn)


def _leading_directions(features: Tensor, mean: Tensor) -> Tensor:
    """Orthonormal [d, `DEFLATED`] float64, near the leading eigenvectors of the second moments of some samples."""
    picked = features[:: -(-len(features) // SAMPLED)]
    rows = (picked.double() - mean).float()
    columns = rows.T.contiguous()
    made = torch.Generator().manual_seed(0)
    span = torch.randn(DEFLATED + EXTRA, len(mean), generator=made)
    for _ in range(ITERATIONS):
        span = torch.linalg.qr(matmul_transposed(matmul_transposed(span, rows), columns).T).Q.T.contiguous()
    exact = torch.linalg.qr(span.T.double()).Q
    seen = matmul_transposed(exact.T.float().contiguous(), rows).double()
    _, vectors = torch.linalg.eigh(seen @ seen.T)
    leading: Tensor = (exact @ vectors).flip(1)
    return leading[:, :DEFLATED]


def extended(basis: Basis, features: Tensor, more: Tensor) -> Basis:
    """Basis of the span of `features` and `more` rows, about their common mean.

    Keeps the directions of `basis` and adds those that `more` needs: close to an eigenbasis of both, at a fraction of
    the cost.
    """
    device = basis.mean.device
    mean = (_total(features, device) + _total(more, device)) / (len(features) + len(more))
    known = basis.directions
    rest = torch.cat([more.to(device).double() - mean, (basis.mean - mean)[None]])
    largest = float(rest.square().sum())
    exact = known.double()
    rest = rest - (rest @ exact) @ exact.T
    new = _row_space(mean, rest, floor=NEGLIGIBLE * largest).directions
    return Basis(mean, torch.cat([exact, new - exact @ (exact.T @ new)], dim=1))


def _total(features: Tensor, device: torch.device) -> Tensor:
    sums = [block.sum(dim=0, dtype=torch.float64) for _, block in device_blocks(features, device)]
    return torch.stack(sums).sum(dim=0)


def _moments(features: Tensor, mean: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums of products about the mean [d, d] for `eigh`, which reads only the lower triangle."""
    total = mean.new_zeros(len(mean), len(mean), dtype=dtype)
    for _, block in device_blocks(features, mean.device):
        centred = (block.to(dtype) - mean.to(dtype)).T.contiguous()
        for start in range(0, len(mean), PANEL):
            stop = start + PANEL
            total[start:stop, :stop] += matmul_transposed(centred[start:stop], centred[:stop])
        del centred  # before the next block's
    return total


def _row_space(mean: Tensor, exact: Tensor, floor: float = 0.0) -> Basis:
    values, vectors = torch.linalg.eigh(exact @ exact.T)
    kept = values > max(float(NEGLIGIBLE * values[-1]), floor)
    return Basis(mean, (exact.T @ (vectors[:, kept] / values[kept].sqrt())).flip(1))


class Design:
    """Coordinates [n, 1 + r] of the samples and the two products with them, counted in `passes`."""

    def __init__(self, rows: DeviceMatrix, basis: Basis) -> None:
        self.basis = basis
        self.rows = rows
        sums = [block.square().sum(dim=0) for _, block in self.rows.blocks_of_bounded_size()]
        self.moments = torch.stack(sums).sum(dim=0) / len(self)
        self.passes = 0
        self._leading: DeviceMatrix | None = None

    @classmethod
    def within(
        cls,
        features: Tensor,
        basis: Callable[[Tensor], Basis],
        likelihood: Likelihood,
        settings: Settings,
        held: int = 0,
    ) -> Design:
        """Design of `features` in the `basis` found from them, resident on the device if they fit together with `held`
        samples that will be transformed, else streamed."""
        device = torch.device(settings.device)
        resident = size_of(features, likelihood, held).fits(device, settings.memory)
        place = features.to(device) if resident else features
        found = basis(place)
        rows = DeviceMatrix(found.coordinates(place), found.mean.device, not resident, settings.memory is None)
        return cls(rows, found)

    def joined(self, more: DeviceMatrix) -> Design:
        """Design of these samples and `more`, given by their coordinates in this basis [m, 1 + r], about their
        common mean."""
        values = torch.cat([self.rows.values, more.values])
        shift = values[:, 1:].mean(dim=0, dtype=torch.float64)
        values[:, 1:].sub_(shift.to(values.dtype))
        return Design(replace(self.rows, values=values), self.basis.moved(shift.to(self.basis.mean.device)))

    def split(self, first: Tensor, second: Tensor) -> tuple[Design, DeviceMatrix]:
        """Design of the samples `first` (indices) about their mean, and the coordinates of `second` in its basis.

        The basis is that of all samples of this design, in which those of both parts are available.
        """
        values, others = self.rows.values[first], self.rows.values[second]
        shift = values[:, 1:].mean(dim=0, dtype=torch.float64)
        for part in (values, others):
            part[:, 1:].sub_(shift.to(part.dtype))
        basis = self.basis.moved(shift.to(self.basis.mean.device))
        return Design(replace(self.rows, values=values), basis), replace(self.rows, values=others)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    @property
    def width(self) -> int:
        """Number of coordinates, including the intercept."""
        return self.rows.values.shape[1]

    @property
    def spacious(self) -> bool:
        """Whether memory for copies of the coordinates is not limited; false on a GPU and for streamed samples."""
        return self.rows.spacious and not self.rows.streamed and not device_matrix.is_card(self.rows.device)

    @cached_property
    def moments_on_host(self) -> npt.NDArray[np.float32]:
        """Second moments of the coordinates, read once."""
        return self.moments.cpu().numpy()

    def transform(self, features: Tensor) -> DeviceMatrix:
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
        return self.rows.transpose_matmul(residual).div_(len(self))

    def leading_columns(self, count: int, precision: torch.dtype) -> DeviceMatrix:
        """The first `count` coordinates, resident on the device."""
        known = self._leading.values if self._leading else None
        if known is None or known.shape[1] != count or known.dtype != precision:
            parts = [block[:, :count].to(precision) for _, block in self.rows.blocks()]
            self._leading = replace(self.rows, values=torch.cat(parts).contiguous(), streamed=False)
        assert self._leading is not None
        return self._leading

    def forget_leading(self) -> None:
        """Release the leading coordinates, which are copied again on the next access."""
        self._leading = None


def size_of(features: Tensor, likelihood: Likelihood, held: int = 0) -> ProblemSize:
    """Size of a selection with `features` [n, d] and `held` samples for validation."""
    return ProblemSize(len(features), features.shape[1], likelihood.classes, held, labels=likelihood.groups > 1)


@functools.cache
def rough_precision(device: torch.device) -> torch.dtype:
    """Sufficient precision for a search direction: bfloat16 on devices that multiply it faster, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
