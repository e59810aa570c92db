"""Workers as processes of this machine."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from backbones.io.files import make_private_folder, open_own
from backbones.io.subprocess_query import WAIT_POLICY
from ssl_console.launchers.base import AdoptedWorker, Batch, Launcher, Resources, Worker
from ssl_console.system.device import Device
from ssl_console.system.processes import end_marked, environment_of, is_here, lives, signal_group, signal_process
from ssl_console.workspace.config import LOCAL, Config
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import Attempt

MARK = "SSL_CONSOLE_WORKER"
"""Environment variable that identifies the worker in its own process and all its children."""
LOGS_KEPT_S = 7 * 24 * 3600.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class LocalLauncher(Launcher):
    """Each worker leads its own session and process group, writes to files, and reads run ids from a pipe.

    When this process dies, the pipe closes, so its workers finish their present run, start no other, and exit. A
    subclass that starts workers by another command overrides `command`.
    """

    name: ClassVar[str] = LOCAL
    summary: ClassVar[str] = "processes of this machine"

    workspace: Workspace
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _adopted: dict[str, Attempt] = field(default_factory=dict)
    _marks: dict[str, str] = field(default_factory=dict)
    """Names of adopted workers under their own supervisor."""

    @classmethod
    def open(cls, workspace: Workspace, config: Config) -> Self:  # noqa: ARG003 - of the interface
        return cls(workspace)

    def command(self, resources: Resources, run_ids: Sequence[str]) -> list[str]:
        """Command line of a worker. A program put in front of it has to become the worker by `exec`: the started
        process receives the worker's signals and has this process as its parent. `-P` prevents imports from the
        working folder, e.g. of a foreign `tasks.py`.
        """
        interpreter = [sys.executable, "-P", "-u", "-m", "ssl_console.worker", "--workspace", str(self.workspace.root)]
        place = ["--device", resources.device.name, "--slot", resources.slot, f"--parent={os.getpid()}"]
        return [*interpreter, *place, *run_ids]

    def submit(self, batch: Batch, resources: Resources | None = None) -> str:
        """Start a worker for these runs and return its name. Raises OSError when it cannot be started."""
        assert resources is not None, "its workers use the slots of devices"
        name = f"{resources.slot.replace('/', '-').replace(':', '')}-{secrets.token_hex(4)}"
        log = open_own(self._log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            self._processes[name] = subprocess.Popen(
                self.command(resources, batch.run_ids),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.workspace.root,
                env={**worker_environment(resources, os.environ), MARK: name},
                start_new_session=True,
            )
        finally:
            os.close(log)
        return name

    def adopt(self, under_way: Mapping[str, Attempt]) -> Iterator[AdoptedWorker]:
        """Observe the processes of this machine that an earlier supervisor started."""
        for run_id, attempt in under_way.items():
            if is_here(attempt.host, attempt.machine) and not attempt.job:
                name = f"adopted-{attempt.pid}-{secrets.token_hex(4)}"
                self._adopted[name] = attempt
                start = f"{MARK}=".encode()
                marks = (one.removeprefix(start) for one in environment_of(attempt.pid) if one.startswith(start))
                self._marks[name] = next(marks, b"").decode()
                yield AdoptedWorker(name, (run_id,))

    def hand_over(self, worker: str, run_id: str) -> bool:
        """Assign one more run to a worker; False when it accepts no more."""
        process = self._processes.get(worker)
        if process is None or process.stdin is None or process.stdin.closed or process.poll() is not None:
            return False
        try:
            process.stdin.write(f"{run_id}\n".encode())
            process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def drain(self, worker: str) -> None:
        """Assign no more runs to this worker: it exits after its present one."""
        process = self._processes.get(worker)
        if process is not None and process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()

    def snapshot(self) -> dict[str, Worker]:
        """All workers by name; an ended one is contained once, when its process group is empty."""
        return {**self._own(), **self._others()}

    def stop(self, worker: str, *, force: bool = False) -> None:
        """Stop a worker: SIGTERM to itself, which ends its children, or SIGKILL to its whole group."""
        pid = self._living_pid(worker)
        if pid is not None and force:
            signal_group(pid, signal.SIGKILL)
        elif pid is not None:
            signal_process(pid, signal.SIGTERM)

    def show_stacks(self, worker: str) -> None:
        """Have the worker write the stacks of its threads to its log."""
        pid = self._living_pid(worker)
        if pid is not None:
            signal_process(pid, signal.SIGUSR1)

    def _own(self) -> dict[str, Worker]:
        found = {}
        for name, process in list(self._processes.items()):
            code = process.poll()
            found[name] = Worker(name, process.pid, code is not None, code, log=self._log(name))
            if code is not None:
                signal_group(process.pid, signal.SIGKILL)
                end_marked(MARK, name)
                self.drain(name)
                del self._processes[name]
        return found

    def _others(self) -> dict[str, Worker]:
        found = {}
        for name, attempt in list(self._adopted.items()):
            gone = not lives(attempt.pid, attempt.pid_started)
            found[name] = Worker(name, attempt.pid, gone)
            if gone:
                signal_group(attempt.pid, signal.SIGKILL)
                if mark := self._marks.pop(name, ""):
                    end_marked(MARK, mark)
                del self._adopted[name]
        return found

    def _living_pid(self, worker: str) -> int | None:
        process, attempt = self._processes.get(worker), self._adopted.get(worker)
        if process is not None:
            return process.pid if process.poll() is None else None
        return attempt.pid if attempt is not None and lives(attempt.pid, attempt.pid_started) else None

    def remove_old_files(self, now: float) -> None:
        """Remove logs of workers that are empty or a week old."""
        for log in self._log("").parent.glob("*.log"):
            with suppress(FileNotFoundError):
                found = log.stat()
                if found.st_size == 0 or found.st_mtime < now - LOGS_KEPT_S:
                    log.unlink()

    def _log(self, name: str) -> Path:
        return make_private_folder(self.workspace.supervisor / "workers") / f"{name}.log"


def worker_environment(resources: Resources, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment of a worker: only its own device visible, and no more threads than its share of the cores."""
    threads = {name: inherited.get(name, str(resources.threads)) for name in _THREAD_VARIABLES}
    return {**WAIT_POLICY, **inherited, **threads, **_shown(resources.device), "PYTHONUNBUFFERED": "1"}


def _shown(device: Device) -> dict[str, str]:
    if device.kind != "cuda":
        return {"CUDA_VISIBLE_DEVICES": ""}
    return {"CUDA_VISIBLE_DEVICES": device.uuid or device.name.partition(":")[2], "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
