"""Logistic losses in NumPy and double precision, for problems whose operations are cheaper than PyTorch's calls.

Class-major arrays [classes, samples] of margins, as in `objective`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.solvers.logistic.objective import Binary, Likelihood, Multinomial

Floats = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
Short = Single | Floats
"""In the precision of the products along directions."""
Coefficients = Floats
EVERY = slice(None)


@dataclass(frozen=True)
class HostState:
    """Mean loss at some margins, probabilities [c, n], and the derivative [c, n] of the mean loss by the logits.

    Probabilities are of the classes, or for independent columns of the wrong label.
    """

    loss: float
    chance: Floats
    residual: Floats


class HostLoss(ABC):
    """Mean loss as a function of margins [c, n]; `groups` of columns can be minimised independently."""

    groups: int

    @abstractmethod
    def margins(self, logits: Floats, sample: slice = EVERY) -> Floats:
        """Margins [c, n] of `logits` [c, n] of all or some samples, which are overwritten. Linear in the logits."""

    @abstractmethod
    def state(self, margins: Floats) -> HostState:
        """Loss, probabilities and derivative at `margins` [c, n]."""

    @abstractmethod
    def bend(self, state: HostState, *, double: bool = False) -> Callable[[Short], Short]:
        """Hessian product at `state`, in single or `double` precision: maps a change of logits [c, n], which it may
        overwrite, to that of the derivative [c, n]."""

    @abstractmethod
    def curvatures(self, state: HostState) -> Floats:
        """p (1 - p) / n of each class and sample [c, n]."""

    @abstractmethod
    def curve(self, state: HostState, span: Floats) -> tuple[Coefficients, Coefficients]:
        """Gradient [groups, m] and Hessian [groups, m, m] along directions with margins `span` [m, c, n]."""

    @abstractmethod
    def centre(self, weights: Short) -> None:
        """Remove from `weights` [c, k], in place, what does not affect the loss."""


class HostSoftmax(HostLoss):
    """Cross-entropy over `classes` for targets [n]."""

    groups = 1

    def __init__(self, targets: npt.NDArray[np.int64], classes: int) -> None:
        self.classes, self.samples, self.targets = classes, len(targets), targets
        self.true = targets * len(targets) + np.arange(len(targets))

    def margins(self, logits: Floats, sample: slice = EVERY) -> Floats:
        """Logits minus the logit of the true class."""
        logits -= np.take_along_axis(logits, self.targets[None, sample], axis=0)
        return logits

    def state(self, margins: Floats) -> HostState:
        """The true class is not part of the sums of exponentials, so that small ones keep their precision."""
        top = np.maximum.reduce(margins, axis=0)
        chance = margins - top
        np.exp(chance, out=chance)
        flat = chance.reshape(-1)
        flat[self.true] = 0.0
        against, least = np.add.reduce(chance, axis=0), np.expm1(-top)
        loss = float(np.add.reduce(top + np.log1p(against + least))) / self.samples
        least += 1.0
        share = 1.0 / (against + least)
        chance *= share
        residual = chance * (1.0 / self.samples)
        residual.reshape(-1)[self.true] = against * share * (-1.0 / self.samples)
        flat[self.true] = least * share
        return HostState(loss, chance, residual)

    def bend(self, state: HostState, *, double: bool = False) -> Callable[[Short], Short]:
        """p times the deviation from the mean under p, of margins, as logits of nearly certain samples would cancel."""
        chance = in_precision(state.chance, double)
        share = chance / chance.dtype.type(self.samples)

        def bent(change: Short) -> Short:
            change -= change.take(self.true)
            change *= share
            change -= chance * np.add.reduce(change, axis=0)
            return change

        return bent

    def curvatures(self, state: HostState) -> Floats:
        """Of every class."""
        return state.chance * (1.0 - state.chance) / self.samples

    def curve(self, state: HostState, span: Floats) -> tuple[Coefficients, Coefficients]:
        """The Hessian is the covariance of the margins under the model."""
        count = len(span)
        weighted = span * state.chance
        mean = np.add.reduce(weighted, axis=1)
        flat = span.reshape(count, -1)
        hessian = weighted.reshape(count, -1) @ flat.T - mean @ mean.T
        gradient = flat @ state.residual.reshape(-1)
        return gradient[None], hessian[None] / self.samples

    def centre(self, weights: Short) -> None:
        """Subtract the mean over classes."""
        weights -= np.add.reduce(weights, axis=0) * (1.0 / self.classes)


class HostBinary(HostLoss):
    """Independent logistic losses of columns for 0/1 `targets` [c, n]."""

    def __init__(self, targets: Floats) -> None:
        self.groups, self.samples = targets.shape
        self.targets = targets
        self.sign = 1.0 - 2.0 * targets

    def margins(self, logits: Floats, sample: slice = EVERY) -> Floats:
        """Logits of absent labels, negated logits of present ones."""
        logits *= self.sign[:, sample]
        return logits

    def state(self, margins: Floats) -> HostState:
        """The exponential is of minus the distance from zero, so it cannot overflow."""
        small = np.exp(-np.abs(margins))
        loss = float(np.add.reduce(np.log1p(small), axis=None) + np.add.reduce(np.maximum(margins, 0.0), axis=None))
        wrong = np.where(margins > 0.0, 1.0, small)
        small += 1.0
        wrong /= small
        return HostState(loss / self.samples, wrong, wrong * self.sign / self.samples)

    def bend(self, state: HostState, *, double: bool = False) -> Callable[[Short], Short]:
        """p (1 - p)."""
        weights = in_precision(self.curvatures(state), double)

        def bent(change: Short) -> Short:
            change *= weights
            return change

        return bent

    def curvatures(self, state: HostState) -> Floats:
        """Of every column."""
        found: Floats = (state.chance - state.chance * state.chance) / self.samples
        return found

    def curve(self, state: HostState, span: Floats) -> tuple[Coefficients, Coefficients]:
        """Each column has its own coefficients."""
        columns = span.transpose(1, 0, 2)
        hessian = (columns * self.curvatures(state)[:, None]) @ columns.transpose(0, 2, 1)
        return (columns @ state.chance[:, :, None])[:, :, 0] / self.samples, hessian

    def centre(self, weights: Short) -> None:
        """Every weight affects the loss."""


def host_loss(likelihood: Likelihood) -> HostLoss:
    """The same loss as `likelihood`. Raises TypeError for an unknown one."""
    if isinstance(likelihood, Multinomial):
        return HostSoftmax(likelihood.targets.numpy(), likelihood.classes)
    if isinstance(likelihood, Binary):
        return HostBinary(likelihood.targets.double().numpy())
    raise TypeError(f"no loss in NumPy for {type(likelihood).__name__}")


def in_precision(values: Short, double: bool) -> Short:
    """`values` in single or `double` precision."""
    return values.astype(np.float64, copy=False) if double else values.astype(np.float32, copy=False)


def dot(first: Short, second: Short) -> float:
    """The inner product of two arrays of the same shape."""
    return float(np.dot(first.reshape(-1), second.reshape(-1)))
