"""Intervals of results from earlier versions, recomputed where their method is invalid.

Few-shot intervals over episodes treat episodes that share images as independent; bootstrap percentiles of mean
per-class accuracy have too little coverage for few or unequal classes, and so do the first intervals of mean average
precision for few images. A result's record stays unchanged; listings and comparisons use the interval recomputed from
the run's predictions, or a badge where these are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import TYPE_CHECKING

from ssl_console.workspace.result import Result, ResultRecord
from tasks.metrics.outcome import NORMAL_95

if TYPE_CHECKING:
    from ssl_console.workspace.predictions import Arrays

OVER_EPISODES, OVER_DISJOINT = "normal over episodes", "normal over episodes without a common image"
BOOTSTRAP = "bootstrap"
HALVES = ("halves", "halves, extrapolated")
FEW_IMAGES = 500
"""Number of images below which the coverage of these intervals of mean average precision is too low."""
OLD = "old interval"
"""Name of the badge."""

Records = Callable[[str], ResultRecord | None]
Outputs = Callable[[str], "Arrays | None"]


def outdated(result: Result) -> bool:
    """Whether the result's interval may come from an invalid method; rows of earlier versions do not name theirs."""
    if result.source != "mine":
        return False
    if result.protocol_name.startswith("few-shot"):
        return result.interval_method in {"", OVER_EPISODES}
    if result.metric == "map11":
        return result.n < FEW_IMAGES and result.interval_method in {"", *HALVES}
    return result.metric == "mean-per-class" and result.interval_method in {"", BOOTSTRAP}


def recounted(result: Result, records: Records, outputs: Outputs) -> Result:
    """Result with a valid interval, or with the badge `old interval`; unchanged if it already has one."""
    if not outdated(result):
        return result
    record = records(result.run_id)
    if record is not None and record.interval_method not in {OVER_EPISODES, BOOTSTRAP, *HALVES}:
        return result.model_copy(update={"interval_method": record.interval_method})
    again = (
        _over_disjoint(record) if result.protocol_name.startswith("few-shot") else _from_predictions(result, outputs)
    )
    return again or result.model_copy(update={"badges": (*result.badges, OLD)})


def _over_disjoint(record: ResultRecord | None) -> Result | None:
    """Conservative interval: over only as many episodes as the pool can fill without reusing an image."""
    if record is None:
        return None
    sizes = [record.parameters.get(name) for name in ("ways", "shots", "queries")]
    deviation, pool = record.diagnostics.get("episode_deviation"), record.samples.get("pool")
    ways, shots, queries = (size if isinstance(size, int) else 0 for size in sizes)
    if not isinstance(deviation, int | float) or not pool or not ways:
        return None
    disjoint = min(pool // (ways * (shots + queries)), record.result.n)
    if disjoint < 2:
        return None
    value, half = record.result.value, NORMAL_95 * deviation / sqrt(disjoint)
    low, high = max(0.0, value - half), min(100.0, value + half)
    return record.result.model_copy(update={"ci_low": low, "ci_high": high, "interval_method": OVER_DISJOINT})


def _from_predictions(result: Result, outputs: Outputs) -> Result | None:
    from tasks.metrics.rescore import classification  # noqa: PLC0415 - needs scipy, which most commands do without

    arrays = outputs(result.run_id)
    way = None if arrays is None else classification(arrays)
    if arrays is None or way is None:
        return None
    found = way.interval(arrays, result.metric)
    if found is None:
        return None
    update = {"ci_low": found.low, "ci_high": found.high, "interval_method": found.method}
    return result.model_copy(update=update)
