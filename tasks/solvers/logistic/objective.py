"""Objective of a regularisation path: multinomial and binary logistic loss, the grid of strengths, and its settings.

Margins instead of logits keep `1 - p` exact for samples that are nearly certain: there the probability of the true
class rounds to 1, while the optimum at weak regularisation depends on the remainder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.solvers.logistic import device_matrix


@dataclass(frozen=True)
class Settings:
    """Convergence criteria and device of the solver."""

    tolerance: float = 5e-7
    """Maximum estimated distance to the optimum, relative to the objective."""
    max_iterations: int = 1000
    """Per strength; a solution that exceeds it has `converged` false."""
    device: str = "cpu"
    memory: int | None = None
    """Device memory of a path in bytes; see `device_matrix.ProblemSize`.

    Samples that exceed it stay on the host and are streamed. None: four fifths of the free memory of a CUDA device, no
    limit elsewhere: on a CPU two more copies of the samples are then stored in the fastest memory layout.
    """


@dataclass(frozen=True)
class StrengthGrid:
    """Strengths C as defined by scikit-learn, and whether the grid may be extended if the best one is at its end."""

    strengths: tuple[float, ...]
    extensible: bool = True

    @classmethod
    def of_weight_decays(cls, low: float, high: float, count: int, *, extensible: bool = True) -> Self:
        """C = 1 / weight decay, for `count` weight decays between 10^low and 10^high (paper appendix A.2)."""
        return cls(tuple(float(1.0 / decay) for decay in np.logspace(low, high, count)), extensible)

    @property
    def rising(self) -> tuple[float, ...]:
        """Ascending C, i.e. from strong to weak regularisation."""
        return tuple(sorted(self.strengths))

    @property
    def ratio(self) -> float:
        """Ratio of consecutive strengths; 1 for a single one."""
        rising = self.rising
        return float((rising[-1] / rising[0]) ** (1.0 / max(1, len(rising) - 1)))


@dataclass(frozen=True)
class LossState:
    """The loss at one point.

    `loss` is the mean negative log-likelihood. `wrong` [c, n] is the probability of each wrong class (entries of the
    true class are irrelevant, as their margins are 0). `residual` [c, n] is probability minus target.
    """

    loss: float
    wrong: Tensor
    residual: Tensor
    known_curvature: Tensor | None = None
    """`curvature`, where it has been computed."""
    most_curved: float | None = None
    """Its largest value, where the host has read it."""

    def curvatures(self) -> Tensor:
        """p (1 - p) of each class and sample [c, n], from |residual|, which is p or 1 - p."""
        distance = self.residual.abs()
        return distance - distance.square()

    def curvature(self) -> Tensor:
        """Mean p (1 - p) of each class [c], from |residual|, which is p or 1 - p."""
        if self.known_curvature is not None:
            return self.known_curvature
        size = self.residual.shape[1]
        first = torch.linalg.vector_norm(self.residual, ord=1, dim=1)
        second = torch.linalg.vector_norm(self.residual, dim=1).square()
        return torch.sub(first, second) / size


class Likelihood(ABC):
    """Convex loss on margins. Coordinates that can be optimised independently form `groups`."""

    classes: int
    groups: int
    penalised: float = 1.0
    """Factor of a column's squared norm in the penalty."""

    @abstractmethod
    def margins(self, logits: Tensor) -> Tensor:
        """Margins [c, n] of `logits` [c, n], which may be overwritten. Linear in the logits."""

    def state(self, margins: Tensor) -> LossState:
        """Loss and probabilities at `margins` [c, n]."""
        total, wrong, residual = self.evaluate(margins)
        return LossState(float(total) / margins.shape[1], wrong, residual)

    @abstractmethod
    def evaluate(self, margins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of the losses at `margins` [c, n] (float64, on their device), and `wrong` and `residual` of the state."""

    def curve(self, state: LossState, span: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Gradient [groups, m] and Hessian [groups, m, m] of the loss along the directions with margins `span` [m,
        c, n]."""
        packed = self.packed_curve(state, span).cpu().numpy() / span.shape[2]
        return packed[:, :, 0], packed[:, :, 1:]

    @abstractmethod
    def packed_curve(self, state: LossState, span: Tensor) -> Tensor:
        """Gradient and Hessian [groups, m, 1 + m] of the sum of the losses, float64, on the device of `span`."""

    def bend(self, state: LossState) -> Callable[[Tensor], Tensor]:
        """Hessian product at `state`: maps a change of margins [c, n] to the change of the residual [c, n]."""
        weight = self.weight(state)
        return lambda margins: self.bent(weight, margins)

    @abstractmethod
    def weight(self, state: LossState) -> Tensor:
        """What `bent` needs of `state` [c, n]."""

    @abstractmethod
    def bent(self, weight: Tensor, margins: Tensor) -> Tensor:
        """The change of the residual [c, n] for a change of `margins` [c, n], which is overwritten."""

    @abstractmethod
    def centre(self, weights: Tensor) -> Tensor:
        """Remove from `weights` [c, k], in place, the component that does not affect any margin."""

    @abstractmethod
    def prior(self) -> Tensor:
        """Optimal intercepts [c] for zero weights."""


class Multinomial(Likelihood):
    """Softmax cross-entropy over `classes` for int64 `targets` [n]; every class must occur."""

    groups = 1

    def __init__(self, targets: Tensor, classes: int) -> None:
        self.classes = classes
        self.targets = targets
        self.row = targets[None]

    def margins(self, logits: Tensor) -> Tensor:
        """Logits minus the logit of the true class."""
        return logits.sub_(logits.gather(0, self.row))

    def evaluate(self, margins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One exponential per entry; the true class (1) is excluded from the sums so that small terms keep their
        precision."""
        top = margins.amax(dim=0)
        powers = torch.exp_(margins - top).scatter_(0, self.row, 0.0)
        against = powers.sum(dim=0)
        losses = top + torch.log1p(against + torch.expm1(-top))
        total = against + torch.exp(-top)
        residual = powers.div_(total).scatter_(0, self.row, -(against / total)[None])
        return losses.sum(dtype=torch.float64), residual, residual

    def packed_curve(self, state: LossState, span: Tensor) -> Tensor:
        """The Hessian is the covariance of the margins under the model, summed over samples."""
        if device_matrix.is_card(span.device):
            return self._packed_curve_in_parts(state.wrong, span)
        flat = span.flatten(1)
        weighted = state.wrong * span
        mean = weighted.sum(dim=1)
        hessian = weighted.flatten(1) @ flat.T - mean @ mean.T
        return torch.cat([(flat @ state.wrong.flatten())[:, None], hessian], dim=1).double()[None]

    def _packed_curve_in_parts(self, wrong: Tensor, span: Tensor) -> Tensor:
        """The same from parts of the classes, in bounded memory, by products that together fill a GPU."""
        mean = torch.zeros_like(span[:, 0])
        hessian = span.new_zeros(len(span), len(span))
        for part in device_matrix.class_parts(span):
            weighted = wrong[part] * span[:, part]
            hessian += device_matrix.long_products(weighted.flatten(1), span[:, part].flatten(1))
            mean += weighted.sum(dim=1)
        hessian -= device_matrix.long_products(mean, mean)
        return torch.cat([mean.sum(dim=1, dtype=torch.float64)[:, None], hessian.double()], dim=1)[None]

    def weight(self, state: LossState) -> Tensor:
        """p, including the true class."""
        return state.residual.scatter(0, self.row, 1.0 + state.residual.gather(0, self.row))

    def bent(self, weight: Tensor, margins: Tensor) -> Tensor:
        """p times the deviation from the mean under p."""
        mean = (weight * margins).sum(dim=0)
        return margins.sub_(mean).mul_(weight)

    def centre(self, weights: Tensor) -> Tensor:
        """Subtract the mean over classes; otherwise unpenalised intercepts drift and lose digits."""
        return weights.sub_(weights.mean(dim=0))

    def prior(self) -> Tensor:
        """Log class frequencies."""
        return torch.log(torch.bincount(self.targets, minlength=self.classes) / len(self.targets))


class Binary(Likelihood):
    """Independent logistic losses for 0/1 `targets` [c, n]; the sum over columns of each column's mean loss."""

    def __init__(self, targets: Tensor) -> None:
        self.classes = self.groups = len(targets)
        self.targets = targets
        self.sign = 1.0 - 2.0 * targets

    def margins(self, logits: Tensor) -> Tensor:
        """Logits of absent labels, negated logits of present ones."""
        return logits.mul_(self.sign)

    def evaluate(self, margins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Softplus of the margins."""
        wrong = torch.sigmoid(margins)
        loss = torch.nn.functional.softplus(margins).sum(dtype=torch.float64)
        return loss, wrong, wrong * self.sign

    def packed_curve(self, state: LossState, span: Tensor) -> Tensor:
        """Each column has its own coefficients."""
        parts = device_matrix.class_parts(span) if device_matrix.is_card(span.device) else [slice(None)]
        return torch.cat([self._packed_curve(state.wrong[part], span[:, part]) for part in parts])

    def _packed_curve(self, wrong: Tensor, span: Tensor) -> Tensor:
        columns = span.transpose(0, 1)
        weighted = columns * (wrong - wrong.square())[:, None]
        hessian = weighted @ columns.transpose(1, 2)
        gradient = columns @ wrong[:, :, None]
        return torch.cat([gradient, hessian], dim=2).double()

    def weight(self, state: LossState) -> Tensor:
        """p (1 - p), with the sign that converts margins back into logits."""
        return (state.wrong - state.wrong.square()).mul_(self.sign)

    def bent(self, weight: Tensor, margins: Tensor) -> Tensor:
        """The product of both."""
        return margins.mul_(weight)

    def centre(self, weights: Tensor) -> Tensor:
        """Every weight affects a margin."""
        return weights

    def prior(self) -> Tensor:
        """Log odds of each label."""
        return torch.logit(self.targets.mean(dim=1))


class TwoClasses(Binary):
    """Softmax cross-entropy over two classes as a function of one column, the difference of their logits.

    At the optimum the weights of the two classes are opposite, so their squared norms sum to half of the column's.
    """

    penalised = 0.5

    def __init__(self, second: Tensor) -> None:
        super().__init__(second.to(torch.float32)[None])
