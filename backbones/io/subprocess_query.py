"""Asking a module in a process of its own: whatever imports torch answers from there, and the asker stays small."""

from __future__ import annotations

import os
import subprocess
import sys


def run_module(
    module: str, *arguments: str, given: str | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -P -m module ARGUMENTS` with `given` on standard input; what it wrote, whatever its exit code.

    No weights are looked for on the network, and no warnings are printed. Raises subprocess.TimeoutExpired.
    """
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
        check=False,
    )


def last_error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of standard error, where a process that failed says why; else its exit code."""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
