"""Why two results differ: part by part, what changes a number apart from what should not. Pure; needs no numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ssl_console.workspace.predictions import Arrays
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.result_identity import what_changed
from tasks.features.key import Part, flattened

Group = Literal["made of", "run by", "came out"]
"""`made of`: parts of the key, which change the number. `run by`: code, packages, machine, which should not.
`came out`: what was chosen on the way, and the scores."""
UNNAMED = frozenset({"run_id", "key", "column", "made_of", "finished", "duration_s", "warnings", "badges", "source"})
"""Of the row in the database: names, times, and digests of what is compared in full."""


@dataclass(frozen=True)
class Change:
    """One part in which two results differ; None on the side that does not have it."""

    group: Group
    part: str
    """Its dotted name in the record."""
    before: Part
    after: Part


@dataclass(frozen=True)
class Flips:
    """How often two results say something else about the same test sample."""

    differing: int
    samples: int


@dataclass(frozen=True)
class FieldDifference:
    """The second result next to the first."""

    first: ResultRecord
    second: ResultRecord
    changes: tuple[Change, ...]
    flips: Flips | None = None
    """None when their predictions are not of the same samples, or are not there."""

    @property
    def moved(self) -> float:
        """The second score minus the first."""
        return self.second.result.value - self.first.result.value

    @property
    def comparable(self) -> bool:
        """Whether the scores measure the same thing."""
        return (self.first.result.task, self.first.result.metric) == (
            self.second.result.task,
            self.second.result.metric,
        )

    @property
    def same_key(self) -> bool:
        """Whether both are the same measurement, so that the same number is to be expected."""
        return not self.of("made of")

    def of(self, group: Group) -> tuple[Change, ...]:
        """The changes of one group."""
        return tuple(change for change in self.changes if change.group == group)

    @property
    def sentence(self) -> str:
        """All of it in plain words."""
        names = f"{self.first.result.run_id} to {self.second.result.run_id}"
        if not self.comparable:
            return f"From {names} it is another measurement: {_other(self.first, self.second)}."
        if self.same_key:
            return _same_measurement(self, names)
        words = what_changed(_identity(self.first), _identity(self.second)) or "the seed changed"
        return f"From {names} the score moves by {self.moved:+.2f} points: {words}.{_flipped(self.flips)}"


def difference(first: ResultRecord, second: ResultRecord, flips: Flips | None = None) -> FieldDifference:
    """Everything in which the records of two results differ."""
    return FieldDifference(first, second, tuple(_changes(first, second)), flips)


def _changes(first: ResultRecord, second: ResultRecord) -> Iterator[Change]:
    groups: tuple[tuple[Group, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("made of", _identity(first), _identity(second)),
        ("run by", _circumstances(first), _circumstances(second)),
        ("came out", _outcome(first), _outcome(second)),
    )
    for group, one, other in groups:
        before, after = flattened(one), flattened(other)
        for part in dict.fromkeys([*before, *after]):
            if before.get(part) != after.get(part):
                yield Change(group, part, before.get(part), after.get(part))


def _identity(record: ResultRecord) -> Mapping[str, Any]:
    return record.identity


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


def _other(first: ResultRecord, second: ResultRecord) -> str:
    one, other = first.result, second.result
    if one.task != other.task:
        return f"{one.task} against {other.task}"
    return f"{one.task} by {one.metric} against {other.metric}"


def _same_measurement(found: FieldDifference, names: str) -> str:
    if found.first.metrics == found.second.metrics:
        return f"From {names} nothing changed that matters: the same measurement gave the same scores.{_aside(found)}"
    return (
        f"From {names} the score moves by {found.moved:+.3g} points, though it is the same measurement: nothing "
        f"differs that should change the number.{_flipped(found.flips)}{_aside(found)}"
    )


def _aside(found: FieldDifference) -> str:
    parts = [change.part for change in found.of("run by")]
    return f" What else differs: {', '.join(parts)}." if parts else ""


def _flipped(flips: Flips | None) -> str:
    if flips is None:
        return ""
    return f" They say something else about {flips.differing:,} of {flips.samples:,} test samples."


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
