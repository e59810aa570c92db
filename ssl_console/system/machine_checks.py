"""Checks of the machine for `doctor`: memory, open files, terminal multiplexer, driver, CUDA."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import psutil

from ssl_console.system.device import Device, Reading, holders_text
from ssl_console.system.nvml import driver_cuda_version, driver_version

Verdict = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Check:
    """Result of one check."""

    name: str
    verdict: Verdict
    words: str
    """Result in words and, unless it is good, what to do."""


GIGABYTE = 2**30
LITTLE_MEMORY_GB = 4.0
FEW_FILES = 4096
"""Open files below which data loaders of several workers may run out (1024 is a usual default)."""


def memory_check() -> Check:
    """Main memory that is available for workers."""
    memory = psutil.virtual_memory()
    free, whole = memory.available / GIGABYTE, memory.total / GIGABYTE
    if free < LITTLE_MEMORY_GB:
        words = f"{free:.1f} of {whole:.0f} GB free: close something, or set slots_per_device = 1 in config.toml"
        return Check("memory", "note", words)
    return Check("memory", "good", f"{free:.0f} of {whole:.0f} GB free")


def files_check(limits: tuple[int, int] | None = None) -> Check:
    """Limit of open files per process; `limits` are the soft and the hard limit."""
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        raised = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        return Check(
            "open files", "note", f"at most {soft} per process: `ulimit -n {raised}` before starting allows more"
        )
    return Check("open files", "good", "unlimited" if soft == resource.RLIM_INFINITY else f"at most {soft} per process")


def multiplexer_check(environment: Mapping[str, str]) -> Check:
    """Whether the terminal app survives a lost SSH link; runs survive in any case."""
    if environment.get("TMUX") or environment.get("STY"):
        return Check("tmux", "good", "a session that survives a lost link")
    if environment.get("SSH_CONNECTION"):
        words = "over SSH without tmux or screen: a lost link closes the console (runs continue); use `tmux` to keep it"
        return Check("tmux", "note", words)
    return Check("tmux", "good", "not over SSH")


def driver_check() -> Check | None:
    """NVIDIA driver, and the newest CUDA version that it supports; None without a driver."""
    driver = driver_version()
    if driver is None:
        return None
    cuda = driver_cuda_version()
    return Check("driver", "good", f"NVIDIA {driver}" + (f", for CUDA up to {cuda}" if cuda else ""))


def device_check(device: Device, reading: Reading | None) -> Check:
    """One device: its memory, and for a GPU how processes share it and which ones hold memory now."""
    memory = f", {device.memory_total_mb / 1024:.0f} GB" if device.memory_total_mb else ""
    words = f"{device.title}{memory}"
    if device.kind != "cuda" or reading is None:
        return Check(device.name, "good", words)
    if any(process.is_mps_server for process in reading.processes):
        words += "; processes share it through the Multi-Process Service"
    users = [process for process in reading.processes if not process.is_mps_server]
    words += f"; in use: {holders_text(users)}" if users else ""
    if reading.exclusive:
        advice = "two workers cannot share it: keep slots_per_device = 1, or start nvidia-cuda-mps-control"
        return Check(device.name, "note", f"{words}; admits one process at a time (compute mode), so {advice}")
    return Check(device.name, "good", words)


def cuda_check(built_for: str | None, *, sees: bool, devices: int) -> Check | None:
    """Whether torch can use the CUDA devices; None where there are none."""
    if not devices:
        return None
    if sees:
        return Check("cuda", "good", f"torch is built for CUDA {built_for} and sees the devices")
    if built_for is None:
        words = (
            "there are CUDA devices, but torch is built without CUDA: install the build for your driver (see `driver`)"
        )
        return Check("cuda", "bad", words)
    words = (
        f"torch is built for CUDA {built_for} and cannot start it: if the driver is too old (see `driver`), "
        "`make install` chooses a torch for it; otherwise check that the device is still available"
    )
    return Check("cuda", "bad", words)
