"""A workspace in use - command line, console, supervisor, workers - and its invariants."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import IO

import orjson
import psutil

from ssl_console.system.processes import lives
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_status import RunStatus, read_status
from ssl_console.workspace.supervisor_state import SupervisorView
from tests.faults.misconduct_evaluation import notes
from tests.ssl_console.cli.shell import Finished, Shell
from tests.ssl_console.workspace_fixture import eventually

ROOT = Path(__file__).parents[2]
MARK = "SSL_CONSOLE_FAULTS_MARK"
PATIENCE_S = 120.0
"""Timeout of every wait: generous, because only failing tests reach it."""
DRIVER = Path(__file__).parent / "driver"
"""Folder of the replacement of the GPU driver library."""
CPU, GPUS = ("cpu",), ("cuda:0", "cuda:1")
CONFIG = "devices = {devices}\nslots_per_device = {slots}\n"
BACKBONE = """
title = "Random"
architecture = "test_resnet"
weights = { kind = "random", seed = 0 }
facts = { method = "none" }
"""
DATASET = """
title = "Digits"
reader = "digits"
classes = 10
protocols = ["misconduct"]
"""
WORK = ("-b", "own", "-t", "misconduct/things")


@dataclass
class Stage:
    """A workspace and all processes started for it."""

    workspace: Workspace
    environment: dict[str, str]
    mark: str
    slots: int
    """Maximum number of simultaneous runs."""
    started: dict[int, tuple[Popen[bytes], IO[bytes]]] = field(default_factory=dict)
    """Running command lines by pid, with their output."""
    _results_seen: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    """For every result ever found in a run folder: inode, change time, value."""

    # -- using it -----------------------------------------------------------------------------------------------

    def __call__(self, *arguments: str) -> Finished:
        """Run one command line to its end."""
        return Shell(self.workspace, self.environment)(*arguments)

    def start(self, *arguments: str) -> Popen[bytes]:
        """Start a command line in a separate session, as a terminal window does."""
        words = tempfile.TemporaryFile()  # noqa: SIM115 - open until `finish`; outside of the workspace, whose disk may be full
        command = [sys.executable, "-P", "-m", "ssl_console", *arguments]
        process = Popen(
            command, stdin=DEVNULL, stdout=words, stderr=words, env=self.environment, start_new_session=True
        )
        self.started[process.pid] = process, words
        return process

    def words(self, process: Popen[bytes]) -> str:
        """Output so far of a command line that was started."""
        descriptor = self.started[process.pid][1].fileno()
        return os.pread(descriptor, 1 << 20, 0).decode(errors="replace")

    def finish(self, process: Popen[bytes]) -> int:
        """Wait for the end of one that was started; return its exit code."""
        code = process.wait(timeout=PATIENCE_S)
        self.started.pop(process.pid)[1].close()
        return code

    def reports(self, words: str, *arguments: str) -> bool:
        """Whether a command line writes this; it is ended then, with what it has started."""
        process = self.start(*arguments)
        wait_for(lambda: words in self.words(process) or process.poll() is not None, PATIENCE_S)
        found = words in self.words(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self.finish(process)
        return found

    def run_arguments(self, seeds: list[int], **parameters: object) -> list[str]:
        """The command line that runs these seeds."""
        settings = [word for name, value in parameters.items() for word in ("--set", f"misconduct.{name}={value}")]
        return ["run", *WORK, *(word for seed in seeds for word in ("--seed", str(seed))), *settings]

    def run_to_the_end(self, seeds: list[int], **parameters: object) -> None:
        """Repeat the same command until it reports that all is done, as a user would after every failure."""
        for _ in range(6):
            done = self(*self.run_arguments(seeds, **parameters))
            if done.code == 0:
                return
            assert done.code == 1, done.err
        raise AssertionError(f"still not done: {done.err}")

    # -- looking at it ------------------------------------------------------------------------------------------

    def statuses(self) -> dict[str, RunStatus]:
        """State of every run."""
        return {folder.run_id: read_status(folder, time.time()) for folder in self.workspace.run_folders()}

    def seeds(self) -> dict[str, int]:
        """Seed of every run."""
        return {f.run_id: int(orjson.loads(f.spec.read_bytes())["seed"]) for f in self.workspace.run_folders()}

    def supervisor_pid(self) -> int | None:
        """The living supervisor."""
        state = SupervisorView(self.workspace).living()
        return state.pid if state else None

    def workers(self) -> list[int]:
        """Workers of the living supervisor."""
        state = SupervisorView(self.workspace).living()
        return [slot.worker for slot in state.slots if slot.worker] if state else []

    def processes(self) -> set[int]:
        """All living processes with this stage's mark."""
        return set(marked(self.mark))

    # -- what must hold -----------------------------------------------------------------------------------------

    def check_now(self) -> None:
        """At any moment: the database is readable, and no earlier result has disappeared or changed."""
        rows = [result.run_id for result in ResultStore(self.workspace).results()]
        assert len(rows) == len(set(rows)), "a result is in the database twice"
        for folder in self.workspace.run_folders():
            if not folder.result.exists():
                assert folder.run_id not in self._results_seen, f"the result of {folder.run_id} is lost"
                continue
            found = folder.result.stat()
            record = ResultRecord.model_validate_json(folder.result.read_bytes())
            seen = found.st_ino, found.st_mtime_ns, record.result.value
            assert self._results_seen.setdefault(folder.run_id, seen) == seen, f"{folder.run_id} was published twice"
        self._check_journal()

    def check_soon(self) -> None:
        """Soon after any failure, during other runs: active runs have living workers, ended ones have a reason, and
        no process or slot is held without one."""
        self.check_now()
        until = time.monotonic() + PATIENCE_S
        while problems := [*self._mute_runs(), *self._leaked_slots(), *self._strange_processes()]:
            assert time.monotonic() < until, problems
            time.sleep(0.05)

    def check_at_rest(self) -> None:
        """When everything is done: each result exactly once, never computed again, no leftovers."""
        self.check_now()
        statuses = self.statuses()
        assert {status.state for status in statuses.values()} <= {RunState.DONE}
        eventually(lambda: self.stored() == set(statuses), "every result is in the database", PATIENCE_S)
        self._check_reasons()
        eventually(self._slots_are_free, "no slot is held", PATIENCE_S)
        eventually(lambda: not self._strangers(), "no process is left over", PATIENCE_S)

    def _check_journal(self) -> None:
        """No run began more often than it had attempts, and none at the same time as itself or another one on its
        GPU."""
        journal, statuses = notes(self.workspace.features), self.statuses()
        assert not [note for note in journal if note[0] == "clash"]
        for run_id, seed in self.seeds().items():
            begun = [pid for what, noted, pid in journal if (what, noted) == ("begin", seed)]
            attempts = statuses[run_id].attempt if run_id in statuses else len(begun)
            assert len(begun) <= attempts, f"{run_id} began {len(begun)} times in {attempts} attempts"

    def _mute_runs(self) -> Iterator[str]:
        for run_id, status in self.statuses().items():
            if status.state in {RunState.STARTING, RunState.RUNNING}:
                owner = status.owner
                if owner is None or not lives(owner.pid, owner.pid_started):
                    yield f"{run_id} is {status.state} with nobody at it"
            elif status.state is not RunState.DONE and status.attempt > 1 and not status.reason:
                yield f"{run_id} is {status.state} without a reason"

    def _leaked_slots(self) -> Iterator[str]:
        state, statuses = SupervisorView(self.workspace).living(), self.statuses()
        for slot in state.slots if state else ():
            if slot.run_id and slot.run_id in statuses and statuses[slot.run_id].state.final:
                yield f"{slot.name} is held for {slot.run_id}, which is over"
        if state and len(state.slots) < self.slots:
            yield f"{len(state.slots)} slots are left"

    def _strange_processes(self) -> Iterator[str]:
        at_work = {
            status.owner.pid
            for status in self.statuses().values()
            if status.owner and status.state in {RunState.STARTING, RunState.RUNNING}
        }
        yield from (f"process {pid} is left over" for pid in self._strangers() - at_work)

    def stored(self) -> set[str]:
        """Runs with results in the database."""
        return {result.run_id for result in ResultStore(self.workspace).results()}

    def _check_reasons(self) -> None:
        """Every attempt except the last has an end with a one-line reason."""
        for folder in self.workspace.run_folders():
            last = read_status(folder, time.time()).attempt
            for attempt in range(1, last):
                end = orjson.loads(folder.end(attempt).read_bytes())
                assert end["state"] == "cancelled" or end["kind"] in {"crash", "lost"}, end
                assert end["message"], end
                assert "\n" not in end["message"], end

    def _slots_are_free(self) -> bool:
        state = SupervisorView(self.workspace).living()
        return state is None or (len(state.slots) == self.slots and not any(slot.run_id for slot in state.slots))

    def _strangers(self) -> set[int]:
        """Processes needed neither by a user nor by the living supervisor."""
        known = {self.supervisor_pid(), *self.workers(), *self.started}
        return {pid for pid in self.processes() if pid not in known and not _is_console(pid)}

    def check_all_gone(self) -> None:
        """After the supervisor has exited, nothing of it is left."""
        eventually(
            lambda: all(_is_console(pid) for pid in self.processes() - self.started.keys()),
            "supervisor and workers have left",
            PATIENCE_S,
        )

    def clean_up(self) -> None:
        """End all remaining processes."""
        for process, words in self.started.values():
            process.kill()
            process.wait()
            words.close()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


