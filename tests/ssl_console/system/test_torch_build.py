"""The installed torch fits the driver, and devices that torch cannot use are refused before a launch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ssl_console.system import devices, torch_build
from ssl_console.system.device import Device
from ssl_console.system.devices import require_usable
from ssl_console.system.errors import ConsoleError
from ssl_console.system.torch_build import CudaVersion, built_for, can_start, constraints, constraints_file

ROOT = Path(__file__).parents[3]
GPU, CPU = Device("cuda:0", "A"), Device("cpu", "CPU")
LIBCUDA = """
int cuDriverGetVersion(int *version) { *version = %d; return 0; }
"""


def pins(text: str) -> dict[str, str]:
    return dict(line.split("==") for line in text.splitlines() if line)


def test_the_installed_torch_names_its_cuda_version_without_being_imported() -> None:
    program = (
        "import sys; from ssl_console.system.torch_build import built_for; print(built_for(), 'torch' in sys.modules)"
    )
    told = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=ROOT).strip()
    import torch  # noqa: PLC0415 - the process above must not have it

    version = torch.version.cuda
    assert told == f"{None if version is None else tuple(map(int, version.split('.')))} False"


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (None, "constraints.txt"),
        ((13, 0), "constraints.txt"),
        ((12, 4), "constraints-cuda12.txt"),
        ((14, 1), "constraints.txt"),
    ],
)
def test_a_driver_gets_the_newest_torch_that_it_starts(driver: CudaVersion | None, expected: str) -> None:
    assert constraints_file(driver) == expected


def test_both_constraint_files_pin_the_same_packages_but_for_the_build_of_torch() -> None:
    newest, older = (pins((ROOT / name).read_text()) for name in ("constraints.txt", "constraints-cuda12.txt"))
    differing = {name for name in newest.keys() | older.keys() if newest.get(name) != older.get(name)}
    assert {"torch", "torchvision", "triton"} <= differing
    assert all(name.startswith(("torch", "triton", "nvidia-", "cuda-")) for name in differing)
    assert any(name.endswith("-cu12") for name in older)


def test_another_torch_can_be_asked_for_and_brings_its_own_libraries() -> None:
    lines = pins(constraints(ROOT, (13, 0), "2.9.1"))
    assert lines["torch"] == "2.9.1"
    assert not [name for name in lines if name.startswith(("nvidia-c", "triton", "torchvision", "cuda-"))]
    assert "nvidia-ml-py" in lines


def test_before_anything_is_installed_the_driver_decides(tmp_path: Path) -> None:
    library, source = tmp_path / "libcuda.so.1", tmp_path / "libcuda.c"
    source.write_text(LIBCUDA % 12080)
    compiled = subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=False)
    if compiled.returncode:
        pytest.skip("no C compiler")
    command = [sys.executable, "-I", str(ROOT / "ssl_console" / "system" / "torch_build.py"), ""]
    environment = {"LD_LIBRARY_PATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert pins(told.stdout) == pins((ROOT / "constraints-cuda12.txt").read_text())
    assert "CUDA 12.8" in told.stderr


def test_nvidia_smi_answers_where_the_library_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4 |'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert torch_build._from_smi() == (12, 4)


def test_a_torch_starts_with_drivers_of_its_own_major_version_and_newer_ones() -> None:
    assert can_start((12, 8), (12, 2))
    assert can_start((12, 8), (13, 0))
    assert not can_start((13, 2), (12, 9))


def test_cuda_devices_that_torch_cannot_start_are_refused_with_the_cpu_as_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "built_for", lambda: (13, 2))
    monkeypatch.setattr(devices, "driver_cuda_version", lambda: "12.4")
    with pytest.raises(ConsoleError, match=r"CUDA up to 12\.4.*CUDA 13\.2.*cuda:0.*make install.*--devices cpu"):
        require_usable([GPU, CPU])
    require_usable([CPU])


def test_a_torch_without_cuda_is_refused_on_a_gpu_and_a_fitting_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "driver_cuda_version", lambda: "13.0")
    monkeypatch.setattr(devices, "built_for", lambda: None)
    with pytest.raises(ConsoleError, match="without CUDA"):
        require_usable([GPU])
    monkeypatch.setattr(devices, "built_for", lambda: (13, 2))
    require_usable([GPU])


def test_the_build_is_unknown_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert built_for() is None
