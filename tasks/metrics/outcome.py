"""Outcome of a protocol: scores, interval and provenance; and intervals in closed form. Needs no numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OVER_POOLS = "half-splits of the pool"
"""Method of intervals of few-shot accuracies: variance over pools of images."""
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
NORMAL_95 = 1.959963984540054
"""Half the width of a 95 % interval of the normal distribution, in standard deviations."""


EPISODE_FACTOR = 1.96
"""The paper's rounded factor of intervals over episodes (appendix A.3)."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval on the scale of its score."""

    low: float
    high: float
    level: float = 0.95
    method: str = "wilson"


def chosen_on_test(
    scores: Sequence[float], choices: Sequence[str], selected: float, *, higher_is_better: bool = True
) -> dict[str, Json]:
    """Result of a selection on the reported images: a diagnostic, never the score.

    `scores` are the candidates' scores on the test images; `selected` is that of the candidate that was chosen without
    them. The difference between the best of `scores` and `selected` is the optimism of such a selection.
    """
    best = (max if higher_is_better else min)(range(len(scores)), key=scores.__getitem__)
    return {
        "score": scores[best],
        "choice": choices[best],
        "selected": selected,
        "candidates": len(scores),
        "note": "chosen on the test images: too high, never ranked",
    }


@dataclass(frozen=True)
class Outcome:
    """The result of one protocol on one dataset with one backbone and one seed.

    Scores that are proportions (accuracy, AP, ECE) are in percent, 0 to 100. `predictions` are per-sample arrays whose
    first axis is the test sample (or the episode), in dataset order.
    """

    headline: str
    """Name of the metric used in rankings; a key of `metrics`."""
    metrics: Mapping[str, float]
    interval: Interval
    samples: Mapping[str, int]
    """Numbers of images used: `train`, `val`, `test` (or `pool` and `episodes`)."""
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    """Hyperparameters selected on validation data."""
    diagnostics: Mapping[str, Json] = field(default_factory=dict)
    """Convergence, edge-of-grid flag, curves, reliability diagram: data that explain the score."""
    predictions: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    higher_is_better: bool = True
    """Whether a higher headline score is better; False for an error."""

    @property
    def value(self) -> float:
        """The headline score."""
        return self.metrics[self.headline]


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
