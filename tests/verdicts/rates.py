"""Error rates of intervals and tests: simulations with known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

S = TypeVar("S")
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Array = npt.NDArray[np.generic]
Arrays = dict[str, Array]
COVERED = (0.93, 0.97)
ALARMS = (0.03, 0.07)
AT_MOST = (0.0, 0.07)
FEW_WRONG = 20
"""With fewer expected wrong answers, coverage over 97 % is not an error: counts are integers, so no interval can
have exactly 95 % for every truth."""
CALTECH: tuple[int, ...] = (
    1,
    2,
    3,
    3,
    4,
    5,
    5,
    7,
    8,
    9,
    9,
    10,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    20,
    20,
    22,
    22,
    23,
    24,
    25,
    26,
)
CALTECH += (27, 28, 28, 29, 30, 30, 31, 32, 33, 34, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45, 47, 48, 49, 50, 50, 52)
CALTECH += (53, 54, 55, 56, 57, 58, 60, 62, 64, 68, 70, 77, 80, 84, 90, 98, 100, 120, 150, 170, 209, 405, 405, 438, 768)


@dataclass(frozen=True)
class Rate:
    """One setting of one simulation."""

    simulation: str
    setting: str
    found: float
    low: float
    high: float
    """Lower and upper bound of the measured rate."""
    repetitions: int

    @property
    def holds(self) -> bool:
        """Whether the rate is in its band, with a tolerance of two standard errors."""
        slack = 2 * np.sqrt(0.05 * 0.95 / self.repetitions) if self.repetitions > 1 else 0.0
        return bool(self.low - slack <= self.found <= self.high + slack)


Simulation = Callable[[float], Iterator[Rate]]
SIMULATIONS: dict[str, Simulation] = {}


def simulation(make: Simulation) -> Simulation:
    """Register a simulation; its name is the function's."""
    SIMULATIONS[make.__name__] = make
    return make


def repeated(count: int, scale: float, least: int = 40) -> range:
    """Scaled number of repetitions, at least `least`."""
    return range(max(least, round(count * scale)))


def population(count: int, scale: float) -> int:
    """Number of images from which a true score is computed: `count`, or a fifth of it in the short form."""
    return count if scale >= 1 else count // 5


def affordable(settings: Sequence[S], scale: float, short: Sequence[S]) -> Sequence[S]:
    """All settings in the long form, and those of `short` in the short one."""
    return settings if scale >= 1 else short


def both_right(
    generator: np.random.Generator, chance: Floats, shared: float = 0.6
) -> tuple[npt.NDArray[np.bool_], ...]:
    """Two equal backbones on the same images: correct or wrong [n] each, with a fraction `shared` of common
    randomness."""
    common = generator.standard_normal(len(chance)) * np.sqrt(shared)
    limit = norm.ppf(chance)
    return tuple(common + generator.standard_normal(len(chance)) * np.sqrt(1 - shared) < limit for _ in range(2))


def predicted(right: npt.NDArray[np.bool_], labels: Labels, classes: int) -> Labels:
    """Labels where correct, the next class where wrong."""
    return np.where(right, labels, (labels + 1) % classes)


def scored(predictions: Labels, classes: int) -> Floats:
    """Class scores with these predictions."""
    return np.eye(classes)[predictions]


def sizes_of(kind: str, total: int, classes: int) -> Labels:
    """Labels [total] with equal, halving or Caltech-like class sizes; every class occurs."""
    if kind == "Caltech-like":
        return np.repeat(np.arange(len(CALTECH)), CALTECH)
    shares = np.ones(classes) if kind == "equal" else 0.5 ** np.arange(classes) + 0.02
    counts = np.maximum(1, np.floor(total * shares / shares.sum()).astype(int))
    counts[0] += max(0, total - counts.sum())
    return np.repeat(np.arange(classes), counts)
