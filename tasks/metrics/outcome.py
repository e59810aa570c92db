"""Outcome of a protocol: scores, interval and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OVER_POOLS = "half-splits of the pool"
"""Method of intervals of few-shot accuracies: variance over pools of images."""
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


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
    """What a selection on the reported images would have given: a diagnostic, never the score.

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
