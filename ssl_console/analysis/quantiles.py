"""Quantiles of intervals in closed form, so that rankings import no statistics package. Pure; needs no numpy."""

from __future__ import annotations

import math

NORMAL_95 = 1.959963984540054
"""Half the width of a 95 % interval of the normal distribution, in standard deviations."""


def student_95(degrees: float) -> float:
    """The 0.975 quantile of Student's t, to 0.3 %. Fewer than four degrees of freedom are rounded down; more use
    Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5).
    """
    if degrees < 4:
        return {1: 12.7062, 2: 4.3027, 3: 3.1824}[max(1, int(degrees))]
    z = NORMAL_95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / float(degrees) ** power for power, term in enumerate(terms, start=1))
