"""The memory that a run takes at its peak, on the host and on its device. Never imports torch by itself."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_console.nvml import cuda_devices, energy_j

MEGABYTE = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def reset_peaks() -> None:
    """Begin to look for new peaks, where the system and the device can."""
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)
    if (cuda := _cuda()) is not None:
        cuda.reset_peak_memory_stats()


def host_peak_mb() -> float:
    """Peak resident memory in MB since `reset_peaks`; since the process began where that cannot be reset."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def device_peak_mb() -> float | None:
    """Peak memory in MB that torch held on the CUDA device; None when this process uses none."""
    cuda = _cuda()
    return None if cuda is None else cuda.max_memory_reserved() / MEGABYTE


class EnergyMeter:
    """The energy that a device draws from now on; the whole device's, whoever uses it meanwhile."""

    def __init__(self, device: str) -> None:
        """Begin; `device` as torch calls it in this process."""
        known = cuda_devices() if device.startswith("cuda") else []
        self._device = next((one for one in known if one.name == device), None)
        self._before = None if self._device is None else energy_j(self._device)

    def used_j(self) -> float | None:
        """In joules; None where the device does not say."""
        now = None if self._device is None else energy_j(self._device)
        return None if now is None or self._before is None else now - self._before


def _cuda() -> Any:  # noqa: ANN401 - torch's module, which must not be imported to name its type
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
