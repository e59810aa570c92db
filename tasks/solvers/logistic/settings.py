"""Settings of a regularisation path and its grid of strengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Settings:
    """When a solution is good enough, and where the arithmetic happens."""

    tolerance: float = 5e-7
    """Largest estimated distance to the optimum, relative to the objective."""
    max_iterations: int = 1000
    """Per strength; a solution that needs more is returned with `converged` false."""
    device: str = "cpu"
    memory: int | None = None
    """Bytes that a path may take of the device; `rows.resident_bytes` says what it takes.

    Samples that are too large for it stay on the host and are streamed. None: four fifths of what is free on a CUDA
    device, no limit elsewhere: a CPU then keeps two more copies of the samples, laid out as it multiplies fastest."""


@dataclass(frozen=True)
class StrengthGrid:
    """Strengths C in scikit-learn's sense, and whether a choice on the edge may extend them."""

    strengths: tuple[float, ...]
    extensible: bool = True

    @classmethod
    def of_weight_decays(cls, low: float, high: float, count: int, *, extensible: bool = True) -> Self:
        """C = 1 / weight decay, for `count` weight decays between 10^low and 10^high (paper appendix A.2)."""
        return cls(tuple(float(1.0 / decay) for decay in np.logspace(low, high, count)), extensible)

    @property
    def rising(self) -> tuple[float, ...]:
        """From strong to weak regularisation."""
        return tuple(sorted(self.strengths))

    @property
    def ratio(self) -> float:
        """Factor from one strength to the next; 1 for a single one."""
        rising = self.rising
        return float((rising[-1] / rising[0]) ** (1.0 / max(1, len(rising) - 1)))
