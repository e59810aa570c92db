"""NVIDIA devices as their driver's management library tells them. No driver, no library, a lost device: all tolerated.

Never raises: what cannot be said is None. Memory is in MB of 2**20 bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psutil

from ssl_console.system.device import Device, DeviceProcess, Reading

if TYPE_CHECKING:
    from types import ModuleType

MEGABYTE = 2**20
VISIBLE = "CUDA_VISIBLE_DEVICES"

_T = TypeVar("_T")


def cuda_devices() -> list[Device]:
    """The CUDA devices that this process may use, numbered as CUDA numbers them here. Empty without a driver."""
    nvml = _library()
    if nvml is None:
        return []
    found = [_device(nvml, index, handle) for index, handle in enumerate(_visible(nvml))]
    return [device for device in found if device is not None]


def read_cuda(device: Device) -> Reading | None:
    """Memory, load and processes of one device now; None when the driver cannot say (it fell off the bus, say)."""
    nvml = _library()
    if nvml is None or device.uuid is None:
        return None
    handle = _asked(nvml, nvml.nvmlDeviceGetHandleByUUID, device.uuid)
    return None if handle is None else _reading(nvml, handle)


def energy_j(device: Device) -> float | None:
    """What the device has drawn since its driver was loaded, in joules; None where it keeps no such count."""
    nvml = _library()
    handle = None if nvml is None or device.uuid is None else _asked(nvml, nvml.nvmlDeviceGetHandleByUUID, device.uuid)
    if nvml is None or handle is None:
        return None
    found = _asked(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
    return None if found is None else found / 1000


def driver_version() -> str | None:
    """Of the NVIDIA driver."""
    nvml = _library()
    return None if nvml is None else _text(_asked(nvml, nvml.nvmlSystemGetDriverVersion))


def driver_cuda_version() -> str | None:
    """The newest CUDA that the driver supports, `12.8` say; None where that cannot be asked."""
    nvml = _library()
    found = None if nvml is None else _asked(nvml, nvml.nvmlSystemGetCudaDriverVersion)
    return None if found is None else f"{found // 1000}.{found % 1000 // 10}"


def _reading(nvml: ModuleType, handle: object) -> Reading | None:
    memory = _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    load = _asked(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    power = _asked(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
    if memory is None:
        return None
    return Reading(
        memory_total_mb=memory.total / MEGABYTE,
        memory_used_mb=memory.used / MEGABYTE,
        utilisation=None if load is None else float(load.gpu),
        temperature=_number(_asked(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)),
        power_w=None if power is None else power / 1000,
        processes=tuple(_processes(nvml, handle)),
    )


def _processes(nvml: ModuleType, handle: object) -> Iterator[DeviceProcess]:
    running = _asked(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    for process in running:
        used = process.usedGpuMemory
        yield DeviceProcess(process.pid, _user(process.pid), None if used is None else used / MEGABYTE)


def _user(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).username())
    except (psutil.Error, KeyError):
        return None


def _device(nvml: ModuleType, index: int, handle: object) -> Device | None:
    uuid = _text(_asked(nvml, nvml.nvmlDeviceGetUUID, handle))
    name = _text(_asked(nvml, nvml.nvmlDeviceGetName, handle))
    memory = _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    if uuid is None:
        return None
    return Device(f"cuda:{index}", name or "CUDA device", uuid, None if memory is None else memory.total / MEGABYTE)


def _visible(nvml: ModuleType) -> Iterator[object]:
    """Handles in CUDA's order. The variable names devices by number or by the beginning of their UUID."""
    count = _asked(nvml, nvml.nvmlDeviceGetCount) or 0
    every = [_asked(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
    given = os.environ.get(VISIBLE)
    if given is None:
        yield from every
        return
    for entry in map(str.strip, given.split(",")):
        handle = _named(nvml, entry, every)
        if handle is None:  # CUDA too ignores what follows a name that it does not know
            return
        yield handle


def _named(nvml: ModuleType, entry: str, every: list[Any]) -> object | None:
    if entry.isdigit():
        return every[int(entry)] if int(entry) < len(every) else None
    if entry.startswith("MIG-"):
        return _asked(nvml, nvml.nvmlDeviceGetHandleByUUID, entry)
    uuids = [(_text(_asked(nvml, nvml.nvmlDeviceGetUUID, handle)) or "", handle) for handle in every]
    return next((handle for uuid, handle in uuids if entry and uuid.startswith(entry)), None)


def _asked(nvml: ModuleType, question: Callable[..., _T], *about: object) -> _T | None:
    """The answer. An old driver has no answer to some questions of a new binding, which that does not call an error of
    the library.
    """
    try:
        return question(*about)
    except (nvml.NVMLError, getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError)):
        return None


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


@lru_cache(maxsize=1)
def _library() -> ModuleType | None:
    """The library, initialised once: that may take a second, and needs no undoing."""
    try:
        import pynvml  # noqa: PLC0415 - of no use on most laptops
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return cast("ModuleType", pynvml)
