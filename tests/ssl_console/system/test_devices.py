"""Detection and monitoring of devices, with and without an NVIDIA driver."""

from __future__ import annotations

import os
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ssl_console.launchers.base import Resources
from ssl_console.launchers.local.launcher import worker_environment
from ssl_console.system import nvml
from ssl_console.system.device import Device, DeviceProcess
from ssl_console.system.devices import all_devices, choose_devices, default_devices, parse_devices, read_device
from ssl_console.system.errors import ConsoleError

GIGABYTE = 2**30
CPU = Device("cpu", "CPU")
GPUS = [Device("cuda:0", "A"), Device("cuda:1", "B")]


class DriverError(Exception):
    """Error of the replacement's queries."""


class Driver(ModuleType):
    """Replacement of `pynvml` without an NVIDIA device: two GPUs, one of which has fallen off the bus."""

    NVMLError = DriverError
    NVML_TEMPERATURE_GPU = 0
    UUIDS = ("GPU-aaaa", "GPU-bbbb")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return self.UUIDS[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid not in self.UUIDS:
            raise DriverError("not found")
        return uuid

    def nvmlDeviceGetUUID(self, handle: str) -> bytes:  # noqa: N802
        return handle.encode()

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return f"Card {handle[-1]}"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        if handle == "GPU-bbbb":
            raise DriverError("GPU is lost")
        return SimpleNamespace(total=80 * GIGABYTE, used=69 * GIGABYTE)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=93)

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        raise DriverError("not supported")

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 300_500

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:  # noqa: N802
        return 700_000

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=68 * GIGABYTE),
            SimpleNamespace(pid=2**22 - 1, usedGpuMemory=None),
        ]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", lambda: Driver("pynvml"))
    monkeypatch.delenv(nvml.VISIBLE, raising=False)


def test_cpu_is_always_there_and_can_be_read() -> None:
    cpu = all_devices()[-1]
    assert cpu.name == "cpu"
    reading = read_device(cpu)
    assert reading is not None
    assert 0 < reading.memory_free_mb < reading.memory_total_mb


def test_reading_of_a_cuda_device_tolerates_what_it_does_not_support(driver: None) -> None:
    device = nvml.cuda_devices()[0]
    assert (device.name, device.title, device.uuid) == ("cuda:0", "Card a", "GPU-aaaa")
    reading = read_device(device)
    assert reading is not None
    assert (reading.utilisation, reading.temperature, reading.power_w) == (93.0, None, 300.5)
    assert reading.memory_free_mb == 11 * 1024
    mine, gone = reading.with_ours([os.getpid()]).processes
    assert (mine.ours, mine.memory_mb, mine.user is not None) == (True, 68 * 1024, True)
    assert gone == DeviceProcess(2**22 - 1, None, None)


def test_lost_device_says_nothing_and_breaks_nothing(driver: None) -> None:
    assert read_device(nvml.cuda_devices()[1]) is None


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("1,0", ["GPU-bbbb", "GPU-aaaa"]),
        ("GPU-b", ["GPU-bbbb"]),
        ("", []),
        ("0,7,1", ["GPU-aaaa"]),
    ],
)
def test_devices_are_numbered_as_cuda_numbers_what_is_visible(
    driver: None, monkeypatch: pytest.MonkeyPatch, visible: str, uuids: list[str]
) -> None:
    monkeypatch.setenv(nvml.VISIBLE, visible)
    assert [(device.name, device.uuid) for device in nvml.cuda_devices()] == [
        (f"cuda:{index}", uuid) for index, uuid in enumerate(uuids)
    ]


def test_names_are_parsed_and_strange_ones_refused() -> None:
    assert parse_devices(" cuda:0, CPU,cuda:0,") == ("cuda:0", "cpu")
    assert parse_devices(None) == ()
    with pytest.raises(ConsoleError, match="'gpu0' is not a device: use cpu, mps, cuda"):
        parse_devices("gpu0")


def test_cuda_devices_are_preferred_and_the_cpu_is_the_last_resort() -> None:
    assert default_devices([*GPUS, CPU]) == GPUS
    assert default_devices([CPU]) == [CPU]
    assert choose_devices((), [*GPUS, CPU]) == GPUS
    assert choose_devices(("cpu", "cuda"), [*GPUS, CPU]) == [CPU, *GPUS]
    with pytest.raises(ConsoleError, match=r"no device 'cuda:5' .*available: cuda:0, cuda:1, cpu"):
        choose_devices(("cuda:5",), [*GPUS, CPU])


def test_worker_is_shown_its_own_device_alone() -> None:
    device = Device("cuda:1", "B", "GPU-bbbb")
    environment = worker_environment(Resources("cuda:1/0", device, threads=4), {"HOME": "/home/me"})
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"
    assert environment["OMP_NUM_THREADS"] == "4"
    assert environment["HOME"] == "/home/me"
    on_cpu = worker_environment(Resources("cpu/0", CPU, threads=1), {"OMP_NUM_THREADS": "3"})
    assert on_cpu["CUDA_VISIBLE_DEVICES"] == ""
    assert on_cpu["OMP_NUM_THREADS"] == "3"
