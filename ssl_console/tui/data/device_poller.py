"""Readings of the devices: those of a running supervisor, otherwise own ones; the host is always read here."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ssl_console.system.device import Device, DeviceProcess
from ssl_console.system.devices import CPU, all_devices, choose_devices, read_device
from ssl_console.system.processes import is_here, largest_processes, parents_of
from ssl_console.tui.data.devices import DeviceRecorder, DeviceView, Roles, device_view
from ssl_console.workspace.run_observer import RunView
from ssl_console.workspace.supervisor_state import SupervisorState

READ_EVERY_S = 2.0
"""Seconds between own readings."""
LIST_EVERY_S = 4.0
"""Seconds between lists of the host's processes."""
PROCESSES_LISTED = 5


@dataclass
class DevicePoller:
    """Repeated readings; only one thread may call `poll`."""

    names: tuple[str, ...] = ()
    """Devices of the settings; empty for the default ones."""
    _recorder: DeviceRecorder = field(default_factory=DeviceRecorder)
    _shown: tuple[DeviceView, ...] = ()
    _gpus: tuple[DeviceView, ...] = ()
    _host: DeviceView = field(default_factory=lambda: DeviceView(CPU))
    _processes: tuple[DeviceProcess, ...] = ()
    _read_at: float = 0.0
    _listed_at: float = 0.0

    @cached_property
    def _all(self) -> list[Device]:
        return all_devices()

    @cached_property
    def _own(self) -> list[Device]:
        return [device for device in choose_devices(self.names, self._all) if device.name != CPU]

    def poll(
        self, supervisor: SupervisorState | None, runs: Mapping[str, RunView], now: float | None = None
    ) -> tuple[DeviceView, ...] | None:
        """The devices with their histories; None when nothing has changed since the last call."""
        now = time.monotonic() if now is None else now
        roles = _roles(supervisor, runs)
        if now - self._read_at >= READ_EVERY_S or not self._read_at:
            self._read_at = now
            self._read_host(roles, now)
            if supervisor is None:
                self._gpus = tuple(device_view(device, read_device(device), "", roles) for device in self._own)
        devices = self._recorder.record(self._gathered(supervisor, roles), now)
        if devices == self._shown:
            return None
        self._shown = devices
        return devices

    def _gathered(self, supervisor: SupervisorState | None, roles: Roles) -> tuple[DeviceView, ...]:
        """Readings; of a supervisor on another machine, including its CPU, otherwise with this host."""
        if supervisor is None:
            return (*self._gpus, self._host)
        here = is_here(supervisor.host, supervisor.machine)
        states = [one for one in supervisor.devices if not (here and one.device.name == CPU)]
        devices = (device_view(one.device, one.reading, one.problem, roles) for one in states)
        launchers = (DeviceView(one.name, one.summary, problem=one.problem) for one in supervisor.launchers)
        return (*devices, *launchers, self._host) if here else (*devices, *launchers)

    def _read_host(self, roles: Roles, now: float) -> None:
        if now - self._listed_at >= LIST_EVERY_S or not self._listed_at:
            self._listed_at, self._processes = now, largest_processes(PROCESSES_LISTED)
        cpu = self._all[-1]
        reading = read_device(cpu)
        if reading is not None:
            known = {process.pid: role for process in self._processes if (role := _role(process.pid, roles))}
            self._host = device_view(cpu, replace(reading, processes=self._processes), "", known)


def _role(pid: int, roles: Roles) -> str | None:
    """Role of the process, or of the nearest of its parents that has one."""
    return next((roles[one] for one in parents_of(pid) if one in roles), None)


def _roles(supervisor: SupervisorState | None, runs: Mapping[str, RunView]) -> Roles:
    """Roles of the console, the supervisor and its workers, by pid."""
    roles = {os.getpid(): "this console"}
    if supervisor is None or not is_here(supervisor.host, supervisor.machine):
        return roles
    roles[supervisor.pid] = "supervisor"
    for slot in supervisor.slots:
        if slot.worker is not None:
            run = runs.get(slot.run_id or slot.assists or "")
            idle = f"worker with {slot.backbone}" if slot.backbone else "worker"
            helps = "helper of " if slot.assists else ""
            roles[slot.worker] = idle if run is None else f"{helps}{run.backbone} on {run.task}"
    return roles
