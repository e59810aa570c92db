"""The CUDA version that torch was built for, and whether the installed driver can start it. Never imports torch.

`python -I ssl_console/system/torch_build.py [VERSION]` prints pip constraints for this machine. `make install` runs it
before anything is installed, so this module uses only the standard library.

A driver starts programs of its own major version of CUDA and of older ones (CUDA's minor-version compatibility): a
driver of the CUDA 12 era cannot start a torch built for CUDA 13.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CudaVersion = tuple[int, int]
NEWEST, CUDA_12 = "constraints.txt", "constraints-cuda12.txt"
OLDEST_CUDA = 12
"""Major version of CUDA below which no supported torch can use the driver."""
SMI_SECONDS = 20.0
_TORCH = re.compile(r"(torch|torchvision|triton|cuda-.*|nvidia-(?!ml-py).*)==", re.IGNORECASE)
"""Pins that belong to one build of torch."""


def built_for() -> CudaVersion | None:
    """The CUDA version of the installed torch, from its `version.py`; None for one without CUDA, or without torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    return _version(re.search(r"^cuda\b[^=\n]*=\s*['\"](\d+)\.(\d+)", text, re.MULTILINE))


def can_start(build: CudaVersion, driver: CudaVersion) -> bool:
    """Whether a torch built for `build` works with a driver that supports CUDA up to `driver`."""
    return driver[0] >= build[0]


def constraints_file(driver: CudaVersion | None) -> str:
    """The constraints file whose torch works with the driver; the newest without a driver, as torch then computes on
    the CPU.
    """
    return CUDA_12 if driver is not None and driver[0] <= OLDEST_CUDA else NEWEST


def constraints(folder: Path, driver: CudaVersion | None, torch: str | None = None) -> str:
    """Lines for `pip --constraint`; with `torch`, that version and its requirements instead of the pinned build."""
    pins = (folder / constraints_file(driver)).read_text(encoding="utf-8")
    if torch is None:
        return pins
    others = [line for line in pins.splitlines() if not _TORCH.match(line.replace("_", "-"))]
    return "\n".join([*others, f"torch=={torch}", ""])


def _from_libcuda(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> CudaVersion | None:
    """The newest CUDA version that the driver supports; None without a driver, or without its library."""
    try:
        library = load("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int(0)
    if library.cuDriverGetVersion(ctypes.byref(number)) != 0 or number.value <= 0:
        return None
    return number.value // 1000, number.value % 1000 // 10


def _from_smi() -> CudaVersion | None:
    try:
        asked = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _version(re.search(r"CUDA Version:\s*(\d+)\.(\d+)", asked.stdout))


def _version(found: re.Match[str] | None) -> CudaVersion | None:
    return None if found is None else (int(found[1]), int(found[2]))


def main(arguments: list[str]) -> int:
    """Print the constraints; explain the choice on stderr."""
    driver, torch = _from_libcuda() or _from_smi(), (arguments[0] if arguments and arguments[0] else None)
    folder = Path(__file__).resolve().parents[2]
    if torch:
        print(f"torch {torch}, as requested", file=sys.stderr)
    elif driver is None:
        print("no NVIDIA driver: the newest torch, on the CPU", file=sys.stderr)
    elif driver[0] < OLDEST_CUDA:
        print(
            f"the driver supports CUDA {driver[0]}.{driver[1]}, too old for every supported "
            "torch (CUDA 12): runs will use the CPU until the driver is updated",
            file=sys.stderr,
        )
    else:
        print(
            f"the driver supports CUDA {driver[0]}.{driver[1]}: torch as pinned in {constraints_file(driver)}",
            file=sys.stderr,
        )
    sys.stdout.write(constraints(folder, driver, torch))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
