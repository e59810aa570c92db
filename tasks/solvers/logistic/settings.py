"""Settings of a regularisation path, and the grid of strengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Settings:
    """Convergence criteria and device of the solver."""

    tolerance: float = 5e-7
    """Maximum estimated distance to the optimum, relative to the objective."""
    max_iterations: int = 1000
    """Per strength; a solution that exceeds it has `converged` false."""
    device: str = "cpu"
    memory: int | None = None
    """Device memory of a path in bytes; see `device_matrix.resident_bytes`.

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
