"""Devices as screens show them: newest and earlier readings, and the processes that hold memory. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ssl_console.system.device import Device, DeviceProcess, Reading

STEP_S = 5.0
"""Duration of one sample of a history in seconds."""
SAMPLES_KEPT = 120

Roles = Mapping[int, str]
"""Roles of this workspace's processes, by pid."""


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


def device_view(device: Device, reading: Reading | None, problem: str = "", roles: Roles | None = None) -> DeviceView:
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
        users=tuple(_user(process, roles or {}) for process in reading.processes),
        problem=problem,
    )


def _user(process: DeviceProcess, roles: Roles) -> DeviceUser:
    role = roles.get(process.pid)
    memory_mb = round(process.memory_mb or 0.0, -1)
    ours = process.ours or role is not None
    return DeviceUser(process.pid, process.user or "", memory_mb, ours, role or process.command or "")


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
