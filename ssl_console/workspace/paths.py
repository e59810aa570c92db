"""Where everything of one workspace lies. The layout is the protocol between all processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from backbones.io.files import make_private_folder
from backbones.io.workspace_folder import ENVIRONMENT_VARIABLE, workspace_folder
from ssl_console.system.errors import ConsoleError


@dataclass(frozen=True)
class RunFolder:
    """The files of one run (see `ssl_console.workspace.run` for what they hold)."""

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def spec(self) -> Path:
        """`run.json`: immutable; its presence means queued."""
        return self.path / "run.json"

    @property
    def result(self) -> Path:
        """`result.json`: the outcome, whole or absent."""
        return self.path / "result.json"

    @property
    def predictions(self) -> Path:
        """`predictions.npz`: per-sample outputs."""
        return self.path / "predictions.npz"

    @property
    def checkpoint(self) -> Path:
        """Folder from which long protocols resume."""
        return self.path / "checkpoint"

    @property
    def fresh_features(self) -> Path:
        """Folder of the features of a run that shares none with others; away once it is done."""
        return self.path / "features"

    def tidy(self) -> None:
        """Remove what a run has no use for once its result is there, as far as it can be removed."""
        for folder in (self.checkpoint, self.fresh_features):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def cancel(self) -> Path:
        """A request, as an empty file."""
        return self.path / "cancel"

    @property
    def priority(self) -> Path:
        """A request, holding an integer; absent means the spec's priority."""
        return self.path / "priority"

    def attempt(self, attempt: int) -> Path:
        """Who carries one attempt out; written once, by whoever claims it first."""
        return self.path / f"attempt.{attempt}.json"

    def events(self, attempt: int) -> Path:
        """Append-only JSON lines of one attempt."""
        return self.path / f"events.{attempt}.jsonl"

    def log(self, attempt: int) -> Path:
        """Standard output and error of one attempt."""
        return self.path / f"log.{attempt}.txt"

    def end(self, attempt: int) -> Path:
        """How one attempt ended without a result; written once, by the worker or, when that died, by the supervisor."""
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
        """`--workspace`, else the environment variable, else the platform's user data folder."""
        try:
            return cls(workspace_folder(given))
        except RuntimeError as error:  # a container's user without an account
            raise ConsoleError(
                f"user {os.geteuid()} has no home folder for a workspace: name one by --workspace or "
                f"${ENVIRONMENT_VARIABLE}, or set HOME"
            ) from error

    def create(self) -> Workspace:
        """Make the folders that writers expect."""
        for folder in (self.root, self.runs, self.supervisor, self.features, self.weights, self.backbones, self.tasks):
            make_private_folder(folder)
        return self

    @property
    def config(self) -> Path:
        """Optional settings of the user."""
        return self.root / "config.toml"

    @property
    def backbones(self) -> Path:
        """The user's own backbone cards."""
        return self.root / "backbones"

    @property
    def tasks(self) -> Path:
        """The user's own dataset, task and suite cards."""
        return self.root / "tasks"

    @property
    def trainings(self) -> Path:
        """One folder per watched training."""
        return self.root / "trainings"

    @property
    def results(self) -> Path:
        """The TinyDB file."""
        return self.root / "results.json"

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.root / "runs"

    @property
    def supervisor(self) -> Path:
        """Lock, state and log of the supervisor, the `paused` flag, and the logs of its workers."""
        return self.root / "supervisor"

    @property
    def supervisor_state(self) -> Path:
        """Slots, devices and what waits for what, as the supervisor last saw them."""
        return self.supervisor / "state.json"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor did, for people."""
        return self.supervisor / "log"

    @property
    def paused(self) -> Path:
        """A request, as an empty file: start nothing new."""
        return self.supervisor / "paused"

    @property
    def cache(self) -> Path:
        """Everything that can be computed again."""
        return self.root / "cache"

    @property
    def features(self) -> Path:
        """The feature store."""
        return self.cache / "features"

    @property
    def decoded(self) -> Path:
        """Decoded images that backbones share."""
        return self.cache / "decoded"

    @property
    def examinations(self) -> Path:
        """What the doctor found, by what was examined."""
        return self.cache / "examinations"

    @property
    def weights(self) -> Path:
        """Downloaded and converted checkpoints."""
        return self.root / "weights"

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run, existing or not."""
        return RunFolder(self.runs / run_id)

    def run_entries(self) -> Iterator[RunEntry]:
        """The folders of runs, in no particular order; half-made ones have a leading dot and are left out."""
        with suppress(FileNotFoundError, NotADirectoryError):
            trusted = {self.runs.stat().st_uid, os.geteuid(), 0}
            with os.scandir(self.runs) as entries:
                for entry in entries:
                    if entry.is_dir() and not entry.name.startswith("."):
                        with suppress(FileNotFoundError):
                            yield _run_entry(entry, trusted)

    def run_folders(self) -> Iterator[RunFolder]:
        """All runs, in no particular order, but for those of guests."""
        yield from (self.run(entry.name) for entry in self.run_entries() if entry.guest is None)


class RunEntry(NamedTuple):
    """A folder of a run, as the folder of runs lists it."""

    name: str
    time_ns: int
    """Time of its last change."""
    guest: int | None
    """User id of a maker who is neither the owner of `runs`, nor this user, nor root: in a shared workspace, members of
    its group may be able to make run folders.
    """


def _run_entry(entry: os.DirEntry[str], trusted: Collection[int]) -> RunEntry:
    """Of a link, who made that counts too."""
    state = entry.stat()
    makers = [state.st_uid, *([entry.stat(follow_symlinks=False).st_uid] if entry.is_symlink() else [])]
    return RunEntry(entry.name, state.st_mtime_ns, next((uid for uid in makers if uid not in trusted), None))
