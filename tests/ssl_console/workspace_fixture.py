"""A workspace with a real supervisor and real workers, for tests: submit, wait for a condition, kill, inspect."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import orjson
import pytest

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights
from ssl_console.supervisor.client import SupervisorOptions, ensure_supervisor, is_supervised
from ssl_console.system.processes import started_at
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.requests import submit
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.run import RunSpec, RunState
from ssl_console.workspace.run_status import RunStatus, read_status
from tasks.catalog.protocol import ENVIRONMENT_VARIABLE
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard
from tests.ssl_console.rehearsal_evaluation import journal

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0
"""Timeout of every wait: generous, because only failing tests reach it."""
SHORTEST_S, LONGEST_S = 0.02, 0.1
"""Time between two looks: what is looked at often takes a process, and another one waits for the same cores."""


def spec(run_id: str, fate: str = "finish", *, backbone: str = "demo/a", **others: Any) -> RunSpec:
    """A rehearsal that ends in `fate`; further arguments are the rehearsal's parameters, or fields of the spec."""
    parameters = {"fate": fate, "seconds": 0.0, "value": 50.0, "code": 0}
    parameters |= {name: others.pop(name) for name in parameters if name in others}
    card = BackboneCard(
        name=backbone, title="A", architecture="resnet18", weights=RandomWeights(), facts=FactsCard(method="none")
    )
    task = TaskSpec(
        name=others.pop("task", "rehearsal/none"),
        protocol="rehearsal",
        protocol_version=1,
        dataset="none",
        preset="default",
        parameters=parameters,
    )
    dataset = DatasetCard(name="none", title="None", reader="none", protocols=("rehearsal",))
    return RunSpec(run_id=run_id, key=None, backbone=card, task=task, dataset=dataset, **others)


def eventually(fact: Callable[[], object], what: str = "", patience_s: float = PATIENCE_S) -> None:
    """Poll until `fact()` is true, less often the longer it takes; fail the test at the timeout."""
    begun = time.monotonic()
    while not fact():
        waited = time.monotonic() - begun
        assert waited < patience_s, f"still not so after {patience_s:.0f} s: {what or fact}"
        time.sleep(min(max(SHORTEST_S, waited / 20), LONGEST_S))


@dataclass
class Bench:
    """One workspace."""

    workspace: Workspace
    options: SupervisorOptions = field(
        default_factory=lambda: SupervisorOptions(devices=("cpu",), slots_per_device=1, linger_s=0.1, grace_s=1)
    )
    started: list[Popen[bytes]] = field(default_factory=list)

    def submit(self, run_id: str, fate: str = "finish", **others: Any) -> RunFolder:
        """Queue a rehearsal."""
        return submit(self.workspace, run_id, spec(run_id, fate, **others).model_dump_json().encode())

    def supervise(self, **options: Any) -> bool:
        """Start a supervisor."""
        return ensure_supervisor(self.workspace, self.options.model_copy(update=options))

    def status(self, run_id: str) -> RunStatus:
        """Current state of a run."""
        return read_status(self.workspace.run(run_id), time.time())

    def state(self, run_id: str) -> RunState:
        """Current state of a run as one word."""
        return self.status(run_id).state

    def until(self, run_id: str, *states: RunState, patience_s: float = PATIENCE_S) -> RunStatus:
        """Wait until the run has this state, with its end recorded if it is a final one."""

        def there() -> bool:
            status = self.status(run_id)
            return status.state in states and (status.end is not None or status.state is not RunState.FAILED)

        eventually(there, f"{run_id} is {' or '.join(states)}", patience_s)
        return self.status(run_id)

    def until_at_work(self, run_id: str) -> int:
        """Wait until the run's evaluation has begun; return the pid of its worker."""
        eventually(lambda: self.noted("begin", run_id), f"{run_id} has begun")
        owner = self.status(run_id).owner
        assert owner is not None
        return owner.pid

    def noted(self, what: str, run_id: str) -> int:
        """Number of times the run's evaluation recorded this event. (A run's seed is its number in these tests.)"""
        seed = str(orjson.loads(self.workspace.run(run_id).spec.read_bytes())["seed"])
        return sum(1 for note in journal(self.workspace.features) if note[0] == what and note[3] == seed)

    def go(self) -> None:
        """Let the runs that wait finish."""
        (self.workspace.features / "go").touch()

    def results(self) -> dict[str, Result]:
        """Results in the database."""
        return {result.run_id: result for result in ResultStore(self.workspace).results()}

    def log(self, run_id: str, attempt: int = 1) -> str:
        """The log of a run."""
        return self.workspace.run(run_id).log(attempt).read_text()

    def supervisor_pid(self) -> int:
        """Pid of the supervisor, living or not."""
        return int(orjson.loads((self.workspace.supervisor / "lock").read_bytes())["pid"])

    def supervisor_lives(self) -> bool:
        """Whether that process runs."""
        return started_at(self.supervisor_pid()) is not None

    def kill_supervisor(self) -> None:
        """`kill -9`, and wait until the process and its lock are gone; the lock is released by the last of several
        threads."""
        pid = self.supervisor_pid()
        os.kill(pid, signal.SIGKILL)
        eventually(gone(pid), "the supervisor is gone")
        eventually(lambda: not is_supervised(self.workspace), "its lock is free")

    def worker(self, *run_ids: str) -> Popen[bytes]:
        """A worker started directly, without a supervisor."""
        command = [sys.executable, "-P", "-m", "ssl_console.worker", "--workspace", str(self.workspace.root), *run_ids]
        process = Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=PIPE, start_new_session=True)
        self.started.append(process)
        return process

    def clean_up(self) -> None:
        """End all processes of this workspace."""
        pids = [self.supervisor_pid()] if (self.workspace.supervisor / "lock").exists() else []
        for folder in self.workspace.run_folders():
            with suppress(FileNotFoundError):
                owner = read_status(folder, time.time()).owner
                pids += [owner.pid] if owner else []
        for pid in pids:
            if started_at(pid) is not None and _is_ours(pid):
                os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.kill()
            process.communicate()


@contextmanager
def a_bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A new workspace with spaces and accents in its path, with the rehearsal protocol available to its processes."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "tests.ssl_console.rehearsal")
    made = Bench(Workspace(folder / "my wörkspace").create())
    try:
        yield made
    finally:
        made.clean_up()


def gone(pid: int) -> Callable[[], bool]:
    """The fact that a process has ended."""
    return lambda: started_at(pid) is None


def _is_ours(pid: int) -> bool:
    """Whether the process is a supervisor or worker: a pid from a file may have been reused."""
    try:
        return b"ssl_console." in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
