"""Watcher of the folder of a training: takes complete checkpoints, submits their runs, and records its state, so that
it can be killed at any time.

No checkpoint is measured twice: a run's id is derived from its work, so submitting it again after a crash finds the
same run.

A training may write for several seconds and does not always rename. A file counts as complete when two polls find it
unchanged and its own format has nothing missing; it is then copied, and the copy is used only if the file has not
changed meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
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
from ssl_console.operations.progress import RunReader
from ssl_console.planning.candidates import LookupContext, resolve_candidates
from ssl_console.planning.plan import make_plan
from ssl_console.planning.submit import submit_runs
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import Placement, RunState
from tasks.catalog.spec import TaskSpec

Describe = Callable[[Path, str], BackboneCard]
"""Inspection of the first checkpoint: makes the card of all from its copy and the name of the training."""
ENDINGS = (".pth", ".pt", ".ckpt", ".safetensors", ".tar", ".bin")
NOT_WRITTEN = re.compile(r"(^\.|~$|\.(tmp|temp|part|partial|incomplete|lock)($|\.)|^tmp)", re.IGNORECASE)
NOT_WEIGHTS = re.compile(r"^(optimizer|scheduler|scaler|rng_state|training_args|events)", re.IGNORECASE)
DEEPEST = 3
"""Folder levels below the watched one, e.g. `version_0/checkpoints/last.ckpt`."""
CHUNK = 1 << 22
STEPS = tuple(
    (re.compile(pattern, re.IGNORECASE), unit)
    for pattern, unit in (
        (r"(?:global_?)?step[=_-]?(\d+)", "step"),
        (r"iter(?:ation)?[=_-]?(\d+)", "step"),
        (r"ep(?:och)?[=_-]?(\d+)", "epoch"),
        (r"checkpoint[=_-]?(\d+)", "checkpoint"),
        (r"(\d+)(?!.*\d)", "checkpoint"),
    )
)


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


@dataclass(frozen=True)
class Sighting:
    """State of a file at one moment."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class CheckpointStep:
    """Step of the training at which a checkpoint was written."""

    number: int
    unit: str
    """`step`, `epoch`, or `checkpoint` where only the order is known."""


def sightings(folder: Path) -> dict[Path, Sighting]:
    """Files that look like checkpoints, with their present state."""
    states = {path: sighting_of(path) for path in _files(folder, DEEPEST)}
    return {path: state for path, state in states.items() if state is not None}


def sighting_of(path: Path) -> Sighting | None:
    """Present state of one file; None when it does not exist: trainings remove old checkpoints."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Sighting(path, status.st_size, status.st_mtime_ns)


def is_whole(path: Path) -> bool:
    """Whether the file is complete by its own format; a format without lengths counts as complete."""
    try:
        if path.suffix == ".safetensors":
            return _safetensors_whole(path)
        with path.open("rb") as file:
            start = file.read(4)
        if start[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                return bool(archive.namelist())
        return bool(start)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def step_of(path: Path) -> CheckpointStep | None:
    """Step in the name of the file, else of its folder; None when neither has a number."""
    for name in (path.name.removesuffix(path.suffix), path.parent.name):
        for pattern, unit in STEPS:
            if found := pattern.search(name):
                return CheckpointStep(int(found[1]), unit)
    return None


def take(seen: Sighting, folder: Path) -> tuple[Path, str] | None:
    """Copy the file under the name of its digest; None when it changed in the meantime, so that it is checked
    again.

    Raises OSError that names the copy when it cannot be written.
    """
    draft = folder / f".{os.getpid()}.copy"
    digest = hashlib.sha256()
    try:
        with seen.path.open("rb") as source, open(draft, "wb", opener=own_opener) as copy:
            while part := source.read(CHUNK):
                digest.update(part)
                copy.write(part)
        whole = _safetensors_whole(draft) if seen.path.suffix == ".safetensors" else is_whole(draft)
        if sighting_of(seen.path) != seen or not whole:
            return None
        place = folder / f"{digest.hexdigest()[:16]}{seen.path.suffix}"
        draft.replace(place)
    except FileNotFoundError:
        return None
    except OSError as error:
        error.filename = error.filename or str(draft)
        raise
    finally:
        draft.unlink(missing_ok=True)
    return place, digest.hexdigest()


def _files(folder: Path, levels: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if NOT_WRITTEN.search(entry.name):
            continue
        if entry.is_dir() and levels:
            yield from _files(Path(entry.path), levels - 1)
        elif entry.name.endswith(ENDINGS) and not NOT_WEIGHTS.match(entry.name) and entry.is_file():
            yield Path(entry.path)


def _safetensors_whole(path: Path) -> bool:
    """Whether the file has its header (eight bytes of length, then JSON with the offsets of all tensors) and the
    last of these offsets.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return False
        header = json.loads(file.read(length))
    ends = [value["data_offsets"][1] for name, value in header.items() if name != "__metadata__"]
    return path.stat().st_size == 8 + length + max(ends, default=0)
