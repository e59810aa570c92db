"""Having a supervisor: one process per workspace, started when somebody needs it, found by the lock it holds.

Two locks in `supervisor/`. `lock` is held as long as the supervisor lives. `door` is held for a moment by whoever
starts one, and by a supervisor between its last look at the queue and its end: so nobody takes one that is about to
leave for one that will see the run just submitted.
"""

from __future__ import annotations

import fcntl
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

from backbones.io.files import lock, make_private_folder, open_own
from ssl_console.system.devices import parse_devices
from ssl_console.system.errors import OperationFailed, shortage
from ssl_console.system.processes import is_going, is_here, lives, own_start, this_host, this_machine
from ssl_console.workspace.config import Config, Share
from ssl_console.workspace.ownership import check_owner
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.tail import last_lines

READY = b"ready\n"
LOG_LIMIT = 1 << 20
GOES_S = 10.0
"""How long a supervisor that was killed may take to be gone."""
NAMED_S = 2.0
"""How long the holder of the lock may take to write its name there."""
DOOR_S, START_S = 120.0, 300.0
"""How long the door may be locked, and a new supervisor may take to be up: nothing here waits for ever."""


def _names(value: object) -> object:
    return parse_devices(value) if isinstance(value, str) else value


class SupervisorOptions(BaseModel):
    """How a supervisor works. Of no effect on one that runs already."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    devices: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Names of devices; empty for every CUDA device, else MPS, else the CPU."""
    slots_per_device: int | None = Field(None, ge=1)
    """None for two on a CPU of several cores, one elsewhere."""
    share: Share = "free-memory"
    """When a run starts on a card that other processes use."""
    stall_s: float = Field(300, gt=0)
    """Seconds without a sign of life after which a run is ended."""
    timeout_s: float | None = Field(None, gt=0)
    """Seconds that one attempt may take."""
    worker_memory_mb: float | None = Field(None, gt=0)
    """Host memory that a worker and its children may take; None for nine tenths of the machine's."""
    retries: int = Field(1, ge=0)
    """How often a run that ran out of memory is tried again, each time with half the batch."""
    grace_s: float = Field(10, gt=0)
    """Seconds between the polite and the hard end of a worker."""
    idle_s: float = Field(30, ge=0)
    """How long an idle worker keeps its backbone in memory."""
    linger_s: float = Field(2, ge=0)
    """How long a supervisor without work stays."""

    @classmethod
    def from_config(cls, config: Config) -> SupervisorOptions:
        """As the user's settings say. Devices that a run names are not among them: the supervisor opens those by
        itself, for the runs that name them alone.
        """
        return cls(
            devices=config.devices,
            slots_per_device=config.slots_per_device,
            share=config.share,
            stall_s=config.stall_s,
            timeout_s=config.timeout_s,
            worker_memory_mb=config.worker_memory_mb,
            retries=config.retries,
        )

    def arguments(self) -> list[str]:
        """As command line arguments of `ssl_console.supervisor`."""
        given = self.model_dump(exclude_unset=True, exclude_none=True)
        texts = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in given.items()}
        return [f"--{name.replace('_', '-')}={text}" for name, text in texts.items() if text]


class DoorLocked(OperationFailed):
    """Another process starts a supervisor, or is one that leaves, and does not come to an end of it."""


class AlreadySupervisedError(Exception):
    """Another process holds the lock; the message names it."""


def ensure_supervisor(workspace: Workspace, options: SupervisorOptions | None = None) -> bool:
    """Have a supervisor, and whether it had to be started. Raises OperationFailed with its last words if it fails."""
    check_owner(workspace)
    workspace.create()
    with at_the_door(workspace):
        if _has_living_supervisor(workspace):
            return False
        _start(workspace, options or SupervisorOptions())
        return True


def _has_living_supervisor(workspace: Workspace) -> bool:
    """Whether there is one that stays. The lock alone does not tell: one that was killed holds it until all of it is
    gone, and that is waited for. Raises OperationFailed if it does not go.
    """
    until = time.monotonic() + GOES_S
    while is_supervised(workspace):
        holder = _holder(workspace)
        if holder is None or not holder.is_going():
            return True
        if time.monotonic() > until:
            raise OperationFailed(
                f"the supervisor of {workspace.root} was killed, but its process {holder.pid} does not go, as when a "
                "file server does not answer: try again once it has"
            )
        time.sleep(0.01)
    return False


