"""What is known of a watched training, as its file keeps it: written whole after every change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from backbones.card import BackboneCard
from ssl_console.errors import ConsoleError
from ssl_console.files import make_private_folder, write_atomically
from ssl_console.run import Record
from ssl_console.workspace import Workspace

Status = Literal["taken", "queued", "done", "failed", "skipped"]


class Checkpoint(Record):
    """One checkpoint: what it was, and what became of it."""

    file: str
    """Relative to the watched folder."""
    size: int
    mtime_ns: int
    sha256: str = ""
    step: int
    unit: str = "checkpoint"
    backbone: str = ""
    """The name under which its results are listed; empty when it is skipped."""
    status: Status
    run_ids: tuple[str, ...] = ()
    stored: str = ""
    """Its copy in the workspace, while it is needed."""


class Training(Record):
    """A watched folder."""

    folder: str
    name: str
    tasks: tuple[str, ...]
    preset: str | None = None
    every: int = 1
    template: BackboneCard | None = None
    """The card of every checkpoint but for its name and file; None until the first one was looked into."""
    checkpoints: tuple[Checkpoint, ...] = ()

    def known(self, file: str, size: int, mtime_ns: int) -> bool:
        """Whether exactly this state of the file was dealt with."""
        return any((one.file, one.size, one.mtime_ns) == (file, size, mtime_ns) for one in self.checkpoints)

    def with_checkpoint(self, checkpoint: Checkpoint) -> Training:
        """With this one in the place of an earlier state of the same."""
        key = (checkpoint.file, checkpoint.size, checkpoint.mtime_ns)
        rest = [one for one in self.checkpoints if (one.file, one.size, one.mtime_ns) != key]
        ordered = sorted([*rest, checkpoint], key=lambda one: (one.step, one.mtime_ns, one.file))
        return self.model_copy(update={"checkpoints": tuple(ordered)})


def training_folder(workspace: Workspace, folder: Path) -> Path:
    """Where a watched folder's file, lock and copies lie."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return workspace.trainings / f"{folder.name[:40]}-{digest}"


def read_training(place: Path) -> Training | None:
    """What is known; None for a training that was never watched. Raises ConsoleError for a damaged file."""
    path = place / "training.json"
    try:
        return Training.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConsoleError(f"{path} is damaged: move it away, and its checkpoints are looked at anew") from error


def write_training(place: Path, training: Training) -> None:
    """Keep what is known. Raises OSError."""
    make_private_folder(place)
    write_atomically(place / "training.json", training.model_dump_json(indent=1).encode())


def trainings(workspace: Workspace) -> Iterator[Training]:
    """All trainings that were ever watched here; damaged ones are left out."""
    if not workspace.trainings.is_dir():
        return
    for place in sorted(workspace.trainings.iterdir()):
        try:
            found = read_training(place)
        except (ConsoleError, OSError):
            continue
        if found is not None:
            yield found
