"""Quantiles and intervals in closed form, so that rankings import no statistics package. Pure; needs no numpy."""

from __future__ import annotations

import math

NORMAL_95 = 1.959963984540054
"""Half the width of a 95 % interval of the normal distribution, in standard deviations."""


EPISODE_FACTOR = 1.96
"""The paper's rounded factor of intervals over episodes (appendix A.3)."""


def wilson_bounds(share: float, images: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion of `images`, 0 to 1."""
    squared = NORMAL_95**2
    centre = (share + squared / (2 * images)) / (1 + squared / images)
    half = NORMAL_95 / (1 + squared / images) * math.sqrt(share * (1 - share) / images + squared / (4 * images**2))
    return centre - half, centre + half


def wilson_reach(images: float) -> float:
    """Width in percentage points of Wilson's interval without any error among `images`."""
    return 100.0 * NORMAL_95**2 / (images + NORMAL_95**2)


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
