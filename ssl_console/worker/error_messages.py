"""Classification of failures, and the message that users read."""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from backbones.io.errors import WeightsError
from ssl_console.system.nvml import cuda_devices, read_cuda
from ssl_console.worker.provenance import device_peak_mb
from ssl_console.workspace.run import FailureKind, MemoryShortage
from tasks.features.manifest import NotFiniteError, OutOfMemoryError

LONGEST = 600
"""Maximum length of a message in characters."""
OWN_PACKAGES = frozenset({"tasks", "backbones", "ssl_console"})
"""Packages whose errors are meant for users: they name the place and the fix."""
_OWN = re.compile(r"this process has ([\d.]+) ([KMG]iB)")
_REQUESTED = re.compile(r"ried to allocate ([\d.]+) ([KMG]iB)")
"""Memory in the message of torch's allocator."""
LEAST_NEED_MB = 600.0
"""Device memory in MB of a process that has computed nothing yet."""
_MEGABYTES = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}
_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def classify_failure(error: BaseException, log: Path) -> tuple[FailureKind, str]:
    """Kind of failure and one sentence; `log` is the file that contains the traceback."""
    kind = _kind(error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        place = f" ({error.filename})" if error.filename else ""
        return kind, f"the disk is full{place}: make room (`ssl-console cache prune` frees features) and retry"
    line = next(iter(str(error).strip().splitlines()), "").strip()
    sentence = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    package = type(error).__module__.partition(".")[0]
    if kind == "crash" and package not in OWN_PACKAGES:
        return kind, f"{_named(error, sentence)} {_place(error)}; the traceback is in {log}"
    if kind == "oom" and package != "tasks":
        return kind, f"memory ran out: {sentence or type(error).__name__}"
    return kind, sentence or type(error).__name__


def memory_shortage(error: BaseException, device: str, torch_device: str) -> MemoryShortage | None:
    """Memory of the device after it ran out; None for main memory, or a device that does not report its memory.

    `device` is the supervisor's name of the device, `torch_device` that in this process.
    """
    card = next((one for one in cuda_devices() if one.name == torch_device), None)
    reading = None if card is None else read_cuda(card)
    if reading is None or not any("CUDA" in str(one) or "CUBLAS" in str(one) for one in _causes(error)):
        return None
    marked = reading.with_ours([os.getpid()])
    listed = sum(process.memory_mb or 0.0 for process in marked.processes if process.ours)
    held = _megabytes(_OWN, error) or max(listed, device_peak_mb() or 0.0)
    need = held + (_megabytes(_REQUESTED, error) or 0.0)
    return MemoryShortage(device=device, reading=marked, need_mb=max(need, LEAST_NEED_MB))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _megabytes(pattern: re.Pattern[str], error: BaseException) -> float | None:
    """The figure in the message of the error, or of its causes."""
    found = next(filter(None, (pattern.search(str(one)) for one in _causes(error))), None)
    return float(found[1]) * _MEGABYTES[found[2]] if found else None


def _kind(error: BaseException) -> FailureKind:
    # imported here because it imports numpy, which a worker without failures may not need
    from tasks.datasets.dataset import DataError  # noqa: PLC0415

    kinds: tuple[tuple[type[BaseException], FailureKind], ...] = (
        (OutOfMemoryError, "oom"),
        (MemoryError, "oom"),
        (NotFiniteError, "nan"),
        (DataError, "data"),
        (WeightsError, "weights"),
    )
    if isinstance(error, RuntimeError) and any(message in str(error) for message in _MEMORY_MESSAGES):
        return "oom"
    return next((kind for types, kind in kinds if isinstance(error, types)), "crash")


def _named(error: BaseException, sentence: str) -> str:
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