def set_stage(root: Path, slots: int = 2, devices: tuple[str, ...] = CPU, **environment: str) -> Stage:
    """A new workspace with one backbone and one dataset of its own, and a number of slots per device."""
    workspace = Workspace(root).create()
    workspace.config.write_text(CONFIG.format(devices=list(devices), slots=slots))
    (workspace.backbones / "own.toml").write_text(BACKBONE)
    (workspace.tasks / "things.toml").write_text(DATASET)
    mark = secrets.token_hex(8)
    surroundings = {
        **os.environ,
        "SSL_CONSOLE_PROTOCOLS": "tests.faults.misconduct",
        "SSL_CONSOLE_WORKSPACE": str(root),
        "PYTHONPATH": f"{DRIVER}{os.pathsep}{ROOT}" if devices == GPUS else str(ROOT),
        MARK: mark,
        **environment,
    }
    return Stage(workspace, surroundings, mark, slots * len(devices))


def marked(mark: str) -> Iterator[int]:
    """All processes with the mark in their environment, except zombies."""
    wanted = f"{MARK}={mark}".encode()
    for pid in psutil.pids():
        try:
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                yield pid
        except OSError:
            continue


def wait_for(fact: Callable[[], object], seconds: float) -> bool:
    """Whether it becomes true within this many seconds."""
    until = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def runs_module(pid: int, module: str) -> bool:
    """Whether the process is a Python started with this module."""
    try:
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _is_console(pid: int) -> bool:
    """Whether the process is a console or a command line, which are ended by the test that opened them."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True
    return b"ssl_console" in words
