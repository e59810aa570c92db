"""Large numbers of runs: queued ones for a real supervisor with many workers, and ended ones in run folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
import psutil

from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.run import Attempt
from ssl_console.workspace.run_index import RunIndex
from tests.faults.stage import Stage
from tests.ssl_console.tui.filled import result
from tests.ssl_console.workspace_fixture import spec

MEGABYTE = 1 << 20
EVERY_S = 0.05


@dataclass(frozen=True)
class Carried:
    """Measurements of a supervisor."""

    runs: int
    """Runs completed within the time."""
    seconds: float
    cpu_s: float
    """CPU time of the supervisor alone."""
    peak_mb: float
    workers: int
    """Maximum number of workers alive at once."""
    descriptors: tuple[int, ...] = ()
    """Samples of the supervisor at equal intervals."""
    memory_mb: tuple[float, ...] = ()
    """Samples at the same times."""

    @property
    def cores(self) -> float:
        """Mean per run."""
        return self.cpu_s / self.seconds


def queue_many(stage: Stage, count: int) -> None:
    """Queue one run with the command line, and copies of it with other seeds; nothing runs yet."""
    assert stage("pause").code == 0
    assert stage(*stage.run_arguments([0]), "--detach").code == 0
    (first,) = stage.workspace.run_folders()
    content = orjson.loads(first.spec.read_bytes())
    for seed in range(1, count):
        run_id = f"{seed:012x}"
        _put(
            stage.workspace.run(run_id),
            {"run.json": orjson.dumps({**content, "run_id": run_id, "seed": seed, "key": None})},
        )
    os.utime(stage.workspace.runs)


def queue_more(stage: Stage, seed: int) -> None:
    """Queue a further run; it does not run yet."""
    assert stage("pause").code == 0
    assert stage(*stage.run_arguments([seed]), "--detach").code == 0


def carry_out(stage: Stage, until_s: float) -> Carried:
    """Let the supervisor work until all is done or the time is over, and sample it meanwhile."""
    assert stage("resume").code == 0
    pid = stage.supervisor_pid()
    assert pid is not None
    process, index = psutil.Process(pid), RunIndex(stage.workspace)
    begun, before = time.monotonic(), _cpu(process)
    workers = 0
    seconds, cpu = 0.0, before
    descriptors, memory = [], []
    while True:
        try:
            memory.append(process.memory_info().rss / MEGABYTE)
            descriptors.append(process.num_fds())
            workers = max(workers, len(stage.workers()))
            seconds, cpu = time.monotonic() - begun, _cpu(process)
        except psutil.NoSuchProcess:
            break  # all done; it has exited
        if seconds > until_s:
            break
        time.sleep(EVERY_S)
    index.refresh(time.time())
    left = len(index.queued) + sum(entry.under_way for entry in index.entries.values())
    return Carried(
        len(index.entries) - left,
        seconds,
        cpu - before,
        max(memory),
        workers,
        tuple(descriptors[: len(memory)]),
        tuple(memory),
    )


def fill_with_ended_runs(workspace: Workspace, count: int) -> None:
    """Create run folders with results, and their database, as after months of use."""
    results = [
        result(f"demo/b{n % 100}", f"knn/d{n // 100}", run_id=f"{n:012x}").model_copy(update={"key": f"{n:064x}"})
        for n in range(count)
    ]
    about = spec("x").model_dump(mode="json")
    for number, one in enumerate(results):
        record = ResultRecord(
            result=one, metrics={"accuracy": one.value}, interval_method="wilson", samples={"test": 100}
        )
        owner = Attempt(attempt=1, host="elsewhere", pid=4_000_000, pid_started=1.0, device="cpu", started=1.0)
        _put(
            workspace.run(one.run_id),
            {
                "run.json": orjson.dumps({**about, "run_id": one.run_id, "seed": number}),
                "attempt.1.json": owner.model_dump_json().encode(),
                "events.1.jsonl": b'{"kind":"started","time":1.0}\n' * 20,
                "log.1.txt": b"a line of the log\n" * 10,
                "result.json": record.model_dump_json().encode(),
            },
        )
    ResultStore(workspace).add(results)


def _put(folder: RunFolder, files: dict[str, bytes]) -> None:
    """Create a run folder without syncing the disk."""
    folder.path.mkdir(mode=0o700)
    for name, content in files.items():
        (folder.path / name).write_bytes(content)


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def start_up_s(workspace: Workspace, environment: dict[str, str]) -> tuple[float, float]:
    """From requesting a supervisor to its first state file with all runs: clock and CPU seconds."""
    shutil.rmtree(workspace.supervisor, ignore_errors=True)
    workspace.create()
    words = [sys.executable, "-P", "-m", "ssl_console.supervisor", "--workspace", str(workspace.root), "--linger-s=600"]
    begun = time.perf_counter()
    process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait(workspace.supervisor_state.exists)
        return time.perf_counter() - begun, _cpu(psutil.Process(process.pid))
    finally:
        process.kill()
        process.wait()


def wait(fact: Callable[[], bool]) -> None:
    """Precise enough for wall-clock times."""
    until = time.monotonic() + 120
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.002)


def command_s(environment: dict[str, str], *words: str) -> tuple[float, float]:
    """One command line from start to end: clock and CPU seconds."""
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ssl_console", *words], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return time.perf_counter() - begun, cpu
