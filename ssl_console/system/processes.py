"""Other processes of this machine: whether they are alive, their exit codes, and their termination."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from heapq import nlargest
from pathlib import Path

import psutil

from ssl_console.system.device import MEGABYTE, DeviceProcess

CLOCK_TOLERANCE_S = 2.0
"""Tolerance in seconds: the start time that the system reports changes slightly when its clock is set."""
UNWRITTEN = 74
"""Exit code of a worker that could not record the outcome of its run (EX_IOERR of sysexits.h)."""

_FLAGS, _PF_ENDING = 6, 0x404
"""Position of the kernel's flags in `/proc/PID/stat` after the name, and the flags of a process that is being killed by
a signal (PF_SIGNALED) or exiting (PF_EXITING).
"""


def this_host() -> str:
    """Name of this machine in records of a shared workspace."""
    return socket.gethostname()


_BOOT_ID, _PID_NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
_INITIAL_NAMESPACE = "pid:[4026531836]"
"""PID namespace of the machine itself; containers have others, with process numbers of their own."""


@lru_cache(maxsize=1)
def this_machine() -> str:
    """Boot and PID namespace in which this process's numbers are valid; empty where unknown."""
    try:
        return f"{_BOOT_ID.read_text().strip()} {_PID_NAMESPACE.readlink()}"
    except OSError:
        return ""


def is_here(host: str, machine: str) -> bool:
    """Whether process numbers written by `host` can be looked up here.

    Containers often share a host name and number their processes each from 1. On the machine itself, another boot id
    means a reboot, after which earlier processes are gone. Records of earlier versions name no machine.
    """
    mine = this_machine()
    if host != this_host():
        return False
    initial = machine.endswith(_INITIAL_NAMESPACE) and mine.endswith(_INITIAL_NAMESPACE)
    return not machine or not mine or machine == mine or initial


def started_at(pid: int) -> float | None:
    """Start time of the process, in seconds since the epoch; None when it does not exist or is a zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def lives(pid: int, started: float) -> bool:
    """Whether the process that started at that time still runs; another one with a reused pid does not count."""
    now = started_at(pid)
    return now is not None and abs(now - started) < CLOCK_TOLERANCE_S


def is_going(pid: int, started: float) -> bool:
    """Whether the process has ended or been killed: a killed one may hold its files, and so its locks, for a while."""
    return _killed(pid) or not lives(pid, started)


def _killed(pid: int) -> bool:
    """Whether the process is being terminated by the kernel (Linux; elsewhere False)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_FLAGS])
    except (OSError, ValueError, IndexError):
        return False
    pending = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigPnd:")), 0)
    return bool(pending >> (signal.SIGKILL - 1) & 1 or flags & _PF_ENDING)


def is_suspended(pid: int) -> bool:
    """Whether the process is stopped by a signal, or frozen with its control group (`docker pause`), not stuck."""
    with suppress(psutil.Error):
        if psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}:
            return True
    with suppress(OSError):
        group = Path(f"/proc/{pid}/cgroup").read_text().rpartition("::")[2].strip()
        return "frozen 1" in Path(f"/sys/fs/cgroup{group}/cgroup.events").read_text()
    return False


def user_of(pid: int) -> str | None:
    """Name of the user that owns the process; None where it is not visible."""
    try:
        return str(psutil.Process(pid).username())
    except (psutil.Error, KeyError):
        return None


def command_of(pid: int) -> str | None:
    """Name of the process's program; None where it is not visible."""
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return None


def own_start() -> float:
    """Start time of this process, in seconds since the epoch."""
    return float(psutil.Process().create_time())


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; a missing process is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to every process of a group; a missing group is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def describe_exit(code: int) -> str:
    """Description of an exit code of `subprocess` (negative for signals), as a predicate of "the worker"."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}{_likely_cause(name)}"


def _likely_cause(name: str) -> str:
    """Usual reason for which the kernel sends this signal."""
    seconds, _ = resource.getrlimit(resource.RLIMIT_CPU)  # the workers of this process have the same
    if name == "SIGXCPU":
        return " (its CPU time was used up: `ulimit -t`)"
    if name != "SIGKILL":
        return ""
    if seconds != resource.RLIM_INFINITY:
        return f" (its CPU time is limited to {seconds} s, `ulimit -t`; the kernel also does this when memory runs out)"
    return " (the kernel does this when memory runs out: see `dmesg`)"


def end_marked(variable: str, value: str) -> int:
    """Kill every process of this user that was started with this environment variable; return their number (Linux).

    Finds programs that have left their process group and whose parents have exited.
    """
    mark = f"{variable}={value}".encode()
    found = [pid for pid in psutil.pids() if pid != os.getpid() and mark in environment_of(pid)]
    for pid in found:
        signal_process(pid, signal.SIGKILL)
    return len(found)


def environment_of(pid: int) -> list[bytes]:
    """Environment of a process at its start, as `NAME=value`; empty where it is not visible."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def largest_processes(count: int) -> tuple[DeviceProcess, ...]:
    """The `count` processes with the most resident memory in MB, largest first, shared memory excluded.

    Reads every process of the machine: about 20 microseconds each.
    """
    held = _private_mb()
    largest = nlargest(count, held, key=lambda pid: held[pid])
    return tuple(DeviceProcess(pid, user_of(pid), held[pid], command=command_of(pid)) for pid in largest)


def parents_of(pid: int) -> tuple[int, ...]:
    """The process, its parent, and so on; ends where a parent is not visible."""
    try:
        return (pid, *(parent.pid for parent in psutil.Process(pid).parents()))
    except psutil.Error:
        return (pid,)


def _private_mb() -> Mapping[int, float]:
    held = {}
    for process in psutil.process_iter(["memory_info"]):
        memory = process.info["memory_info"]
        resident, shared = getattr(memory, "rss", 0), getattr(memory, "shared", 0)
        held[process.pid] = max(0, resident - shared) / MEGABYTE
    return held
