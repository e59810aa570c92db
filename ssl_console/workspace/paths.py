"""Paths of a workspace. The layout is the protocol between all processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from backbones.io.files import WORKSPACE_VARIABLE, make_private_folder, workspace_folder
from ssl_console.system.errors import ConsoleError


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Files of one run (see `ssl_console.workspace.run` for their content)."""

    runs: Path
    """Folder that contains it; the same object for all runs of a workspace."""
    run_id: str

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        """The folder with this path."""
        return cls(path.parent, path.name)

    @property
    def path(self) -> Path:
        return self.runs / self.run_id

    @property
    def spec(self) -> Path:
        """`run.json`: immutable; its presence means queued."""
        return self.path / "run.json"

    @property
    def result(self) -> Path:
        """`result.json`: the outcome, complete or absent."""
        return self.path / "result.json"

    @property
    def predictions(self) -> Path:
        """`predictions.npz`: per-sample outputs."""
        return self.path / "predictions.npz"

    @property
    def part(self) -> Path:
        """`part.npz`: outputs of the first test images, while a run is scored in parts; removed once it is done."""
        return self.path / "part.npz"

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoints of long protocols."""
        return self.path / "checkpoint"

    @property
    def fresh_features(self) -> Path:
        """Folder of the features of a run that shares none with others; removed once it is done."""
        return self.path / "features"

    def tidy(self) -> None:
        """Remove what is no longer needed once the result exists, as far as possible."""
        for folder in (self.checkpoint, self.fresh_features):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            self.part.unlink()

    @property
    def cancel(self) -> Path:
        """Request to cancel: an empty file."""
        return self.path / "cancel"

    @property
    def priority(self) -> Path:
        """Requested priority: an integer; absent means the specification's priority."""
        return self.path / "priority"

    def attempt(self, attempt: int) -> Path:
        """Worker that executes one attempt; written once, by the first to claim it."""
        return self.path / f"attempt.{attempt}.json"

    def events(self, attempt: int) -> Path:
        """Append-only JSON lines of one attempt."""
        return self.path / f"events.{attempt}.jsonl"

    def log(self, attempt: int) -> Path:
        """Standard output and error of one attempt."""
        return self.path / f"log.{attempt}.txt"

    def end(self, attempt: int) -> Path:
        """End of one attempt without a result; written once, by the worker or, when it died, by the supervisor."""
        return self.path / f"end.{attempt}.json"

    def retry(self, attempt: int) -> Path:
        """Request for attempt number `attempt`, after `attempt - 1` has ended."""
        return self.path / f"retry.{attempt}.json"


@dataclass(frozen=True)
class Workspace:
    """One workspace folder."""

    root: Path

    @classmethod
    def find(cls, given: Path | None = None) -> Workspace:
        """Workspace of `--workspace`, else of the environment variable, else the platform's user data folder."""
        try:
            return cls(workspace_folder(given))
        except RuntimeError as error:  # a container's user without an account
            raise ConsoleError(
                f"user {os.geteuid()} has no home folder for a workspace: name one by --workspace or "
                f"${WORKSPACE_VARIABLE}, or set HOME"
            ) from error

    def create(self) -> Workspace:
        """Create the folders that writers expect."""
        for folder in (self.root, self.runs, self.supervisor, self.features, self.weights, self.backbones, self.tasks):
            make_private_folder(folder)
        return self

    @property
    def config(self) -> Path:
        """Optional user settings."""
        return self.root / "config.toml"

    @property
    def backbones(self) -> Path:
        """Cards of the user's own backbones."""
        return self.root / "backbones"

    @property
    def tasks(self) -> Path:
        """Cards of the user's own datasets, tasks and suites."""
        return self.root / "tasks"

    @property
    def trainings(self) -> Path:
        """One folder per watched training."""
        return self.root / "trainings"

    @property
    def races(self) -> Path:
        """One file per race of backbones."""
        return self.root / "races"

    @property
    def results(self) -> Path:
        """The TinyDB file."""
        return self.root / "results.json"

    @cached_property
    def runs(self) -> Path:
        """One folder per run."""
        return self.root / "runs"

    @property
    def supervisor(self) -> Path:
        """Lock, state and log of the supervisor, the `paused` flag, and the logs of its workers."""
        return self.root / "supervisor"

    @property
    def supervisor_state(self) -> Path:
        """State file: slots, devices and waiting reasons."""
        return self.supervisor / "state.json"

    @property
    def supervisor_log(self) -> Path:
        return self.supervisor / "log"

    @property
    def paused(self) -> Path:
        """Request to pause: an empty file."""
        return self.supervisor / "paused"

    @property
    def cache(self) -> Path:
        """Files that can be recomputed."""
        return self.root / "cache"

    @property
    def features(self) -> Path:
        return self.cache / "features"

    @property
    def decoded(self) -> Path:
        """Decoded images that backbones share."""
        return self.cache / "decoded"

    @property
    def examinations(self) -> Path:
        """Findings of the doctor, by subject."""
        return self.cache / "examinations"

    @property
    def weights(self) -> Path:
        """Downloaded and converted checkpoints."""
        return self.root / "weights"

    def run(self, run_id: str) -> RunFolder:
        """Folder of one run, existing or not."""
        return RunFolder(self.runs, run_id)

    def run_entries(self) -> Iterator[RunEntry]:
        """Folders of runs, in no particular order; unfinished ones have a leading dot and are skipped."""
        with suppress(FileNotFoundError, NotADirectoryError):
            trusted = {self.runs.stat().st_uid, os.geteuid(), 0}
            with os.scandir(self.runs) as entries:
                for entry in entries:
                    if entry.is_dir() and not entry.name.startswith("."):
                        with suppress(FileNotFoundError):
                            yield _run_entry(entry, trusted)

    def run_folders(self) -> Iterator[RunFolder]:
        """All runs, in no particular order, without those of guests."""
        yield from (self.run(entry.name) for entry in self.run_entries() if entry.guest is None)


class RunEntry(NamedTuple):
    """Directory entry of a run's folder."""

    name: str
    time_ns: int
    """Modification time in nanoseconds."""
    guest: int | None
    """User id of the creator if it is neither the owner of `runs`, nor this user, nor root: in a shared
    workspace, members of its group may be able to create run folders.
    """


def _run_entry(entry: os.DirEntry[str], trusted: Collection[int]) -> RunEntry:
    """Entry of a folder; for a link, the link's owner counts too."""
    state = entry.stat()
    makers = [state.st_uid, *([entry.stat(follow_symlinks=False).st_uid] if entry.is_symlink() else [])]
    return RunEntry(entry.name, state.st_mtime_ns, next((uid for uid in makers if uid not in trusted), None))
