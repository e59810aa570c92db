"""NVIDIA devices as reported by NVML, the driver's management library. A missing driver, library or device is
tolerated.

Never raises: unknown values are None. Memory is in MB of 2**20 bytes. The instances of a GPU in MIG mode are devices of
their own, in its place: a process uses one of them, which its UUID names.

Devices are numbered as CUDA numbers those that this process may use. Without CUDA_DEVICE_ORDER=PCI_BUS_ID, CUDA lists
the fastest card first, and numbers in CUDA_VISIBLE_DEVICES refer to that order; the driver's management library counts
by PCI address. Where cards differ, CUDA's driver library is queried in a subprocess, because initialising it in this
process would allocate memory on every card.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ssl_console.system.device import Device, DeviceProcess, Reading
from ssl_console.system.processes import command_of, user_of

if TYPE_CHECKING:
    from types import ModuleType

MEGABYTE = 2**20
EXCLUSIVE_MODES = (1, 3)
"""Compute modes in which the driver admits one thread or one process."""
PROHIBITED_MODE = 2
_POWER_LIMIT = "nvmlDeviceGetEnforcedPowerLimit"

_T = TypeVar("_T")
ORDER, VISIBLE = "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"
BY_ADDRESS = "PCI_BUS_ID"
SECONDS = 30.0
_CUDA_QUERY = """
import ctypes, uuid
cuda = ctypes.CDLL("libcuda.so.1")
count, device, number = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(16)
assert cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
ask = getattr(cuda, "cuDeviceGetUuid_v2", cuda.cuDeviceGetUuid)
for index in range(count.value):
    assert cuda.cuDeviceGet(ctypes.byref(device), index) == 0 and ask(number, device) == 0
    print("GPU-" + str(uuid.UUID(bytes=number.raw)))
"""


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
    power, limit = (_asked(nvml, nvml.nvmlDeviceGetPowerUsage, handle), _optional(nvml, _POWER_LIMIT, handle))
    if memory is None:
        return None
    processes = tuple(_processes(nvml, handle))
    exclusive = _optional(nvml, "nvmlDeviceGetComputeMode", handle) in EXCLUSIVE_MODES
    return Reading(
        memory_total_mb=memory.total / MEGABYTE,
        memory_used_mb=memory.used / MEGABYTE,
        utilisation=None if load is None else float(load.gpu),
        temperature=_number(_asked(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)),
        power_w=None if power is None else power / 1000,
        power_limit_w=None if limit is None else limit / 1000,
        processes=processes,
        exclusive=exclusive and not any(process.is_mps_server for process in processes),
    )


def _processes(nvml: ModuleType, handle: object) -> Iterator[DeviceProcess]:
    """Computing processes, and those that compute through the Multi-Process Service, which are listed separately."""
    alone = _asked(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    through_mps = _optional(nvml, "nvmlDeviceGetMPSComputeRunningProcesses", handle) or []
    for process in {one.pid: one for one in (*alone, *through_mps)}.values():
        used = process.usedGpuMemory
        megabytes = None if used is None else used / MEGABYTE
        yield DeviceProcess(process.pid, user_of(process.pid), megabytes, command=command_of(process.pid))


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
        named: Iterable[object | None] = every
    else:
        named = (_named(nvml, entry, every) for entry in map(str.strip, given.split(",")))
    for handle in named:
        if handle is None and given is not None:  # like CUDA, ignore everything after an unknown name
            return
        instances = _mig_instances(nvml, handle)
        yield from [handle] if instances is None else instances


def _mig_instances(nvml: ModuleType, handle: object) -> list[object] | None:
    """Instances of a GPU in MIG mode; None for any other device, also for an instance itself."""
    mode = _optional(nvml, "nvmlDeviceGetMigMode", handle)
    if handle is None or not mode or not mode[0]:
        return None
    most = _optional(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0
    found = (_optional(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index) for index in range(most))
    return [instance for instance in found if instance is not None]


def _by_cuda(nvml: ModuleType, every: list[Any], given: str | None) -> list[object] | None:
    """Handles in CUDA's order where it may differ from the driver's; None where it is the same, or unknown."""
    names = {_text(_asked(nvml, nvml.nvmlDeviceGetName, handle)) for handle in every}
    numbered = given is None or any(_is_number(entry.strip()) for entry in given.split(","))
    if len(names) < 2 or not numbered or counts_by_address() or _any_mig(nvml, every):
        return None
    uuids = uuids_by_cuda()
    found = None if uuids is None else [_asked(nvml, nvml.nvmlDeviceGetHandleByUUID, uuid) for uuid in uuids]
    return None if found is None else [handle for handle in found if handle is not None]


def _any_mig(nvml: ModuleType, every: list[Any]) -> bool:
    """Whether a GPU is in MIG mode: CUDA then shows one instance alone, so its order is meaningless."""
    return any(_mig_instances(nvml, handle) is not None for handle in every)


def driver_problems() -> list[str]:
    """Problems of the driver or of a device, one sentence each."""
    nvml = _library()
    if nvml is None:
        return [_init_problem()] if _init_problem() else []
    count = _asked(nvml, nvml.nvmlDeviceGetCount) or 0
    lost = [index for index in range(count) if not _answers(nvml, index)]
    found = [f"GPU {index} does not answer: see `dmesg`, then reset it or reboot" for index in lost]
    handles = [_asked(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
    found += [
        f"GPU {index} is in MIG mode without an instance: create one with `nvidia-smi mig -cgi`, or leave the mode"
        for index, handle in enumerate(handles)
        if _mig_instances(nvml, handle) == []
    ]
    found += [
        f"GPU {index} admits no computation (compute mode prohibited): `nvidia-smi -i {index} -c DEFAULT` permits it"
        for index, handle in enumerate(handles)
        if _optional(nvml, "nvmlDeviceGetComputeMode", handle) == PROHIBITED_MODE
    ]
    if not order_is_known():
        found.append(
            "the cards differ and the order of CUDA cannot be queried, so cuda:0 may not be the intended card: "
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
    return len(names) < 2 or counts_by_address() or _any_mig(nvml, every) or uuids_by_cuda() is not None


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


def _optional(nvml: ModuleType, name: str, *about: object) -> Any:  # noqa: ANN401 - of whichever query it is
    """Value returned by a query that older bindings or drivers lack; None without it."""
    query = getattr(nvml, name, None)
    return None if query is None else _asked(nvml, query, *about)


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


def counts_by_address() -> bool:
    """Whether device numbers refer to the PCI order in this process."""
    return os.environ.get(ORDER) == BY_ADDRESS


def uuids_by_cuda() -> tuple[str, ...] | None:
    """UUIDs of the visible devices in CUDA's order; None where CUDA cannot be queried."""
    return _ordered_uuids(os.environ.get(ORDER), os.environ.get(VISIBLE))


@lru_cache(maxsize=4)
def _ordered_uuids(order: str | None, visible: str | None) -> tuple[str, ...] | None:
    """Result of the query under these two variables."""
    given = {name: value for name, value in ((ORDER, order), (VISIBLE, visible)) if value is not None}
    environment = {name: value for name, value in os.environ.items() if name not in (ORDER, VISIBLE)} | given
    command = [sys.executable, "-I", "-c", _CUDA_QUERY]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(done.stdout.split()) if done.returncode == 0 else None