def is_supervised(workspace: Workspace) -> bool:
    """Whether a supervisor holds the lock. Ask at the door: the question itself takes the lock for a moment."""
    try:
        with holding(workspace.supervisor / "lock"):
            return False
    except BlockingIOError:
        return True


class _Holder(BaseModel):
    """What the lock says of the process that holds it."""

    host: str
    machine: str = ""
    pid: int
    pid_started: float

    def may_live(self) -> bool:
        """Whether it runs; True of another machine's, which cannot be asked."""
        return not is_here(self.host, self.machine) or lives(self.pid, self.pid_started)

    def is_going(self) -> bool:
        """Whether it has been killed; False of another machine's, which cannot be asked."""
        return is_here(self.host, self.machine) and is_going(self.pid, self.pid_started)


def _holder(workspace: Workspace) -> _Holder | None:
    """None where the lock does not say who holds it: whoever has just taken it writes that a moment later."""
    try:
        return _Holder.model_validate_json((workspace.supervisor / "lock").read_bytes())
    except (OSError, ValidationError):
        return None


def _living_holder(workspace: Workspace) -> str:
    """The text of the lock, once it names a process that lives; a new holder writes its name a moment after locking."""
    until = time.monotonic() + NAMED_S
    while time.monotonic() < until:
        holder = _holder(workspace)
        if holder is not None and holder.may_live():
            return holder.model_dump_json()
        time.sleep(0.01)
    return "unknown"


@contextmanager
def supervising(workspace: Workspace) -> Iterator[None]:
    """Be the supervisor inside. Raises AlreadySupervisedError."""
    path = make_private_folder(workspace.supervisor) / "lock"
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(holding(path))
        except BlockingIOError:
            raise AlreadySupervisedError(
                f"{workspace.root} has a supervisor already: {_living_holder(workspace)}"
            ) from None
        about = _Holder(host=this_host(), machine=this_machine(), pid=os.getpid(), pid_started=own_start())
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{about.model_dump_json()}\n".encode(), 0)
        yield


@contextmanager
def at_the_door(workspace: Workspace, patience_s: float = DOOR_S) -> Iterator[None]:
    """Nobody else starts a supervisor, and none leaves, inside. Raises DoorLocked after `patience_s`."""
    path = make_private_folder(workspace.supervisor) / "door"
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        _lock_within(patience_s, descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _lock_within(seconds: float, descriptor: int, path: Path) -> None:
    """Lock an open file. Raises DoorLocked when another process keeps it locked."""
    until = time.monotonic() + seconds
    while True:
        try:
            lock(descriptor, path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise DoorLocked(
                    f"{path} has been locked for {seconds:.0f} s by another process that starts a supervisor, or is "
                    f"one that leaves: it may be stopped (`fuser {path}` names it)"
                ) from None
            time.sleep(0.01)


@contextmanager
def holding(path: Path) -> Iterator[int]:
    """Hold an exclusive lock on a file, whose descriptor this is. Raises BlockingIOError when another process does."""
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        lock(descriptor, path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _start(workspace: Workspace, options: SupervisorOptions) -> None:
    """Start the process in a session of its own and wait for its word on a pipe that closes when it dies."""
    log = _open_log(workspace.supervisor_log)
    hear, say = os.pipe()
    command = [sys.executable, "-P", "-u", "-m", "ssl_console.supervisor", "--workspace", str(workspace.root)]
    try:
        process = subprocess.Popen(
            [*command, f"--ready-descriptor={say}", *options.arguments()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=workspace.root,
            start_new_session=True,
            pass_fds=(say,),
        )
    except OSError as error:
        os.close(hear)
        raise OperationFailed(f"the supervisor cannot be started: {error}") from error
    finally:
        os.close(say)
        os.close(log)
    with os.fdopen(hear, "rb") as pipe:
        answered, _, _ = select.select([pipe], [], [], START_S)
        ready = bool(answered) and pipe.read() == READY
    if not answered:
        raise OperationFailed(
            f"the supervisor has not said within {START_S:.0f} s that it is up: it goes on, as on a machine or file "
            f"server that is very busy; see {workspace.supervisor_log}"
        )
    process.wait()
    if not ready:
        words = " ".join(last_lines(workspace.supervisor_log, 1)) or shortage(workspace.root) or "it said nothing"
        raise OperationFailed(f"the supervisor did not start: {words} (see {workspace.supervisor_log})")


def _open_log(path: Path) -> int:
    """Append to the log; one that has grown large becomes `log.old`."""
    try:
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name("log.old"))
    except FileNotFoundError:
        pass
    return open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
