"""When two scores are equal for all practical purposes: margins by metric. Pure; needs no numpy.

Two one-sided tests at 5 %: the 90 % interval of the difference lies within the margin. Source: Schuirmann, Journal of
Pharmacokinetics and Biopharmaceutics 15 (1987).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssl_console.analysis.statistics.paired_tests import PairedTest

INNER = 1.644853626951472 / 1.959963984540054
"""Width of a 90 % interval in that of a 95 % one; of Student's with few degrees of freedom it is less."""


@dataclass(frozen=True)
class Margin:
    """Largest difference that does not matter."""

    size: float
    unit: str

    def __str__(self) -> str:
        return f"{self.size:g} {self.unit}"


POINT = Margin(1.0, "point")
MARGINS: Mapping[str, Margin] = {
    "mean-angle": Margin(0.5, "degrees"),
    "median-angle": Margin(0.5, "degrees"),
    "mse": Margin(0.001, "of squared error"),
    "lpips-alex": Margin(0.01, "of distance"),
    "lpips-vgg": Margin(0.01, "of distance"),
}
"""By metric; percentages have one point."""


def margin_of(metric: str, sizes: Mapping[str, float] | None = None) -> Margin:
    """The margin of a metric; `sizes` are the user's, by metric, in its own unit."""
    found = MARGINS.get(metric, POINT)
    return Margin((sizes or {}).get(metric, found.size), found.unit)


def is_within(test: PairedTest, margin: Margin) -> bool:
    """Whether the 90 % interval of the difference lies within the margin."""
    low = test.difference - INNER * (test.difference - test.low)
    high = test.difference + INNER * (test.high - test.difference)
    return -margin.size < low and high < margin.size
