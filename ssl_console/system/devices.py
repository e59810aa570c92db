"""The devices of this machine: which exist, their load, and which processes use them. Never imports torch."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence

import psutil

from backbones.cpu.free_cores import usable_cores
from backbones.io.card_files import suggest
from ssl_console.system.device import DEVICE_NAME, MEGABYTE, Device, Reading
from ssl_console.system.errors import ConsoleError
from ssl_console.system.nvml import cuda_devices, driver_cuda_version, driver_problems, read_cuda
from ssl_console.system.torch_build import built_for, can_start

CPU, MPS = "cpu", "mps"


def all_devices() -> list[Device]:
    """Every device of this machine, fastest kind first; always ends with the CPU."""
    found, memory_mb = [*cuda_devices()], psutil.virtual_memory().total / MEGABYTE
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found.append(Device(MPS, "Apple GPU", memory_total_mb=memory_mb))
    processor = f"{platform.processor() or platform.machine()}, {usable_cores()} cores"
    return [*found, Device(CPU, processor, memory_total_mb=memory_mb)]


def default_devices(found: Sequence[Device]) -> list[Device]:
    """All CUDA devices; without one MPS; without that the CPU."""
    best = found[0].kind
    return [device for device in found if device.kind == best]


def choose_devices(names: Sequence[str], found: Sequence[Device]) -> list[Device]:
    """The devices with these names, or the default ones if none are named. Raises ConsoleError naming the available
    ones.
    """
    if not names:
        return default_devices(found)
    by_name = {device.name: device for device in found}
    chosen: dict[str, Device] = {}
    for name in names:
        fitting = [device for device in found if name in (device.name, device.kind)]
        if not fitting:
            near, problems = suggest(name, by_name), "".join(f"; {problem}" for problem in driver_problems())
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ConsoleError(f"no device {name!r}{hint}; available: {', '.join(by_name)}{problems}")
        chosen.update((device.name, device) for device in fitting)
    return list(chosen.values())


def require_usable(devices: Sequence[Device]) -> None:
    """Refuse CUDA devices that the installed torch cannot use, before any run is queued for them.

    Raises ConsoleError naming the versions of the driver and of torch, and the possible fixes.
    """
    if not any(device.kind == "cuda" for device in devices):
        return
    driver, build = driver_cuda_version(), built_for()
    if build is None:
        problem = "the installed torch is built without CUDA"
    elif driver is None or can_start(build, _pair(driver)):
        return
    else:
        problem = f"the driver supports CUDA up to {driver}, and torch is built for CUDA {build[0]}.{build[1]}"
    names = ", ".join(device.name for device in devices if device.kind == "cuda")
    raise ConsoleError(
        f"{problem}, so runs cannot use {names}: install a torch for this driver (`make install` chooses one), "
        'update the driver, or measure on the CPU with `--devices cpu` (`devices = ["cpu"]` in config.toml)'
    )


def _pair(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor or 0)


def parse_devices(text: str | None) -> tuple[str, ...]:
    """Names in `cuda:0,cuda:1`, `cuda` or `cpu`, without checking that they exist. Raises ConsoleError."""
    names = tuple(dict.fromkeys(filter(None, (part.strip().lower() for part in (text or "").split(",")))))
    for name in names:
        if not DEVICE_NAME.fullmatch(name):
            raise ConsoleError(f"{name!r} is not a device: use cpu, mps, cuda, or cuda:0,cuda:1 for particular ones")
    return names


def read_device(device: Device) -> Reading | None:
    """Current reading of the device; None when it cannot be read. MPS shares the machine's memory and does not report
    its load.
    """
    if device.kind == "cuda":
        return read_cuda(device)
    memory = psutil.virtual_memory()
    total, free = memory.total / MEGABYTE, memory.available / MEGABYTE
    return Reading(total, total - free, float(psutil.cpu_percent()) if device.kind == CPU else None)
