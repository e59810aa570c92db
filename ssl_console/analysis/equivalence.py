"""When two scores are equal for all practical purposes. Pure; needs no numpy.

Two one-sided tests at 5 %: the 90 % interval of the difference lies within the margin. Source: Schuirmann, Journal of
Pharmacokinetics and Biopharmaceutics 15 (1987). Margins are declared by protocols (`ProtocolSpec.margins`).
"""

from __future__ import annotations

from ssl_console.analysis.statistics.paired_tests import PairedTest
from tasks.catalog.protocol import Margin

INNER = 1.644853626951472 / 1.959963984540054
"""Width of a 90 % interval in that of a 95 % one; of Student's with few degrees of freedom it is less."""


def is_within(test: PairedTest, margin: Margin) -> bool:
    """Whether the 90 % interval of the difference lies within the margin."""
    low = test.difference - INNER * (test.difference - test.low)
    high = test.difference + INNER * (test.high - test.difference)
    return -margin.size < low and high < margin.size
