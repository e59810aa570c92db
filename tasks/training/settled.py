"""Had a training come to rest when it ended? A question to its losses alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRETCHES = 10
FEWEST = 4
"""Steps in a stretch below which nothing can be told."""
SURE = 3.0
"""Standard errors by which the last stretch has to lie below the one before."""
NOTABLE = 0.05
"""And by which share of the loss."""


def still_falling(losses: Sequence[float]) -> bool:
    """Whether the last tenth of the losses lies clearly below the tenth before it."""
    length = len(losses) // STRETCHES
    if length < FEWEST:
        return False
    before, last = (np.asarray(losses[-2 * length : -length]), np.asarray(losses[-length:]))
    fall = float(before.mean() - last.mean())
    error = float(np.sqrt((before.var(ddof=1) + last.var(ddof=1)) / length))
    return fall > max(SURE * error, NOTABLE * abs(float(before.mean())))
