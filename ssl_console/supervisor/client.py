"""Starting and finding the supervisor: one process per workspace, started on demand, found by the lock that it
holds.

There are two locks in `supervisor/`. `lock` is held for the supervisor's lifetime. `door`, the startup lock, is held
briefly by a process that starts a supervisor, and by a supervisor between its last check of the queue and its exit, so
that an exiting supervisor is never mistaken for one that will see the run just submitted.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from backbones.io.file_locks import holding, lock
from backbones.io.files import make_private_folder, open_own
from ssl_console.system.devices import parse_devices
from ssl_console.system.errors import OperationFailed, shortage
from ssl_console.system.processes import is_going, is_here, lives, own_start, this_host, this_machine
from ssl_console.workspace.config import Config, DevicesPerRun, Share
from ssl_console.workspace.events import last_lines
from ssl_console.workspace.ownership import check_owner
from ssl_console.workspace.paths import Workspace

READY = b"ready\n"
LOG_LIMIT = 1 << 20
GOES_S = 10.0
"""Seconds that a killed supervisor may take to disappear."""
NAMED_S = 2.0
"""Seconds that the holder of the lock may take to write its name to it."""
STARTUP_LOCK_S, START_S = 120.0, 300.0
"""Limits in seconds for waiting for the startup lock and for a new supervisor: no wait is unbounded."""


def _names(value: object) -> object:
    return parse_devices(value) if isinstance(value, str) else value


class SupervisorOptions(BaseModel):
    """Options of a supervisor. They do not affect a running one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    devices: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Names of devices; empty for every CUDA device, else MPS, else the CPU."""
    slots_per_device: int | None = Field(None, ge=1)
    """None for two on a CPU of several cores, one elsewhere."""
    share: Share = "free-memory"
    """Policy for starting runs on a GPU that other processes use."""
    devices_per_run: DevicesPerRun = 1
    """Maximum number of devices that compute the features of one run."""
    help_from_s: float = Field(30, ge=0)
    """Time in seconds that an extraction must still need for another device to take part."""
    stall_s: float = Field(300, gt=0)
    """Seconds without a sign of life after which a run is ended."""
    timeout_s: float | None = Field(None, gt=0)
    """Seconds that one attempt may take."""
    worker_memory_mb: float | None = Field(None, gt=0)
    """Host memory in MB that a worker and its children may use; None for nine tenths of the machine's."""
    retries: int = Field(1, ge=0)
    """Number of retries after running out of memory, each with half the batch size."""
    grace_s: float = Field(10, gt=0)
    """Seconds between SIGTERM and SIGKILL of a worker."""
    idle_s: float = Field(30, ge=0)
    """Seconds for which an idle worker keeps its backbone in memory."""
    linger_s: float = Field(2, ge=0)
    """Seconds for which a supervisor without work keeps running."""

    @classmethod
    def from_config(cls, config: Config) -> SupervisorOptions:
        """Options from the user's settings. Devices named by runs are not included: the supervisor opens those
        itself, for these runs only.
        """
        return cls(
            devices=config.devices,
            slots_per_device=config.slots_per_device,
            share=config.share,
            devices_per_run=config.devices_per_run,
            stall_s=config.stall_s,
            timeout_s=config.timeout_s,
            worker_memory_mb=config.worker_memory_mb,
            retries=config.retries,
        )

    def arguments(self) -> list[str]:
        """Command line arguments of `ssl_console.supervisor`."""
        given = self.model_dump(exclude_unset=True, exclude_none=True)
        texts = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in given.items()}
        return [f"--{name.replace('_', '-')}={text}" for name, text in texts.items() if text]


class StartupLocked(OperationFailed):
    """Another process has held the startup lock for too long."""


class AlreadySupervisedError(Exception):
    """Another process holds the lock; the message names it."""


def ensure_supervisor(workspace: Workspace, options: SupervisorOptions | None = None) -> bool:
    """Ensure that a supervisor runs; True if it had to be started. Raises OperationFailed with its last log line
    on failure.
    """
    check_owner(workspace)
    workspace.create()
    with hold_startup_lock(workspace):
        if _has_living_supervisor(workspace):
            return False
        _start(workspace, options or SupervisorOptions())
        return True


def _has_living_supervisor(workspace: Workspace) -> bool:
    """Whether a supervisor runs and will continue to. A killed one holds the lock until it has disappeared, so
    this waits for it. Raises OperationFailed if it does not disappear.
    """
    until = time.monotonic() + GOES_S
    while is_supervised(workspace):
        holder = _holder(workspace)
        if holder is None or not holder.is_going():
            return True
        if time.monotonic() > until:
            raise OperationFailed(
                f"the supervisor of {workspace.root} was killed, but its process {holder.pid} does not disappear, e.g. "
                "because a file server does not respond: try again later"
            )
        time.sleep(0.01)
    return False


