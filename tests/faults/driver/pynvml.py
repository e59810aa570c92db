"""Replacement of NVIDIA's management library, found first through PYTHONPATH: two GPUs without other processes.

The supervisor then assigns GPUs on machines without any. They are used by the protocol `misconduct`, which needs
none and notes what it was given.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

CARDS = dict(card.split("=") for card in os.environ.get("STANDIN_CARDS", "GPU-aaaa=Card a,GPU-bbbb=Card b").split(","))
"""Title of each card by UUID, in the order of their PCI addresses."""
UUIDS = tuple(CARDS)
LOST = os.environ.get("STANDIN_LOST", "").split(",")
NVML_TEMPERATURE_GPU = 0
GIGABYTE = 2**30


class NVMLError(Exception):
    """Error of queries about other devices."""

    def __init__(self, value: object) -> None:
        super().__init__(value)
        self.value = value


def nvmlInit() -> None:  # noqa: N802
    """Do nothing, or fail with the error number in the environment."""
    if number := os.environ.get("STANDIN_INIT_ERROR"):
        raise NVMLError(int(number))


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return len(UUIDS)


def nvmlDeviceGetHandleByIndex(index: int) -> str:  # noqa: N802
    return UUIDS[index]


def nvmlDeviceGetHandleByUUID(uuid: str) -> str:  # noqa: N802
    if uuid not in UUIDS:
        raise NVMLError("not found")
    return uuid


def nvmlDeviceGetUUID(handle: str) -> str:  # noqa: N802
    return handle


def nvmlDeviceGetName(handle: str) -> str:  # noqa: N802
    return CARDS[handle]


def nvmlDeviceGetMemoryInfo(handle: str) -> Any:  # noqa: N802
    if handle in LOST:
        raise NVMLError(15)
    return SimpleNamespace(total=80 * GIGABYTE, used=GIGABYTE)


def nvmlDeviceGetUtilizationRates(handle: str) -> Any:  # noqa: N802
    return SimpleNamespace(gpu=50)


def nvmlDeviceGetTemperature(handle: str, sensor: int) -> int:  # noqa: N802
    return 50


def nvmlDeviceGetPowerUsage(handle: str) -> int:  # noqa: N802
    return 300_000


def nvmlDeviceGetTotalEnergyConsumption(handle: str) -> int:  # noqa: N802
    return 1_000_000


def nvmlDeviceGetComputeRunningProcesses(handle: str) -> list[Any]:  # noqa: N802
    return []


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return "550.00"


def nvmlSystemGetCudaDriverVersion() -> int:  # noqa: N802
    return 99_000  # newer than any supported by torch
