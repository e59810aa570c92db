"""Devices as screens show them: readings, their history, and the processes that hold memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ssl_console.system.device import Device, DeviceProcess, Reading
from ssl_console.system.devices import CPU, all_devices, choose_devices, read_device
from ssl_console.system.processes import is_here, largest_processes, parents_of
from ssl_console.workspace.run_observer import RunView
from ssl_console.workspace.supervisor_state import SupervisorState

STEP_S = 5.0
"""Duration of one sample of a history in seconds."""
SAMPLES_KEPT = 120

Roles = Mapping[int, str]
"""Roles of this workspace's processes, by pid."""
NO_ROLES: Roles = {}
READ_EVERY_S = 2.0
"""Seconds between own readings."""
LIST_EVERY_S = 4.0
"""Seconds between lists of the host's processes."""
PROCESSES_LISTED = 5


@dataclass(frozen=True)
class DeviceUser:
    """A process that holds memory of a device."""

    pid: int
    user: str
    """Empty if unknown."""
    memory_mb: float
    ours: bool
    role: str = ""
    """Role in this workspace, otherwise the name of its program."""


@dataclass(frozen=True)
class DeviceSample:
    """Mean figures of a device over `STEP_S` seconds; None without a reading."""

    utilisation: float | None = None
    memory_used_mb: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


@dataclass(frozen=True)
class DeviceView:
    """One device; unknown values are None."""

    name: str
    title: str = ""
    utilisation: float | None = None
    """Percent."""
    memory_used_mb: float | None = None
    memory_total_mb: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    users: tuple[DeviceUser, ...] = ()
    problem: str = ""
    history: tuple[DeviceSample, ...] = ()
    """Oldest first."""

    @property
    def sample(self) -> DeviceSample:
        """The newest figures."""
        return DeviceSample(self.utilisation, self.memory_used_mb, self.temperature_c, self.power_w)


def device_view(device: Device, reading: Reading | None, problem: str = "", roles: Roles = NO_ROLES) -> DeviceView:
    """A device as screens show it. Figures are rounded, which avoids needless redraws."""
    if reading is None:
        return DeviceView(device.name, device.title, memory_total_mb=device.memory_total_mb, problem=problem)
    return DeviceView(
        name=device.name,
        title=device.title,
        utilisation=None if reading.utilisation is None else float(round(reading.utilisation)),
        memory_used_mb=round(reading.memory_used_mb, -2),
        memory_total_mb=reading.memory_total_mb,
        temperature_c=reading.temperature,
        power_w=None if reading.power_w is None else round(reading.power_w, -1),
        power_limit_w=reading.power_limit_w,
        users=tuple(
            DeviceUser(
                pid=process.pid,
                user=process.user or "",
                memory_mb=round(process.memory_mb or 0.0, -1),
                ours=process.ours or process.pid in roles,
                role=roles.get(process.pid) or process.command or "",
            )
            for process in reading.processes
        ),
        problem=problem,
    )


@dataclass
class DeviceRecorder:
    """Aggregates readings into one sample per device and time step."""

    _step: int | None = None
    _open: dict[str, list[DeviceSample]] = field(default_factory=dict)
    _closed: dict[str, tuple[DeviceSample, ...]] = field(default_factory=dict)

    def record(self, devices: Sequence[DeviceView], now: float) -> tuple[DeviceView, ...]:
        """Add the newest readings at `now`, in seconds; returns the devices with their histories."""
        step = int(now // STEP_S)
        self._close(step)
        for device in devices:
            self._open.setdefault(device.name, []).append(device.sample)
        return tuple(replace(device, history=self._closed.get(device.name, ())) for device in devices)

    def _close(self, step: int) -> None:
        """Complete the steps before this one; those without readings remain empty."""
        passed = 0 if self._step is None else step - self._step
        self._step = step
        if passed <= 0:
            return
        empty = (DeviceSample(),) * min(passed - 1, SAMPLES_KEPT)
        for name, samples in self._open.items():
            self._closed[name] = (*self._closed.get(name, ()), _mean(samples), *empty)[-SAMPLES_KEPT:]
        self._open.clear()


def _mean(samples: Sequence[DeviceSample]) -> DeviceSample:
    return DeviceSample(
        _mean_of(sample.utilisation for sample in samples),
        _mean_of(sample.memory_used_mb for sample in samples),
        _mean_of(sample.temperature_c for sample in samples),
        _mean_of(sample.power_w for sample in samples),
    )


def _mean_of(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return round(sum(numbers) / len(numbers), 1) if numbers else None


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
