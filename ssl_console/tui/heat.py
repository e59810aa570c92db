"""Heat: where a value lies within its column, as a level that a colour and a sign both tell.

The colours run along one line of lightness from blue to yellow (after the cividis map), which people with any
of the common colour deficiencies see in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

LEVELS = 8
RAMP = ("#00224e", "#1f3a6d", "#434e6c", "#5f636e", "#7d7c78", "#9f9675", "#c4b56c", "#ead94c")
FEW_ON_DARK = ("#00005f", "#00005f", "#262626", "#303030", "#3a3a3a", "#444444", "#4e4e4e", "#5f5f00")
FEW_ON_LIGHT = ("#afafd7", "#c6c6c6", "#d0d0d0", "#dadada", "#e4e4e4", "#eeeeee", "#f5f5f5", "#ffffaf")
"""Backgrounds where the terminal has 256 colours: blue, greys, yellow, for a mixed colour would miss its neighbour."""


def level(value: float, low: float, high: float, *, higher_is_better: bool = True) -> int | None:
    """0 (worst of the column) to `LEVELS - 1` (best); None when the column does not tell its values apart."""
    if not high > low:
        return None
    share = (value - low) / (high - low)
    if not higher_is_better:
        share = 1.0 - share
    return min(LEVELS - 1, max(0, int(share * LEVELS)))


def sign(heat: int | None, steps: Sequence[str]) -> str:
    """The same level as a sign, so that it reads without colour."""
    return " " if heat is None else steps[heat * (len(steps) - 1) // (LEVELS - 1)]
