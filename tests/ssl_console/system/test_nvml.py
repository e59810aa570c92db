"""NVIDIA's Python binding on a compiled replacement of its driver, as no test machine has the device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("nvml.c")
ASK = """
import json, sys, time
from ssl_console.system.nvml import cuda_devices, driver_version, read_cuda
from ssl_console.worker.provenance import EnergyMeter
(device,) = cuda_devices()
meter, begun = EnergyMeter("cuda:0"), time.monotonic()
while time.monotonic() - begun < 0.2:
    time.sleep(0.01)
used, seconds, now = meter.used_j(), time.monotonic() - begun, read_cuda(device)
json.dump({"title": device.title, "driver": driver_version(), "used": used, "seconds": seconds,
           "power": now.power_w, "temperature": now.temperature, "memory": now.memory_used_mb,
           "other": EnergyMeter("cpu").used_j()}, sys.stdout)
"""


def stand_in_driver(folder: Path, *flags: str) -> dict[str, str]:
    """Environment in which a process finds the replacement, compiled to `folder`, in the driver library's place."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", *flags, "-o", str(library), str(SOURCE)], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    return environment


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., Any]:
    """Output of a process that finds the replacement in the driver library's place."""

    def ask(*flags: str) -> Any:
        environment = stand_in_driver(tmp_path, *flags)
        done = subprocess.run(
            [sys.executable, "-c", ASK], capture_output=True, text=True, env=environment, check=True, timeout=120
        )
        return json.loads(done.stdout)

    return ask


def test_the_energy_of_a_run_is_what_the_device_counted_meanwhile(asked: Callable[..., Any]) -> None:
    told = asked()
    assert (told["title"], told["driver"]) == ("Test GPU", "570.00")
    assert (told["power"], told["temperature"], told["memory"]) == (250.0, 61.0, 2048.0)
    assert told["used"] == pytest.approx(250 * told["seconds"], rel=0.2)
    assert told["other"] is None, "a run on the CPU has no such count"


def test_a_device_without_an_energy_count_tells_everything_else(asked: Callable[..., Any]) -> None:
    told = asked("-DWITHOUT_ENERGY")
    assert told["used"] is None
    assert told["power"] == 250.0
