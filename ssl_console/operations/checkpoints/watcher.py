"""Watcher of one folder: takes complete checkpoints, submits their runs, and records its state, so that it can be
killed at any time.

No checkpoint is measured twice: a run's id is derived from its work, so submitting it again after a crash finds the
same run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backbones.catalog.card import BackboneCard, FileWeights
from backbones.io.file_locks import lock
from backbones.io.files import make_private_folder, own_opener
from ssl_console.operations.checkpoints.record import (
    WatchedCheckpoint,
    WatchedTraining,
    read_training,
    training_folder,
    write_training,
)
from ssl_console.operations.checkpoints.scan import CheckpointStep, Sighting, is_whole, sightings, step_of, take
from ssl_console.operations.progress import RunReader
from ssl_console.planning.candidates import LookupContext, resolve_candidates
from ssl_console.planning.plan import make_plan
from ssl_console.planning.submit import submit_runs
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import Placement, RunState
from tasks.catalog.spec import TaskSpec

Describe = Callable[[Path, str], BackboneCard]
"""Inspects the first checkpoint: its copy and the name of the training give the card of all."""


@dataclass
class Watcher:
    """Watcher of one folder; `poll` is called about once a second."""

    training: WatchedTraining
    tasks: Sequence[TaskSpec]
    lookup: LookupContext
    describe: Describe
    results: Callable[[], list[Result]]
    place: Path
    placement: Placement = field(default_factory=Placement)
    fresh: dict[str, Result] = field(default_factory=dict)
    """Results of this watcher's runs by run id, which may not be in the database yet."""
    _before: dict[Path, Sighting] = field(default_factory=dict)
    _reader: RunReader | None = None

    @classmethod
    def open(
        cls, training: WatchedTraining, tasks: Sequence[TaskSpec], lookup: LookupContext, **edges: object
    ) -> Watcher:
        """Resume the work of an earlier watcher, which must have the same tasks. Raises ConsoleError."""
        place = training_folder(lookup.workspace, Path(training.folder))
        known = read_training(place)
        if known is not None and known.tasks != training.tasks:
            raise ConsoleError(
                f"{training.folder} is watched on {', '.join(known.tasks)}: name the same tasks, or move {place} away"
            )
        carried = training if known is None else known.model_copy(update={"every": training.every})
        return cls(carried, tasks, lookup, place=place, **edges)  # type: ignore[arg-type]

    def poll(self) -> bool:
        """Take new checkpoints, submit them, collect finished runs; return whether anything changed."""
        before = self.training
        for seen in self._written():
            self._take(seen)
        for checkpoint in self.training.checkpoints:
            if checkpoint.status == "taken":
                self._submit(checkpoint)
            elif checkpoint.status == "queued":
                self._settle(checkpoint)
        return self.training != before

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still being measured, or may still be being written."""
        new = any(not self._known(seen) for seen in self._before.values())
        return new or any(one.status in {"taken", "queued"} for one in self.training.checkpoints)

    def _written(self) -> Iterator[Sighting]:
        """New files that two polls found unchanged and complete, in the order of writing."""
        now = sightings(Path(self.training.folder))
        settled = [seen for path, seen in now.items() if self._before.get(path) == seen and not self._known(seen)]
        self._before = now
        yield from sorted((seen for seen in settled if is_whole(seen.path)), key=lambda seen: seen.mtime_ns)

    def _known(self, seen: Sighting) -> bool:
        return self.training.known(self._name(seen.path), seen.size, seen.mtime_ns)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.training.folder).as_posix()

    def _take(self, seen: Sighting) -> None:
        step = step_of(seen.path) or CheckpointStep(len(self.training.checkpoints), "checkpoint")
        name = self._name(seen.path)
        about = {"file": name, "size": seen.size, "mtime_ns": seen.mtime_ns, "step": step.number, "unit": step.unit}
        if len(self.training.checkpoints) % self.training.every:
            self._keep(WatchedCheckpoint.model_validate({**about, "status": "skipped"}))
            return
        taken = take(seen, make_private_folder(self.place / "checkpoints"))
        if taken is None:
            return
        copy, digest = taken
        if any(one.sha256 == digest for one in self.training.checkpoints):
            self._keep(WatchedCheckpoint.model_validate({**about, "sha256": digest, "status": "skipped"}))
            return
        if self.training.template is None:
            template = self.describe(copy, self.training.name)
            self.training = self.training.model_copy(update={"template": template})
        backbone = self._backbone(step, digest)
        self._keep(
            WatchedCheckpoint.model_validate(
                {**about, "sha256": digest, "backbone": backbone, "status": "taken", "stored": str(copy)}
            )
        )

    def _backbone(self, step: CheckpointStep, digest: str) -> str:
        """Unique name per content: an overwritten file has one step and several contents."""
        name = f"training/{self.training.name}/{step.unit}-{step.number}"
        taken = any(one.backbone == name for one in self.training.checkpoints)
        return f"{name}-{digest[:6]}" if taken else name

    def _submit(self, checkpoint: WatchedCheckpoint) -> None:
        assert self.training.template is not None
        card = self.training.template.model_copy(
            update={
                "name": checkpoint.backbone,
                "title": checkpoint.file,
                "weights": FileWeights(path=checkpoint.stored),
            }
        )
        candidates = resolve_candidates([card], self.tasks, (0,), self.lookup)
        plan = make_plan(candidates, self.results(), slots=1)
        if plan.missing:
            raise ConsoleError("; ".join(item.advice for item in plan.missing))
        submit_runs(self.lookup.workspace, plan.to_run, self.placement)
        run_ids = tuple(run.run_id for run in plan.runs if run.run_id)
        self._keep(checkpoint.model_copy(update={"status": "queued", "run_ids": run_ids}))

    def _settle(self, checkpoint: WatchedCheckpoint) -> None:
        """Mark the checkpoint as done when all of its runs are; the copy stays where one failed, for a retry."""
        reader = self._reader = self._reader or RunReader(self.lookup.workspace)
        reader.poll()
        runs = reader.runs(checkpoint.run_ids)
        self.fresh.update(reader.results_of(runs))
        if not all(run.state.final for run in runs):
            return
        done = all(run.state is RunState.DONE for run in runs)
        if done:
            Path(checkpoint.stored).unlink(missing_ok=True)
        ended = {"status": "done", "stored": ""} if done else {"status": "failed"}
        self._keep(checkpoint.model_copy(update=ended))

    def _keep(self, checkpoint: WatchedCheckpoint) -> None:
        self.training = self.training.with_checkpoint(checkpoint)
        write_training(self.place, self.training)


@contextmanager
def only_watcher(place: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises ConsoleError when another process watches it."""
    make_private_folder(place)
    with open(place / "lock", "a+", opener=own_opener) as file:
        try:
            lock(file.fileno(), place / "lock", wait=False)
        except BlockingIOError as error:
            file.seek(0)
            raise ConsoleError(f"process {file.read().strip() or '?'} already watches this folder") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
