"""NVIDIA devices as reported by NVML, the driver's management library. A missing driver, library or device is
tolerated.

Never raises: unknown values are None. Memory is in MB of 2**20 bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ssl_console.system.cuda_order import BY_ADDRESS, ORDER, counts_by_address, uuids_by_cuda
from ssl_console.system.device import Device, DeviceProcess, Reading
from ssl_console.system.processes import command_of, user_of

if TYPE_CHECKING:
    from types import ModuleType

MEGABYTE = 2**20
VISIBLE = "CUDA_VISIBLE_DEVICES"

_T = TypeVar("_T")


def cuda_devices() -> list[Device]:
    """The CUDA devices that this process may use, in CUDA's numbering. Empty without a driver."""
    nvml = _library()
    if nvml is None:
        return []
    found = [_device(nvml, index, handle) for index, handle in enumerate(_visible(nvml))]
    return [device for device in found if device is not None]


def read_cuda(device: Device) -> Reading | None:
    """Memory, load and processes of one device; None when the driver does not report them (e.g. it failed)."""
    nvml = _library()
    if nvml is None or device.uuid is None:
        return None
    handle = _asked(nvml, nvml.nvmlDeviceGetHandleByUUID, device.uuid)
    return None if handle is None else _reading(nvml, handle)


def energy_j(device: Device) -> float | None:
    """Energy drawn since the driver was loaded, in joules; None where the device does not count it."""
    nvml = _library()
    handle = None if nvml is None or device.uuid is None else _asked(nvml, nvml.nvmlDeviceGetHandleByUUID, device.uuid)
    if nvml is None or handle is None:
        return None
    found = _asked(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
    return None if found is None else found / 1000


def driver_version() -> str | None:
    """Version of the NVIDIA driver."""
    nvml = _library()
    return None if nvml is None else _text(_asked(nvml, nvml.nvmlSystemGetDriverVersion))


def driver_cuda_version() -> str | None:
    """The newest CUDA version that the driver supports, e.g. `12.8`; None where it is unknown."""
    nvml = _library()
    found = None if nvml is None else _asked(nvml, nvml.nvmlSystemGetCudaDriverVersion)
    return None if found is None else f"{found // 1000}.{found % 1000 // 10}"


def _reading(nvml: ModuleType, handle: object) -> Reading | None:
    memory = _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    load = _asked(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    power, limit = (_asked(nvml, nvml.nvmlDeviceGetPowerUsage, handle), _power_limit_mw(nvml, handle))
    if memory is None:
        return None
    return Reading(
        memory_total_mb=memory.total / MEGABYTE,
        memory_used_mb=memory.used / MEGABYTE,
        utilisation=None if load is None else float(load.gpu),
        temperature=_number(_asked(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)),
        power_w=None if power is None else power / 1000,
        power_limit_w=None if limit is None else limit / 1000,
        processes=tuple(_processes(nvml, handle)),
    )


def _processes(nvml: ModuleType, handle: object) -> Iterator[DeviceProcess]:
    running = _asked(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    for process in running:
        used = process.usedGpuMemory
        megabytes = None if used is None else used / MEGABYTE
        yield DeviceProcess(process.pid, user_of(process.pid), megabytes, command=command_of(process.pid))


def _power_limit_mw(nvml: ModuleType, handle: object) -> int | None:
    limit = getattr(nvml, "nvmlDeviceGetEnforcedPowerLimit", None)  # older bindings do not have it
    return None if limit is None else _asked(nvml, limit, handle)


def _device(nvml: ModuleType, index: int, handle: object) -> Device | None:
    uuid = _text(_asked(nvml, nvml.nvmlDeviceGetUUID, handle))
    name = _text(_asked(nvml, nvml.nvmlDeviceGetName, handle))
    memory = _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    if uuid is None:
        return None
    return Device(f"cuda:{index}", name or "CUDA device", uuid, None if memory is None else memory.total / MEGABYTE)


def _visible(nvml: ModuleType) -> Iterator[object]:
    """Handles in CUDA's order. The variable lists devices by number or by a prefix of their UUID."""
    count = _asked(nvml, nvml.nvmlDeviceGetCount) or 0
    every = [_asked(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
    given = os.environ.get(VISIBLE)
    if (ordered := _by_cuda(nvml, every, given)) is not None:
        yield from ordered
        return
    if given is None:
        yield from every
        return
    for entry in map(str.strip, given.split(",")):
        handle = _named(nvml, entry, every)
        if handle is None:  # like CUDA, ignore everything after an unknown name
            return
        yield handle


def _by_cuda(nvml: ModuleType, every: list[Any], given: str | None) -> list[object] | None:
    """Handles in CUDA's order where it may differ from the driver's; None where it is the same, or unknown."""
    names = {_text(_asked(nvml, nvml.nvmlDeviceGetName, handle)) for handle in every}
    numbered = given is None or any(_is_number(entry.strip()) for entry in given.split(","))
    if len(names) < 2 or not numbered or counts_by_address():
        return None
    uuids = uuids_by_cuda()
    found = None if uuids is None else [_asked(nvml, nvml.nvmlDeviceGetHandleByUUID, uuid) for uuid in uuids]
    return None if found is None else [handle for handle in found if handle is not None]


def driver_problems() -> list[str]:
    """Problems of the driver or of a device, one sentence each."""
    nvml = _library()
    if nvml is None:
        return [_init_problem()] if _init_problem() else []
    count = _asked(nvml, nvml.nvmlDeviceGetCount) or 0
    lost = [index for index in range(count) if not _answers(nvml, index)]
    found = [f"GPU {index} does not answer: see `dmesg`, then reset it or reboot" for index in lost]
    if not order_is_known():
        found.append(
            "the cards differ and the order of CUDA cannot be queried, so cuda:0 may be another card than meant: "
            f"export {ORDER}={BY_ADDRESS}"
        )
    return found


def _answers(nvml: ModuleType, index: int) -> bool:
    handle = _asked(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
    return handle is not None and _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle) is not None


def order_is_known() -> bool:
    """Whether numbers of CUDA devices are certain: all devices are alike, or CUDA's order can be queried."""
    nvml = _library()
    if nvml is None:
        return True
    count = _asked(nvml, nvml.nvmlDeviceGetCount) or 0
    every = [_asked(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
    names = {_text(_asked(nvml, nvml.nvmlDeviceGetName, handle)) for handle in every}
    return len(names) < 2 or counts_by_address() or uuids_by_cuda() is not None


def _is_number(entry: str) -> bool:
    return entry.isascii() and entry.isdigit()


def _named(nvml: ModuleType, entry: str, every: list[Any]) -> object | None:
    if _is_number(entry):
        return every[int(entry)] if int(entry) < len(every) else None
    if entry.startswith("MIG-"):
        return _asked(nvml, nvml.nvmlDeviceGetHandleByUUID, entry)
    uuids = [(_text(_asked(nvml, nvml.nvmlDeviceGetUUID, handle)) or "", handle) for handle in every]
    return next((handle for uuid, handle in uuids if entry and uuid.startswith(entry)), None)


def _asked(nvml: ModuleType, question: Callable[..., _T], *about: object) -> _T | None:
    """Value returned by a query; None on an error, e.g. of an old driver that does not support a query of a newer
    binding.
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
    """The library, initialised once (up to a second); needs no shutdown."""
    try:
        import pynvml  # noqa: PLC0415 - of no use on most laptops
    except ImportError:
        return None
    return None if _init_error(pynvml) is not None else cast("ModuleType", pynvml)


@lru_cache(maxsize=1)
def _init_error(nvml: ModuleType) -> Exception | None:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return cast("Exception", error)
    return None


NO_DRIVER, NO_LIBRARY, MISMATCH = 9, 12, 18
"""Error codes of the library: driver not loaded, library not found, library version different from the loaded driver's.
"""


def _init_problem() -> str:
    """Why an installed driver cannot be used; empty without a driver."""
    try:
        import pynvml  # noqa: PLC0415 - as above
    except ImportError:
        return ""
    error = _init_error(pynvml)
    number = getattr(error, "value", None)
    if error is None or number in (NO_DRIVER, NO_LIBRARY):
        return ""
    if number == MISMATCH:
        return "the NVIDIA driver was updated while the old one is loaded (version mismatch): reboot"
    return f"the NVIDIA driver cannot be used ({error}): see `nvidia-smi`"
