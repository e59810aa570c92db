"""Overhead of the console per run as grids grow: runs that do nothing, through a real supervisor and a real worker.

    python -m tests.benchmarks.scaling [--quick | --full] [--grids 10 100 1000]

Ten backbones, one slot. A run's cost is everything from the first run to the last row in the results file, divided by
the runs: choosing, handing over, the run's own files and events, its result synced to the disk, the row in the
database. Beside it: a new process with the same libraries for every run, as a loop of scripts does it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.workspace.paths import Workspace
from tasks.catalog.protocol import ENVIRONMENT_VARIABLE
from tests.benchmarks._comparison import Timing, row, timed
from tests.benchmarks._options import ROOT, parser
from tests.benchmarks._record import Figure, Row, keep, tell
from tests.ssl_console.rehearsal_evaluation import journal
from tests.ssl_console.workspace_fixture import Bench

BACKBONES = 10
LIMIT_MS = 50.0
PATIENCE_S = 900.0
OPTIONS = SupervisorOptions(devices=("cpu",), slots_per_device=1, linger_s=5, grace_s=1)
SCRIPT = "import torch, torchvision, timm, sklearn.linear_model"


@dataclass(frozen=True)
class Grid:
    """One executed grid."""

    runs: int
    submitting_s: float
    whole_s: float
    first_s: float
    """Seconds until the first run began: start of supervisor and worker."""
    supervisor_cpu_s: float
    worker_cpu_s: float
    workers: int
    """Number of worker processes."""

    @property
    def each_ms(self) -> float:
        """Cost of one run without the start."""
        return 1000 * (self.whole_s - self.first_s) / self.runs

    @property
    def timing(self) -> Timing:
        """Cost of one run including the start."""
        return Timing(self.whole_s / self.runs, (self.supervisor_cpu_s + self.worker_cpu_s) / self.runs)


def main() -> int:
    """Grids of increasing size."""
    options = parser(__doc__)
    options.add_argument(
        "--grids", type=int, nargs="+", help="numbers of runs (default 10 100 1000, and 5000 with --full)"
    )
    given = options.parse_args()
    os.environ |= {"PYTHONPATH": str(ROOT), ENVIRONMENT_VARIABLE: "tests.ssl_console.rehearsal"}
    usual = (10, 30) if given.quick else (10, 100, 1000, 5000) if given.full else (10, 100, 1000)
    grids = [carried_out(runs) for runs in given.grids or usual]
    scripts = [timed(script)[0] for _ in range(2 if given.quick else 5)]
    rows = [beside_scripts(grid, scripts) for grid in grids]
    figures = [figure for grid in grids for figure in figures_of(grid)]
    figures.append(
        Figure(f"a run's cost, {grids[-1].runs:,} / {grids[0].runs}", grids[-1].each_ms / grids[0].each_ms, "x")
    )
    for line in (*rows, *figures):
        tell(line)
    keep("scaling", "Overhead of the console per run", rows, given.results, figures)
    return 0


def figures_of(grid: Grid) -> Sequence[Figure]:
    """Figures of one grid."""
    name = f"grid of {grid.runs:,}"
    worker_ms = 1000 * grid.worker_cpu_s / grid.runs
    return [
        Figure(f"{name}: one run, everything", grid.each_ms, "ms"),
        Figure(f"{name}: of it not the worker's", max(0.0, grid.each_ms - worker_ms), "ms", LIMIT_MS),
        Figure(
            f"{name}: of it processor time of the supervisor", 1000 * grid.supervisor_cpu_s / grid.runs, "ms", LIMIT_MS
        ),
        Figure(f"{name}: of it processor time of the worker", worker_ms, "ms", note="its start included"),
        Figure(f"{name}: submitting one run", 1000 * grid.submitting_s / grid.runs, "ms"),
        Figure(f"{name}: starts of supervisor and worker, once", grid.first_s, "s"),
        Figure(f"{name}: worker processes for {BACKBONES} backbones", grid.workers, "processes", BACKBONES),
    ]


def beside_scripts(grid: Grid, scripts: Sequence[Timing]) -> Row:
    """One run, including its part of the start, and one script."""
    work = f"a run that does nothing, in a grid of {grid.runs:,}"
    return row(work, "a new process with torch, torchvision, timm and sklearn", [grid.timing], scripts)


def script() -> None:
    """Start-up cost of a separate script per run."""
    subprocess.run([sys.executable, "-P", "-c", SCRIPT], check=True)


def carried_out(runs: int) -> Grid:
    """Submit the runs, start a supervisor, wait for the last row."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Workspace(Path(folder) / "workspace").create(), OPTIONS)
        try:
            return _measured(bench, runs)
        finally:
            bench.clean_up()


def _measured(bench: Bench, runs: int) -> Grid:
    names = [f"{number:012x}" for number in range(runs)]
    submitting, _ = timed(lambda: [bench.submit(n, backbone=f"demo/{i % BACKBONES}") for i, n in enumerate(names)])
    begun = time.perf_counter()
    bench.supervise()
    _wait(lambda: bool(journal(bench.workspace.features)), 0.02)
    first_s = time.perf_counter() - begun
    _wait(lambda: bench.workspace.run(names[-1]).result.exists() and _done(bench, runs), 0.1)
    whole_s = time.perf_counter() - begun
    supervisor = psutil.Process(bench.supervisor_pid())
    own, gone = supervisor.cpu_times(), [child.cpu_times() for child in supervisor.children(recursive=True)]
    worker_cpu_s = own.children_user + own.children_system + sum(times.user + times.system for times in gone)
    return Grid(
        runs=runs,
        submitting_s=submitting.wall_s,
        whole_s=whole_s,
        first_s=first_s,
        supervisor_cpu_s=own.user + own.system,
        worker_cpu_s=worker_cpu_s,
        workers=len({note[4] for note in journal(bench.workspace.features)}),
    )


def _done(bench: Bench, runs: int) -> bool:
    return (
        sum(note[0] == "finish" for note in journal(bench.workspace.features)) == runs and len(bench.results()) == runs
    )


def _wait(fact: Callable[[], bool], every_s: float) -> None:
    """Raises TimeoutError."""
    until = time.monotonic() + PATIENCE_S
    while not fact():
        if time.monotonic() > until:
            raise TimeoutError(f"not done after {PATIENCE_S:.0f} s")
        time.sleep(every_s)


if __name__ == "__main__":
    sys.exit(main())
