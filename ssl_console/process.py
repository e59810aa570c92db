"""Other processes of this machine: whether they live, how they ended, and their end."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

import psutil

CLOCK_TOLERANCE_S = 2.0
"""The start time that the system reports moves a little when its clock is set."""


def this_host() -> str:
    """The name under which this machine writes into a shared workspace."""
    return socket.gethostname()


def started_at(pid: int) -> float | None:
    """When the process started, in seconds since the epoch; None when there is none, or only its remains."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def lives(pid: int, started: float) -> bool:
    """Whether the process that started then still runs; another one with a reused pid does not count."""
    now = started_at(pid)
    return now is not None and abs(now - started) < CLOCK_TOLERANCE_S


def own_start() -> float:
    """When this process started, in seconds since the epoch."""
    return float(psutil.Process().create_time())


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; one that is gone is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to every process of a group; one that is gone, or never was, is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def describe_exit(code: int) -> str:
    """`code` as `subprocess` gives it (negative for signals), in words that follow "the worker"."""
    if code >= 0:
        return f"left with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (the kernel does this when memory runs out: see `dmesg`)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
