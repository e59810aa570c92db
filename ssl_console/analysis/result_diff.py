"""Differences between two results, divided into those that affect the score and those that should not. Pure; needs no
numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ssl_console.workspace.predictions import Arrays
from ssl_console.workspace.result import PartDifference, ResultRecord, differences, what_changed

Group = Literal["made of", "run by", "came out"]
"""`made of`: parts of the key, which affect the score. `run by`: code, packages, machine, which should not. `came
out`: selected hyperparameters, and the scores.
"""
UNNAMED = frozenset({"run_id", "key", "column", "made_of", "finished", "duration_s", "warnings", "badges", "source"})
"""Excluded parts of the database row: names, times, and digests of parts that are compared in full."""


@dataclass(frozen=True)
class Change(PartDifference):
    """One difference of two results, and its kind."""

    group: Group


@dataclass(frozen=True)
class Flips:
    """Number of test samples on which two results have different predictions."""

    differing: int
    samples: int

    def __str__(self) -> str:
        return f"Their predictions differ on {self.differing:,} of {self.samples:,} test samples."


@dataclass(frozen=True)
class FieldDifference:
    """The second result next to the first."""

    first: ResultRecord
    second: ResultRecord
    changes: tuple[Change, ...]
    flips: Flips | None = None
    """None without predictions of the same samples."""

    @property
    def moved(self) -> float:
        return self.second.result.value - self.first.result.value

    @property
    def comparable(self) -> bool:
        """Whether the scores are comparable."""
        return (self.first.result.task, self.first.result.metric) == (
            self.second.result.task,
            self.second.result.metric,
        )

    @property
    def same_key(self) -> bool:
        """Whether both are the same measurement, so that equal scores are expected."""
        return not self.of("made of")

    def of(self, group: Group) -> tuple[Change, ...]:
        """Changes of one group."""
        return tuple(change for change in self.changes if change.group == group)

    @property
    def sentence(self) -> str:
        """Summary in words."""
        one, other = self.first.result, self.second.result
        start = f"From {one.run_id} to {other.run_id}"
        if one.task != other.task:
            return f"{start} the measurement differs: {one.task} against {other.task}."
        if one.metric != other.metric:
            return f"{start} the measurement differs: {one.task} by {one.metric} against {other.metric}."
        flipped = "" if self.flips is None else f" {self.flips}"
        if not self.same_key:
            words = what_changed(self.first.identity, self.second.identity) or "the seed changed"
            return f"{start} the score changes by {self.moved:+.2f} points: {words}.{flipped}"
        aside = ", ".join(change.name for change in self.of("run by"))
        others = f" Other differences: {aside}." if aside else ""
        if self.first.metrics == self.second.metrics:
            return f"{start} nothing relevant changed: the same measurement gave the same scores.{others}"
        return (
            f"{start} the score changes by {self.moved:+.3g} points, although it is the same measurement: no "
            f"part that affects the score differs.{flipped}{others}"
        )


def difference(first: ResultRecord, second: ResultRecord, flips: Flips | None = None) -> FieldDifference:
    """All differences between the records of two results."""
    return FieldDifference(first, second, tuple(_changes(first, second)), flips)


def _changes(first: ResultRecord, second: ResultRecord) -> Iterator[Change]:
    groups: tuple[tuple[Group, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("made of", first.identity, second.identity),
        ("run by", _circumstances(first), _circumstances(second)),
        ("came out", _outcome(first), _outcome(second)),
    )
    for group, one, other in groups:
        yield from (Change(part.name, part.first, part.second, group) for part in differences(one, other))


def _circumstances(record: ResultRecord) -> Mapping[str, Any]:
    return {
        "code": record.code.model_dump() if record.code else {},
        "versions": record.versions,
        "machine": record.machine,
        "device": record.result.device,
        "host": record.host,
        "origin": record.result.origin or None,
    }


def _outcome(record: ResultRecord) -> Mapping[str, Any]:
    row = {name: value for name, value in record.result.model_dump(mode="json").items() if name not in UNNAMED}
    measured = {name: row[name] for name in ("value", "ci_low", "ci_high", "n")}
    return {
        "samples": record.samples,
        "chosen": record.hyperparameters,
        **measured,
        "metrics": record.metrics,
        "badges": [badge.name for badge in record.badges],
    }


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
"""Arrays of predictions per sample; the first that both have is compared."""
SAMPLES = ("index", "label", "classes")


def flips(first: Arrays | None, second: Arrays | None) -> Flips | None:
    """None without arrays of the same samples in the same order."""
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
