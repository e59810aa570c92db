"""Scores of predicted colours: R squared in percent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.metrics.confidence_intervals import bootstrap
from tasks.metrics.outcome import Interval

Colours = npt.NDArray[np.floating]
"""[n, 3 + hues]: see `tasks.evaluation.splits.colour`."""
Floats = npt.NDArray[np.float64]
CHANNELS = ("red", "green", "blue")
HEADLINE = "mean-colour"


def scores(predicted: Colours, colours: Colours) -> dict[str, float]:
    """R squared in percent of mean colour (together and per channel) and hue histogram; arrays are [n, 3 + hues]."""
    parts = {HEADLINE: slice(0, 3), "hue-histogram": slice(3, None)}
    parts |= {name: slice(place, place + 1) for place, name in enumerate(CHANNELS)}
    return {name: explained(predicted[:, part], colours[:, part]) for name, part in parts.items()}


def interval(predicted: Colours, colours: Colours) -> Interval:
    """Interval of the headline score, by bootstrap over the test images."""
    true, estimate = (values[:, :3].astype(np.float64) for values in (colours, predicted))
    errors = ((estimate - true) ** 2).sum(axis=1)
    squares = (true**2).sum(axis=1)

    def score(weights: npt.NDArray[np.float64]) -> Floats:
        spread = weights @ squares - ((weights @ true) ** 2).sum(axis=1) / weights.sum(axis=1)
        shares: Floats = 100 * (1 - (weights @ errors) / np.maximum(spread, np.finfo(np.float64).tiny))
        return shares

    return bootstrap(score, len(colours))


def explained(predicted: Colours, colours: Colours) -> float:
    """R squared in percent over all columns together. If the targets are constant: 100 without error, else 0."""
    estimate, true = predicted.astype(np.float64), colours.astype(np.float64)
    error = float(((estimate - true) ** 2).sum())
    spread = float(((true - true.mean(axis=0)) ** 2).sum())
    if spread == 0:
        return 100.0 if error == 0 else 0.0
    return 100 * (1 - error / spread)
