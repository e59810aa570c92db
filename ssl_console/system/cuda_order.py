"""CUDA's own numbering of the devices that this process may use, by UUID.

Without CUDA_DEVICE_ORDER=PCI_BUS_ID, CUDA lists the fastest card first, and numbers in CUDA_VISIBLE_DEVICES refer to
that order; the driver's management library counts by PCI address. Where cards differ, CUDA's driver library is queried
in a subprocess, because initialising it in this process would allocate memory on every card.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache

ORDER, VISIBLE = "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"
BY_ADDRESS = "PCI_BUS_ID"
SECONDS = 30.0
_ASK = """
import ctypes, uuid
cuda = ctypes.CDLL("libcuda.so.1")
count, device, number = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(16)
assert cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
ask = getattr(cuda, "cuDeviceGetUuid_v2", cuda.cuDeviceGetUuid)
for index in range(count.value):
    assert cuda.cuDeviceGet(ctypes.byref(device), index) == 0 and ask(number, device) == 0
    print("GPU-" + str(uuid.UUID(bytes=number.raw)))
"""


def counts_by_address() -> bool:
    """Whether device numbers refer to the PCI order in this process."""
    return os.environ.get(ORDER) == BY_ADDRESS


def uuids_by_cuda() -> tuple[str, ...] | None:
    """UUIDs of the visible devices in CUDA's order; None where CUDA cannot be queried."""
    return _asked(os.environ.get(ORDER), os.environ.get(VISIBLE))


@lru_cache(maxsize=4)
def _asked(order: str | None, visible: str | None) -> tuple[str, ...] | None:
    """Result of the query under these two variables."""
    given = {name: value for name, value in ((ORDER, order), (VISIBLE, visible)) if value is not None}
    environment = {name: value for name, value in os.environ.items() if name not in (ORDER, VISIBLE)} | given
    command = [sys.executable, "-I", "-c", _ASK]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(done.stdout.split()) if done.returncode == 0 else None
