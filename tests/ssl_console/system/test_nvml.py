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


CARDS = """
import json, sys
from dataclasses import asdict
from ssl_console.launchers.base import Resources
from ssl_console.launchers.local.launcher import worker_environment
from ssl_console.system.machine_checks import device_check
from ssl_console.system.nvml import cuda_devices, driver_problems, order_is_known, read_cuda
devices = cuda_devices()
json.dump({"devices": [asdict(device) for device in devices],
           "readings": [asdict(read_cuda(device)) for device in devices],
           "shown": [worker_environment(Resources("s", device, 1), {})["CUDA_VISIBLE_DEVICES"] for device in devices],
           "checks": [asdict(device_check(device, read_cuda(device))) for device in devices],
           "problems": driver_problems(), "known": order_is_known()}, sys.stdout)
"""


def cards(folder: Path, *flags: str, holders: str = "", **variables: str) -> Any:
    """What a process learns of the devices of the replacement."""
    (folder / "holders").write_text(holders)
    environment = {**stand_in_driver(folder, *flags), "NVML_HOLDERS": str(folder / "holders"), **variables}
    done = subprocess.run([sys.executable, "-c", CARDS], capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


def test_instances_of_a_gpu_in_mig_mode_are_devices_that_workers_are_shown_by_uuid(tmp_path: Path) -> None:
    found = cards(tmp_path, "-DMIG=3", "-DCARDS=2")
    titles = [(device["name"], device["title"]) for device in found["devices"]]
    assert titles == [*((f"cuda:{n}", "Test GPU MIG 1g.5gb") for n in range(3)), ("cuda:3", "Small GPU")]
    assert [uuid[:4] for uuid in found["shown"]] == ["MIG-", "MIG-", "MIG-", "GPU-"]
    assert len(set(found["shown"])) == 4
    assert (found["problems"], found["known"]) == ([], True)


def test_a_worker_sees_the_instance_that_it_was_given(tmp_path: Path) -> None:
    given = cards(tmp_path, "-DMIG=3")["shown"][1]
    (device,) = cards(tmp_path, "-DMIG=3", CUDA_VISIBLE_DEVICES=given)["devices"]
    assert (device["name"], device["uuid"]) == ("cuda:0", given)


def test_the_number_of_a_gpu_in_mig_mode_means_its_instances(tmp_path: Path) -> None:
    found = cards(tmp_path, "-DMIG=2", "-DCARDS=2", CUDA_VISIBLE_DEVICES="1,0")
    assert [device["title"] for device in found["devices"]] == ["Small GPU", *["Test GPU MIG 1g.5gb"] * 2]


def test_processes_that_compute_through_mps_are_listed_with_the_others(tmp_path: Path) -> None:
    (reading,) = cards(tmp_path, "-DHOLDERS", holders="812 1024\n813 2048 mps\n")["readings"]
    assert [(process["pid"], process["memory_mb"]) for process in reading["processes"]] == [(812, 1024), (813, 2048)]
    assert reading["memory_used_mb"] == 3072


def test_an_exclusive_compute_mode_is_noted_and_read(tmp_path: Path) -> None:
    found = cards(tmp_path, "-DCOMPUTE_MODE=3", "-DHOLDERS", holders="812 1024\n")
    assert found["readings"][0]["exclusive"]
    (check,) = found["checks"]
    assert check["verdict"] == "note"
    assert "one process at a time" in check["words"]
    assert "pid 812 of an unknown user holds 1.0 GB" in check["words"]


def test_a_gpu_on_which_nothing_may_compute_is_a_problem(tmp_path: Path) -> None:
    (problem,) = cards(tmp_path, "-DCOMPUTE_MODE=2")["problems"]
    assert "nvidia-smi -i 0 -c DEFAULT" in problem
