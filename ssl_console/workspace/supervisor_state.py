"""Published state of the supervisor: `supervisor/state.json`, rewritten as a whole after each change."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pydantic import Field, ValidationError

from ssl_console.system.device import Device, Reading
from ssl_console.system.processes import is_here, lives
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.records import Record
from ssl_console.workspace.run import JobState

STATE_VERSION = 1
SILENT_S = 60.0
"""Seconds without an update after which a supervisor of another host counts as gone."""


class SlotState(Record):
    """A slot for one worker."""

    name: str
    """Device and number, e.g. `cuda:0/1`, or launcher and worker."""
    device: str
    """Name of its device, or of the launcher whose worker has a slot of its own."""
    worker: int | None = None
    """Pid of the worker process."""
    run_id: str | None = None
    assists: str | None = None
    """Run for which its worker computes features, while another slot's worker executes it."""
    backbone: str | None = None
    """Backbone in the worker's memory."""
    since: float | None = None
    """Time of the run's assignment (seconds since the epoch)."""
    job: JobState | None = None
    """Job of a slot that exists for one cluster job."""
    then: tuple[str, ...] = ()
    """Runs that the job executes next."""


class DeviceState(Record):
    """A device and its last reading."""

    device: Device
    reading: Reading | None = None
    problem: str = ""
    """Why its state is unknown."""


class LauncherState(Record):
    """A launcher with slots of its own at its last check. (Earlier versions listed it among the devices.)"""

    name: str
    summary: str = ""
    """Summary of its workers, e.g. `partition main: 4 jobs run, 10 wait`."""
    problem: str = ""
    """Why it starts no workers, or why their state is unknown."""


class SupervisorState(Record):
    """Published state."""

    version: int = STATE_VERSION
    host: str
    machine: str = ""
    """Boot and PID namespace (`ssl_console.system.processes.this_machine`)."""
    pid: int
    pid_started: float
    started: float
    updated: float = 0.0
    paused: bool = False
    slots: tuple[SlotState, ...] = ()
    devices: tuple[DeviceState, ...] = ()
    launchers: tuple[LauncherState, ...] = ()
    waiting: Mapping[str, str] = Field(default_factory=dict)
    """Why each queued run waits, by run id."""
    problems: tuple[str, ...] = ()
    """Operations that fail at the moment: writing the results file, reading a run folder."""

    def lives(self, now: float) -> bool:
        """Whether the supervisor that wrote this still runs."""
        if is_here(self.host, self.machine):
            return lives(self.pid, self.pid_started)
        return now - self.updated < SILENT_S


class SupervisorView:
    """Reader of the supervisor's state; the file is parsed only when it has changed."""

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.supervisor_state
        self._stamp: tuple[int, int] | None = None
        self._state: SupervisorState | None = None

    def state(self) -> SupervisorState | None:
        """State of the last supervisor, alive or not; None when there never was one."""
        try:
            found = self._path.stat()
            if (found.st_mtime_ns, found.st_ino) != self._stamp:
                self._state = SupervisorState.model_validate_json(self._path.read_bytes())
                self._stamp = found.st_mtime_ns, found.st_ino
        except FileNotFoundError:
            self._state = None
        except ValidationError:  # written by another version: nothing in it justifies an error
            self._state = None
        return self._state

    def living(self, now: float | None = None) -> SupervisorState | None:
        """State of a living supervisor, else None."""
        state = self.state()
        return state if state and state.lives(time.time() if now is None else now) else None
