"""What the supervisor tells everyone: `supervisor/state.json`, rewritten whole when something has changed."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pydantic import Field, ValidationError

from ssl_console.system.device import Device, Reading
from ssl_console.system.processes import is_here, lives
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import JobState, Record

STATE_VERSION = 1
SILENT_S = 60.0
"""A supervisor of another host that has not written for this long counts as gone."""


class SlotState(Record):
    """A place for one worker."""

    name: str
    """Device and number, `cuda:0/1`, or launcher and worker."""
    device: str
    """Name of its device, or of the launcher whose worker has a slot of its own."""
    worker: int | None = None
    """Pid of the worker process."""
    run_id: str | None = None
    backbone: str | None = None
    """What the worker holds in memory."""
    since: float | None = None
    """When the run was given to it (seconds since the epoch)."""
    job: JobState | None = None
    """Of a slot that exists for one job of a cluster."""
    then: tuple[str, ...] = ()
    """Runs that the job carries out next."""


class DeviceState(Record):
    """A device, and how it was doing when last looked at."""

    device: Device
    reading: Reading | None = None
    problem: str = ""
    """Why nothing is known of it."""


class LauncherState(Record):
    """A launcher with slots of its own, when last looked at. (Earlier versions listed it among the devices.)"""

    name: str
    summary: str = ""
    """Its workers, e.g. `partition main: 4 jobs run, 10 wait`."""
    problem: str = ""
    """Why it starts no workers, or why their state is not known."""


class SupervisorState(Record):
    """The supervisor's view."""

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
    """What the supervisor cannot do at the moment: write the results file, read a run folder."""

    def lives(self, now: float) -> bool:
        """Whether the supervisor that wrote this still runs."""
        if is_here(self.host, self.machine):
            return lives(self.pid, self.pid_started)
        return now - self.updated < SILENT_S


class SupervisorView:
    """The supervisor as readers see it; the file is parsed again only when it has changed."""

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.supervisor_state
        self._stamp: tuple[int, int] | None = None
        self._state: SupervisorState | None = None

    def state(self) -> SupervisorState | None:
        """What the last supervisor wrote, living or not; None when there never was one."""
        try:
            found = self._path.stat()
            if (found.st_mtime_ns, found.st_ino) != self._stamp:
                self._state = SupervisorState.model_validate_json(self._path.read_bytes())
                self._stamp = found.st_mtime_ns, found.st_ino
        except FileNotFoundError:
            self._state = None
        except ValidationError:  # another version's: nothing in it is worth failing for
            self._state = None
        return self._state

    def living(self, now: float | None = None) -> SupervisorState | None:
        """The same, or None when that supervisor is gone."""
        state = self.state()
        return state if state and state.lives(time.time() if now is None else now) else None
