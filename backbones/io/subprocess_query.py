"""Queries answered by a module in a subprocess, so that the caller does not import torch.

As a program, `python -P -m backbones.io.subprocess_query torch timm`, it imports libraries and prints their versions as
JSON, with the CUDA version that torch was built for, null for none, and whether torch finds a device.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from tempfile import TemporaryFile

WAIT_POLICY = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}
"""Idle threads of OpenMP and of NumPy's OpenBLAS sleep, the latter after 2^4 instead of 2^26 cycles. Spinning ones
occupy the cores of the decoding threads and of other processes: with two threads on a machine at load 4, encoding was
2 to 10 times slower, and many small products of NumPy took six times their CPU time.
"""


def run_module(
    module: str, *arguments: str, given: str | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -P -m module ARGUMENTS` with `given` on standard input; return its output, whatever its exit
    code.

    Network access for weights and warnings are disabled. Raises subprocess.TimeoutExpired.
    """
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=_environment(),
        check=False,
    )


def _environment() -> dict[str, str]:
    return {**WAIT_POLICY, **os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}


def stream_module(
    module: str, *arguments: str, given: str, take: Callable[[str], None], silence_s: float | None = None
) -> str:
    """Run `python -P -m module ARGUMENTS` and pass on each line of its output as it arrives.

    Returns the last line of its errors, or its exit code; empty if it succeeded. Raises subprocess.TimeoutExpired and
    kills the process when no line arrives for `silence_s` seconds.
    """
    command = [sys.executable, "-P", "-m", module, *arguments]
    with (
        TemporaryFile("w+") as errors,  # the pipe would fill and block the process if it were not read
        TemporaryFile("w+") as entered,
    ):
        entered.write(given)
        entered.seek(0)
        with subprocess.Popen(
            command, stdin=entered, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment()
        ) as process:
            assert process.stdout is not None
            silent = _Alarm(process, silence_s)
            for line in process.stdout:
                silent.restart()
                take(line)
            code = process.wait()
            silent.stop()
        if silent.rang:
            raise subprocess.TimeoutExpired(command, silence_s or 0.0)
        errors.seek(0)
        return (errors.read().strip().splitlines() or [f"exit code {code}"])[-1] if code else ""


class _Alarm:
    """Kills a process that has been silent for too long."""

    def __init__(self, process: subprocess.Popen[str], seconds: float | None) -> None:
        self.process, self.seconds, self.rang = process, seconds, False
        self.timer: threading.Timer | None = None
        self.restart()

    def restart(self) -> None:
        self.stop()
        if self.seconds is not None:
            self.timer = threading.Timer(self.seconds, self._ring)
            self.timer.daemon = True
            self.timer.start()

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _ring(self) -> None:
        self.rang = True
        self.process.kill()


def last_error_line(done: subprocess.CompletedProcess[str]) -> str:
    """Last line of standard error, usually the reason of a failure; else the exit code."""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def main(names: list[str]) -> None:
    """Print `[{name: version}, CUDA version, whether there is a device]`."""
    found = {name: importlib.import_module(name).__version__ for name in names}
    torch = importlib.import_module("torch")
    print(json.dumps([found, torch.version.cuda, torch.cuda.is_available()]))


if __name__ == "__main__":
    main(sys.argv[1:])
