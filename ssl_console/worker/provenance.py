"""Provenance of a result: code, package versions, machine, peak memory and energy."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import backbones
import ssl_console
import tasks
from ssl_console._version import __version__
from ssl_console.system.nvml import cuda_devices, driver_version, energy_j
from ssl_console.workspace.result import Code

PACKAGES = ("numpy", "scipy", "scikit-learn", "timm", "torch", "torchvision", "pillow", "safetensors")
GIT_SECONDS = 10.0
_CPU_INFO = Path("/proc/cpuinfo")


@lru_cache(maxsize=1)
def code() -> Code:
    """State of this package's source files; computed once, when the process starts."""
    folders = [Path(package.__path__[0]) for package in (backbones, ssl_console, tasks)]
    # the repository may be another one that happens to contain the Python environment
    tracked = _git(folders[0], "ls-files", "--error-unmatch", "__init__.py") is not None
    commit = _git(folders[0], "rev-parse", "HEAD") if tracked else None
    dirty = None if commit is None else any(_differs(folder, commit) for folder in folders)
    return Code(digest=_digest(folders), commit=commit, dirty=dirty)


def versions() -> dict[str, str]:
    """Versions of this package, python, and the packages that scores may depend on."""
    found = {"ssl-console": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine(device: str) -> dict[str, str]:
    """The device (by torch's name in this process), its driver, the processor and the system."""
    found = {"processor": _processor(), "cores": str(os.cpu_count() or 1), "system": platform.platform()}
    named = next((one for one in cuda_devices() if one.name == device), None) if device.startswith("cuda") else None
    if named is not None:
        found |= {"device": named.title, "driver": driver_version() or "unknown"}
    cuda = getattr(getattr(sys.modules.get("torch"), "version", None), "cuda", None)
    return found | ({"cuda": str(cuda)} if cuda and named is not None else {})


def _digest(folders: list[Path]) -> str:
    whole = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            whole.update(f"{folder.name}/{path.relative_to(folder)}\0".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _differs(folder: Path, commit: str) -> bool:
    """Whether source files were changed, added or removed since the commit.

    They are hashed here, because `git status` would run programs that a repository configures: filters, a file monitor.
    """
    listed = _git(folder, "ls-tree", "-r", "-z", commit, "--", ".") or ""
    entries = [entry.partition("\t") for entry in listed.split("\0") if entry]
    expected = {name: about.split()[2] for about, _, name in entries if about.split()[1] == "blob"}
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    files |= {name: folder / name for name in expected}
    return any(expected.get(name) != _blob_id(path, len(commit)) for name, path in files.items())


def _blob_id(path: Path, digits: int) -> str | None:
    """Git's object name of a file's content; None where the file does not exist."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    whole = hashlib.sha1(usedforsecurity=False) if digits == SHA1_DIGITS else hashlib.sha256()
    whole.update(b"blob %d\0" % len(content))
    whole.update(content)
    return whole.hexdigest()


SHA1_DIGITS = 40
RUNS_NOTHING = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat")
"""Settings of a repository can name programs; these options override them."""


def _git(folder: Path, *words: str) -> str | None:
    """Output of git for the repository that contains the folder, ignoring any repository in the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *RUNS_NOTHING, *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    with suppress(OSError):
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


MEGABYTE = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def reset_peaks() -> None:
    """Reset the peak memory counters, where the system and the device support it."""
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)
    if (cuda := _cuda()) is not None:
        cuda.reset_peak_memory_stats()


def host_peak_mb() -> float:
    """Peak resident memory in MB since `reset_peaks`; since the start of the process where it cannot be reset."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def device_peak_mb() -> float | None:
    """Peak memory in MB that torch allocated on the CUDA device; None when this process uses none."""
    cuda = _cuda()
    return None if cuda is None else cuda.max_memory_reserved() / MEGABYTE


class EnergyMeter:
    """Energy drawn by the whole device since construction, including other processes' share."""

    def __init__(self, device: str) -> None:
        """Start measuring; `device` is torch's name in this process."""
        known = cuda_devices() if device.startswith("cuda") else []
        self._device = next((one for one in known if one.name == device), None)
        self._before = None if self._device is None else energy_j(self._device)

    def used_j(self) -> float | None:
        """Energy in joules; None where the device does not report it."""
        now = None if self._device is None else energy_j(self._device)
        return None if now is None or self._before is None else now - self._before


def _cuda() -> Any:  # noqa: ANN401 - torch's module, which must not be imported to name its type
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
