"""On how many test samples two runs differ. Pure; needs numpy."""

from __future__ import annotations

import numpy as np

from ssl_console.difference import Flips
from ssl_console.predictions import Arrays

ANSWERS = (
    "predicted",
    "accuracy",
    "scores",
    "box_scores",
    "pixel_counts",
    "angle_sums",
    "colour_predicted",
    "diffusion",
)
"""Arrays that hold what was said about each sample; the first that both have is compared."""
SAMPLES = ("index", "label", "classes")


def flips(first: Arrays | None, second: Arrays | None) -> Flips | None:
    """None when the arrays are not there, or not of the same samples in the same order."""
    if first is None or second is None:
        return None
    named = [name for name in SAMPLES if name in first and name in second]
    answer = next((name for name in ANSWERS if name in first and name in second), None)
    if not named or answer is None or any(not np.array_equal(first[name], second[name]) for name in named):
        return None
    one, other = first[answer], second[answer]
    if one.shape != other.shape:
        return None
    differing = (one != other).reshape(len(one), -1).any(axis=1)
    return Flips(int(differing.sum()), len(one))
