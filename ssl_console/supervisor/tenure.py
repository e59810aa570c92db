"""Proof that this process is the only supervisor of a workspace at its original place, checked continuously.

The lock (`ssl_console.supervisor.client`) has no effect on some file systems (NFS mounted with `local_lock`). Each
supervisor therefore creates a numbered file, `supervisor/epoch.<n>.json`, exclusively, renews its modification time
while it lives, and looks for lower numbers: a younger supervisor that finds an older one alive exits. This detects a
second supervisor but does not prevent it; nothing is lost meanwhile, because runs are claimed exclusively as well.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from backbones.io.files import create_exclusively
from ssl_console.system.processes import is_here, lives, own_start, this_host, this_machine
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.records import Record

RENEW_S, LOOK_S = 2.0, 1.0
"""Seconds between renewals, and between two checks for other supervisors."""
PATIENCE_S = 7.0
"""Seconds for which a supervisor of another machine is watched for a renewal before it counts as gone."""
_NAME = re.compile(r"epoch\.(\d+)\.json")


class TenureLost(Exception):  # noqa: N818 - an end, not a fault
    """This process must not supervise any longer; the message gives the reason."""


class PlaceLost(TenureLost):
    """The workspace is no longer at its place; `moved_to` is None for a removed one."""

    def __init__(self, message: str, moved_to: Path | None = None) -> None:
        super().__init__(message)
        self.moved_to = moved_to


class Epoch(Record):
    """Identity of a supervisor."""

    host: str
    machine: str
    pid: int
    pid_started: float

    def lives(self) -> bool | None:
        """Whether that process runs; None where that cannot be checked from here."""
        return lives(self.pid, self.pid_started) if is_here(self.host, self.machine) else None


@dataclass
class Tenure:
    """The period in which this process supervises a workspace."""

    workspace: Workspace
    number: int = 0
    _root: tuple[int, int] = (0, 0)
    _renewed: float = field(default_factory=time.monotonic)
    _looked: float = 0.0

    def begin(self) -> None:
        """Take the next number. Raises TenureLost when an older supervisor is alive, OSError."""
        self._root = _identity(self.workspace.root)
        self.number = max((number for number, _ in self._files()), default=0) + 1
        epoch = Epoch(host=this_host(), machine=this_machine(), pid=os.getpid(), pid_started=own_start())
        while not create_exclusively(self._path(self.number), epoch.model_dump_json().encode()):
            self.number += 1
        for number, path in self._files():
            if number < self.number and not self._is_over(path):
                self.end()
                raise TenureLost(f"{self._other(path)} supervises {self.workspace.root}, although its lock was free")

    def check(self) -> None:
        """Renew, and raise TenureLost when the workspace was moved or removed, or an older supervisor is alive."""
        self._check_place()
        now = time.monotonic()
        if now - self._renewed > RENEW_S:
            self._renewed = now
            try:
                os.utime(self._path(self.number))
            except FileNotFoundError:
                raise TenureLost(f"another process has taken over {self.workspace.root}") from None
        if now - self._looked > LOOK_S:
            self._looked = now
            older = next((path for number, path in self._files() if number < self.number), None)
            if older is not None and not self._is_over(older):
                raise TenureLost(f"{self._other(older)} supervises {self.workspace.root} as well, and is older")

    def end(self) -> None:
        """Release the number."""
        with suppress(OSError, PlaceLost):
            self._check_place()
            self._path(self.number).unlink(missing_ok=True)

    def _check_place(self) -> None:
        root = self.workspace.root
        with suppress(FileNotFoundError):
            if _identity(root) == self._root:
                return
        place: Path | None = None
        with suppress(OSError):
            place = Path.cwd()  # a supervisor is started in its workspace
        if place is None or not place.is_dir() or _identity(place) != self._root:
            raise PlaceLost(f"the workspace {root} was removed")
        raise PlaceLost(f"the workspace {root} was moved to {place}", place)

    def _is_over(self, path: Path) -> bool:
        """Whether the supervisor that created the file is gone; its file is then removed."""
        try:
            alive = Epoch.model_validate_json(path.read_bytes()).lives()
            if alive is None:
                alive = _is_renewed(path)
        except FileNotFoundError:
            return True
        except ValidationError:
            alive = False
        if not alive:
            path.unlink(missing_ok=True)
        return not alive

    def _other(self, path: Path) -> str:
        try:
            epoch = Epoch.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return "another process"
        return f"process {epoch.pid} on {epoch.host}"

    def _path(self, number: int) -> Path:
        return self.workspace.supervisor / f"epoch.{number}.json"

    def _files(self) -> Iterator[tuple[int, Path]]:
        with os.scandir(self.workspace.supervisor) as entries:
            found = [(int(name[1]), Path(entry.path)) for entry in entries if (name := _NAME.fullmatch(entry.name))]
        yield from sorted(found)


def _is_renewed(path: Path) -> bool:
    """Whether the file's modification time advances while it is watched. Raises FileNotFoundError when the file
    is removed.
    """
    before, until = path.stat().st_mtime_ns, time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if path.stat().st_mtime_ns != before:
            return True
        time.sleep(RENEW_S / 10)
    return False


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino
