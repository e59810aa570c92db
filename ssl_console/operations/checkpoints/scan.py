"""Detection of checkpoints in the folder of a training: which are complete, and of which step.

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backbones.io.files import own_opener

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
    found: dict[Path, Sighting] = {}
    for path in _files(folder, DEEPEST):
        try:
            status = path.stat()
        except OSError:  # removed in the meantime: trainings remove old checkpoints
            continue
        found[path] = Sighting(path, status.st_size, status.st_mtime_ns)
    return found


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
        if sightings_of(seen.path) != seen or not is_whole_copy(draft, seen.path):
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


def sightings_of(path: Path) -> Sighting | None:
    """Present state of one file; None when it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Sighting(path, status.st_size, status.st_mtime_ns)


def is_whole_copy(copy: Path, original: Path) -> bool:
    """`is_whole` for a copy, whose format is that of the original."""
    return _safetensors_whole(copy) if original.suffix == ".safetensors" else is_whole(copy)


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
