"""One record of a bundle: do its key, its scores and its interval follow from what lies beside it?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_console.result import ResultRecord
from tasks.recount import Recount, recount
from tasks.spec import canonical

Arrays = Mapping[str, npt.NDArray[np.generic]]

UNCOUNTABLE = (ValueError, IndexError, KeyError, TypeError, ArithmeticError, MemoryError)
"""What counting raises on arrays that somebody made up."""
NEAR = 1e-6
"""How far a score may be off, as far as machines round differently."""
SAME_STREAM = 0.1
"""Share of an interval's width by which a bound may move when another version of numpy draws the resamples."""


@dataclass(frozen=True)
class Recounted:
    """What came of one record."""

    problems: tuple[str, ...]
    counted: int
    not_counted: tuple[str, ...]


def check_record(record: ResultRecord, arrays: Arrays | None) -> Recounted:
    """Check a record against its own identity, and against its predictions where there are any."""
    way = None if arrays is None else recount(arrays)
    if arrays is None or way is None:
        return Recounted(tuple(_own(record)), 0, tuple(record.metrics))
    try:
        again = way.metrics(arrays)
        from_predictions = [
            *_scores(record, again, way.near),
            *_interval(record, way, arrays),
            *_number(record, arrays),
        ]
    except UNCOUNTABLE as error:
        return Recounted((*_own(record), f"its predictions cannot be counted: {error}"), 0, tuple(record.metrics))
    counted = [name for name in record.metrics if name in again]
    missed = tuple(name for name in record.metrics if name not in again)
    return Recounted((*_own(record), *from_predictions), len(counted), missed)


def _own(record: ResultRecord) -> Iterator[str]:
    """What a record says twice."""
    result, identity = record.result, record.identity
    key = _sha256(identity)
    if result.key != key:
        yield f"key is {result.key[:16]}, the parts in identity give {key[:16]}"
    column = _sha256({"data": identity.get("data"), "task": identity.get("task")})
    if result.column != column:
        yield f"column is {result.column[:16]}, the task and the data in identity give {column[:16]}"
    if result.seed != identity.get("seed"):
        yield f"seed is {result.seed}, in identity it is {identity.get('seed')}"
    value = record.metrics.get(result.metric)
    if value is None or abs(value - result.value) > NEAR:
        yield f"value is {result.value}, {result.metric} is {value}"
    if not result.ci_low - NEAR <= result.value <= result.ci_high + NEAR:
        yield f"value {result.value} is outside its interval, {result.ci_low} to {result.ci_high}"


def _scores(record: ResultRecord, again: Mapping[str, float], near: float) -> Iterator[str]:
    for name, value in record.metrics.items():
        if name in again and not abs(value - again[name]) <= near:
            yield f"{name} is {value}, its predictions give {again[name]}"


def _interval(record: ResultRecord, way: Recount, arrays: Arrays) -> Iterator[str]:
    result = record.result
    found = way.interval(arrays, result.metric)
    if found is None or found.method != record.interval_method:
        return
    same = record.versions.get("numpy") == version("numpy")
    allowed = NEAR if same or found.method == "wilson" else SAME_STREAM * (found.high - found.low)
    for name, value, again in (("ci_low", result.ci_low, found.low), ("ci_high", result.ci_high, found.high)):
        if not abs(value - again) <= allowed:
            yield f"{name} is {value}, its predictions give {again}"


def _number(record: ResultRecord, arrays: Arrays) -> Iterator[str]:
    """How many samples the score is over."""
    samples = next((len(arrays[name]) for name in ("label", "classes", "index") if name in arrays), None)
    if samples is not None and samples != record.result.n:
        yield f"n is {record.result.n}, its predictions are of {samples}"


def _sha256(parts: Any) -> str:  # noqa: ANN401 - JSON
    return hashlib.sha256(canonical(parts)).hexdigest()