def is_supervised(workspace: Workspace) -> bool:
    """Whether a supervisor holds the lock. Call this under the startup lock: the check itself takes the lock for
    a moment.
    """
    try:
        with holding(workspace.supervisor / "lock"):
            return False
    except BlockingIOError:
        return True


class _Holder(BaseModel):
    """Process that holds the lock, as the lock file names it."""

    host: str
    machine: str = ""
    pid: int
    pid_started: float

    def is_going(self) -> bool:
        """Whether it has been killed; False for another machine's process, which cannot be checked."""
        return is_here(self.host, self.machine) and is_going(self.pid, self.pid_started)


def _holder(workspace: Workspace) -> _Holder | None:
    """Holder of the lock; None while the file does not name it: a new holder writes its name shortly after locking."""
    try:
        return _Holder.model_validate_json((workspace.supervisor / "lock").read_bytes())
    except (OSError, ValidationError):
        return None


def _living_holder(workspace: Workspace) -> str:
    """Text of the lock, once it names a process that runs, or one of another machine, which cannot be checked; a new
    holder writes its name shortly after locking.
    """
    until = time.monotonic() + NAMED_S
    while time.monotonic() < until:
        holder = _holder(workspace)
        if holder is not None and (not is_here(holder.host, holder.machine) or lives(holder.pid, holder.pid_started)):
            return holder.model_dump_json()
        time.sleep(0.01)
    return "unknown"


@contextmanager
def supervising(workspace: Workspace) -> Iterator[None]:
    """Hold the supervisor lock inside the block. Raises AlreadySupervisedError."""
    path = make_private_folder(workspace.supervisor) / "lock"
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(holding(path))
        except BlockingIOError:
            raise AlreadySupervisedError(
                f"{workspace.root} already has a supervisor: {_living_holder(workspace)}"
            ) from None
        about = _Holder(host=this_host(), machine=this_machine(), pid=os.getpid(), pid_started=own_start())
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{about.model_dump_json()}\n".encode(), 0)
        yield


@contextmanager
def hold_startup_lock(workspace: Workspace, patience_s: float = STARTUP_LOCK_S) -> Iterator[None]:
    """Hold the startup lock: no other process starts a supervisor, and none exits, inside. Raises StartupLocked
    after `patience_s`.
    """
    path = make_private_folder(workspace.supervisor) / "door"
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        _lock_within(patience_s, descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _lock_within(seconds: float, descriptor: int, path: Path) -> None:
    """Lock an open file. Raises StartupLocked when another process holds the lock throughout."""
    until = time.monotonic() + seconds
    while True:
        try:
            lock(descriptor, path, wait=False)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise StartupLocked(
                    f"{path} has been locked for {seconds:.0f} s by another process that starts a supervisor or is "
                    f"an exiting one; it may be suspended (find it with `fuser {path}`)"
                ) from None
            time.sleep(0.01)


def _start(workspace: Workspace, options: SupervisorOptions) -> None:
    """Start the process in a new session and wait for its message on a pipe that closes when it dies."""
    log = _open_log(workspace.supervisor_log)
    reader, writer = os.pipe()
    command = [sys.executable, "-P", "-u", "-m", "ssl_console.supervisor", "--workspace", str(workspace.root)]
    try:
        process = subprocess.Popen(
            [*command, f"--ready-descriptor={writer}", *options.arguments()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=workspace.root,
            start_new_session=True,
            pass_fds=(writer,),
        )
    except OSError as error:
        os.close(reader)
        raise OperationFailed(f"the supervisor cannot be started: {error}") from error
    finally:
        os.close(writer)
        os.close(log)
    with os.fdopen(reader, "rb") as pipe:
        answered, _, _ = select.select([pipe], [], [], START_S)
        ready = bool(answered) and pipe.read() == READY
    if not answered:
        raise OperationFailed(
            f"the supervisor did not report within {START_S:.0f} s that it is ready; it continues to start, "
            f"e.g. on a busy machine or file server; see {workspace.supervisor_log}"
        )
    process.wait()
    if not ready:
        words = " ".join(last_lines(workspace.supervisor_log, 1)) or shortage(workspace.root) or "no output"
        raise OperationFailed(f"the supervisor did not start: {words} (see {workspace.supervisor_log})")


def _open_log(path: Path) -> int:
    """Open the log for appending; a large one is renamed to `log.old`."""
    try:
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name("log.old"))
    except FileNotFoundError:
        pass
    return open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
