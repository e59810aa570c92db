"""Record of a watched training, rewritten as a whole after every change."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from backbones.catalog.card import BackboneCard
from backbones.io.files import make_private_folder, write_atomically
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.records import Record
from ssl_console.workspace.result import Result
from tasks.metrics.outcome import NORMAL_95

Status = Literal["taken", "queued", "done", "failed", "skipped"]


class WatchedCheckpoint(Record):
    """A checkpoint and the state of its evaluation."""

    file: str
    """Path relative to the watched folder."""
    size: int
    mtime_ns: int
    sha256: str = ""
    step: int
    unit: str = "checkpoint"
    backbone: str = ""
    """Name under which its results are listed; empty when it is skipped."""
    status: Status
    run_ids: tuple[str, ...] = ()
    stored: str = ""
    """Its copy in the workspace, while it is needed."""


class WatchedTraining(Record):
    """A watched folder."""

    folder: str
    name: str
    tasks: tuple[str, ...]
    preset: str | None = None
    every: int = 1
    template: BackboneCard | None = None
    """Card of every checkpoint except for name and file; None until the first one was inspected."""
    checkpoints: tuple[WatchedCheckpoint, ...] = ()

    def known(self, file: str, size: int, mtime_ns: int) -> bool:
        """Whether exactly this state of the file was processed."""
        return any((one.file, one.size, one.mtime_ns) == (file, size, mtime_ns) for one in self.checkpoints)

    def with_checkpoint(self, checkpoint: WatchedCheckpoint) -> WatchedTraining:
        """Record with this checkpoint in place of an earlier state of the same one."""
        key = (checkpoint.file, checkpoint.size, checkpoint.mtime_ns)
        rest = [one for one in self.checkpoints if (one.file, one.size, one.mtime_ns) != key]
        ordered = sorted([*rest, checkpoint], key=lambda one: (one.step, one.mtime_ns, one.file))
        return self.model_copy(update={"checkpoints": tuple(ordered)})


def training_folder(workspace: Workspace, folder: Path) -> Path:
    """Folder of a watched folder's record, lock and copies."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return workspace.trainings / f"{folder.name[:40]}-{digest}"


def read_training(place: Path) -> WatchedTraining | None:
    """The record; None for a training that was never watched. Raises ConsoleError for a damaged file."""
    path = place / "training.json"
    try:
        return WatchedTraining.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConsoleError(f"{path} is damaged: move it away to have its checkpoints evaluated again") from error


def write_training(place: Path, training: WatchedTraining) -> None:
    """Write the record. Raises OSError."""
    make_private_folder(place)
    write_atomically(place / "training.json", training.model_dump_json(indent=1).encode())


def trainings(workspace: Workspace) -> Iterator[WatchedTraining]:
    """All trainings that were ever watched in this workspace; damaged records are left out."""
    if not workspace.trainings.is_dir():
        return
    for place in sorted(workspace.trainings.iterdir()):
        try:
            found = read_training(place)
        except (ConsoleError, OSError):
            continue
        if found is not None:
            yield found


PATIENCE = 3
"""Number of checkpoints after the best one that must be worse before it is reported as the peak."""
CONFIDENCE = 1.645
"""Standard errors by which they must be worse: 95 %, one-sided."""
REFERENCES = 6


@dataclass(frozen=True)
class TransferPoint:
    """A checkpoint that was measured on all tasks."""

    step: int
    backbone: str
    mean: float
    error: float
    """Standard error of the mean, from the test samples of every task."""
    scores: Mapping[str, float]


@dataclass(frozen=True)
class TransferCurve:
    """All points by step, and the means of other backbones on the same tasks."""

    points: tuple[TransferPoint, ...]
    references: Mapping[str, float]
    unit: str = "step"
    improvement: str = ""
    """Whether the training still improves, by paired tests on the same images; empty where they were not made."""
    stopped: bool = False
    """Whether these tests show that it has stopped improving."""

    @property
    def best(self) -> TransferPoint | None:
        """The highest point; the earliest of equal ones."""
        return max(self.points, key=lambda point: (point.mean, -point.step), default=None)

    @property
    def verdict(self) -> str:
        """Whether transfer has peaked, in one sentence."""
        best = self.best
        if best is None:
            return "no checkpoint has been measured on all tasks yet"
        after = [point for point in self.points if point.step > best.step]
        if len(after) < PATIENCE:
            return f"best so far at {self.unit} {best.step:,} ({best.mean:.1f})"
        last = after[-PATIENCE:]
        loss = best.mean - sum(point.mean for point in last) / len(last)
        # for independent errors; the checkpoints share test images, so the true error is smaller
        error = math.hypot(best.error, math.sqrt(sum(point.error**2 for point in last)) / len(last))
        if loss > CONFIDENCE * error:
            return (
                f"peaked at {self.unit} {best.step:,} ({best.mean:.1f}): the last {len(last)} checkpoints are "
                f"{loss:.1f} points below it"
            )
        return f"level since {self.unit} {best.step:,} ({best.mean:.1f}): later ones differ by less than the noise"

    @property
    def peaked(self) -> bool:
        """Whether later checkpoints are clearly worse."""
        return self.verdict.startswith("peaked")


def curve_of(training: WatchedTraining, results: Iterable[Result]) -> TransferCurve:
    """Curve of a training from all results of the workspace.

    References are backbones with results for the same tasks in the same columns; of many, a selection from best to
    worst.
    """
    by_backbone: dict[str, dict[str, Result]] = defaultdict(dict)
    for result in sorted(results, key=lambda one: one.finished):
        if result.task in training.tasks and result.source == "mine" and result.seed == 0:
            by_backbone[result.backbone][result.task] = result
    complete = {name: rows for name, rows in by_backbone.items() if len(rows) == len(training.tasks)}
    own = {one.backbone: one for one in training.checkpoints if one.backbone}
    points = [_point(own[name].step, name, rows) for name, rows in complete.items() if name in own]
    others = {name: _mean(rows.values()) for name, rows in complete.items() if not name.startswith("training/")}
    units = [one.unit for one in training.checkpoints]
    return TransferCurve(
        tuple(sorted(points, key=lambda point: point.step)),
        _some(others),
        max(set(units), key=units.count, default="step"),
    )


def _point(step: int, name: str, rows: Mapping[str, Result]) -> TransferPoint:
    errors = [(result.ci_high - result.ci_low) / (2 * NORMAL_95) for result in rows.values()]
    scores = {task: result.value for task, result in rows.items()}
    return TransferPoint(step, name, _mean(rows.values()), math.sqrt(sum(e * e for e in errors)) / len(errors), scores)


def _mean(rows: Iterable[Result]) -> float:
    values = [result.value for result in rows]
    return sum(values) / len(values)


def _some(means: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(means.items(), key=lambda item: -item[1])
    if len(ordered) <= REFERENCES:
        return dict(ordered)
    places = {round(place * (len(ordered) - 1) / (REFERENCES - 1)) for place in range(REFERENCES)}
    return dict(ordered[place] for place in sorted(places))
