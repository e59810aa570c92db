"""Other processes of this machine: whether they live, how they ended, and their end."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import psutil

CLOCK_TOLERANCE_S = 2.0
"""The start time that the system reports moves a little when its clock is set."""
UNWRITTEN = 74
"""Exit code of a worker that could not write down what came of its run (EX_IOERR of sysexits.h)."""

_FLAGS, _PF_ENDING = 6, 0x404
"""Where the kernel's flags stand in `/proc/PID/stat` after the name, and those of a process that is ended by a signal
(PF_SIGNALED) or leaves (PF_EXITING)."""


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


def is_going(pid: int, started: float) -> bool:
    """Whether that process has ended or been killed: one that was may hold its files, and so its locks, for a while."""
    return _killed(pid) or not lives(pid, started)


def _killed(pid: int) -> bool:
    """Whether the kernel is about to end the process, or at it (Linux; elsewhere False)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_FLAGS])
    except (OSError, ValueError, IndexError):
        return False
    pending = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigPnd:")), 0)
    return bool(pending >> (signal.SIGKILL - 1) & 1 or flags & _PF_ENDING)


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


def end_marked(variable: str, value: str) -> int:
    """Kill every process of this user that was started with this environment variable; how many there were (Linux).

    So a program that has left its process group, and whose parents are gone, is still known.
    """
    mark = f"{variable}={value}".encode()
    found = [pid for pid in psutil.pids() if pid != os.getpid() and mark in environment_of(pid)]
    for pid in found:
        signal_process(pid, signal.SIGKILL)
    return len(found)


def environment_of(pid: int) -> list[bytes]:
    """The variables that a process was started with, as `NAME=value`; empty where that cannot be seen."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
