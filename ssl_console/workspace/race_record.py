"""Record of a race of backbones, rewritten as a whole after every change, so that a screen can follow it.

One file for each race in `races/` of the workspace. A race of the same backbones for the same dataset and target
protocol has the same file: repeating the command continues it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from backbones.io.files import make_private_folder, write_atomically
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.records import Record

EntrantStatus = Literal["waiting", "measured", "pruned", "absent"]
"""`waiting` for its result, `measured` and still in the race, `pruned` by this rung, or `absent` from it."""


class RaceEntrant(Record):
    """A backbone on one rung."""

    backbone: str
    status: EntrantStatus
    run_id: str = ""
    """Its run, empty before it is queued: progress of a running rung follows from the runs."""
    score: float | None = None
    low: float | None = None
    """95 % interval of the score."""
    high: float | None = None
    scores: Mapping[str, float] = Field(default_factory=dict)
    """Scores of further predictors, by metric (LogME, H-score, ...)."""
    ahead: float | None = None
    """Points by which the leader of the rung is ahead of it."""
    ahead_low: float | None = None
    """Anytime-valid bounds of `ahead`: it is pruned where `ahead_low` is above `slack` of the rung."""
    ahead_high: float | None = None
    badges: tuple[str, ...] = ()
    """Names of the score's warnings."""


class PredictorError(Record):
    """How often a predictor orders two backbones differently from the target, measured on other datasets."""

    predictor: str
    """A task's protocol, or a metric of it: `knn`, `transferability-sample:logme`."""
    misordered: float
    """Fraction of pairs of backbones; a tie of the predictor counts half."""
    low: float
    """95 % interval of the fraction, over other backbones."""
    high: float
    pairs: int
    datasets: int


class RaceRungRecord(Record):
    """One protocol of a race."""

    task: str
    variant: str
    role: Literal["predictor", "target"]
    state: Literal["planned", "running", "done"]
    expected_s: float | None = None
    """Expected duration of what is left of it; None while unknown."""
    leader: str = ""
    entrants: tuple[RaceEntrant, ...] = ()
    slack: float | None = None
    """Points by which predictions of this rung may err; None while unknown, so that nothing is pruned."""
    errors: tuple[PredictorError, ...] = ()
    """Errors of all predictors of this rung, the most reliable first; empty while unknown."""


class RaceContender(Record):
    """A backbone in the outcome."""

    backbone: str
    probability: float
    """Probability of being the best under the target."""
    regret: float
    """Expected loss against the best one, in points."""
    fate: str
    images_per_s: float | None = None
    memory_mb: float | None = None
    energy_j: float | None = None
    energy_reason: str = ""
    """Why the energy is unknown."""
    licence: str | None = None


class RaceRecord(Record):
    """State of a race."""

    dataset: str
    target: str
    """Task of the target protocol."""
    goal: str
    backbones: tuple[str, ...]
    started: float
    """Seconds since the epoch."""
    updated: float
    budget_s: float | None = None
    state: Literal["running", "ended"]
    rungs: tuple[RaceRungRecord, ...]
    """All rungs in order; planned ones have no scores."""
    contenders: tuple[RaceContender, ...] = ()
    """The most likely best first; empty before the first rung is done."""
    choice: str = ""
    settled: bool = False
    """Whether all others are certainly worse."""
    excluded: Mapping[str, str] = Field(default_factory=dict)
    """Backbones that cannot be measured, with the reason."""
    reason: str = ""
    """Why it ended before the target was measured."""


def race_file(workspace: Workspace, dataset: str, target: str, backbones: Iterable[str]) -> Path:
    """Path of the record of this race."""
    digest = hashlib.sha256("\n".join([dataset, target, *sorted(backbones)]).encode()).hexdigest()[:16]
    return workspace.races / f"{digest}.json"


def write_race(path: Path, race: RaceRecord) -> None:
    """Write the record. Raises OSError."""
    make_private_folder(path.parent)
    write_atomically(path, race.model_dump_json(indent=1).encode())


def races(workspace: Workspace) -> Iterator[RaceRecord]:
    """All races of this workspace that this version can read, the newest first."""
    found = []
    for path in workspace.races.glob("*.json") if workspace.races.is_dir() else ():
        with suppress(OSError, ValidationError):
            found.append(RaceRecord.model_validate_json(path.read_bytes()))
    yield from sorted(found, key=lambda race: -race.updated)
