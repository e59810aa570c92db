"""Resources of a supervisor under load, and start times in a workspace with many runs.

    python -m tests.benchmarks.load             # 5,000 queued runs of a no-op protocol, 64 workers on the CPU
    python -m tests.benchmarks.load --only start    # starts with 10,000 run folders alone

The first part ends after a minute if the machine has not done all the runs by then. CPU time is the supervisor's own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ssl_console.workspace.paths import Workspace
from tests.benchmarks._record import Figure
from tests.faults.load import carry_out, command_s, fill_with_ended_runs, queue_many, start_up_s
from tests.faults.scale import FULL
from tests.faults.stage import ROOT, set_stage
from tests.ssl_console.tui.figures import run_benchmark, told
from tests.ssl_console.tui.terminal import a_terminal, console_command

QUICK = "--quick" in sys.argv
RUN_FOLDERS = 1_000 if QUICK else 10_000
QUEUED, SLOTS = (300, 8) if QUICK else (FULL.queued, FULL.slots)
LONGEST_S = 60.0
REPEATS = 1 if QUICK else 3


def main() -> int:
    """Print the figures."""
    only = sys.argv.index("--only") if "--only" in sys.argv else None
    part = sys.argv[only + 1] if only is not None else ""
    if only is not None:
        del sys.argv[only : only + 2]
    return run_benchmark(__doc__ or "", lambda _quick: told(list(measure(part))))


def measure(part: str) -> Iterator[Figure]:
    """One part, or both."""
    if part in ("", "queue"):
        yield from under_load()
    if part in ("", "start"):
        yield from starts()


def under_load() -> Sequence[Figure]:
    """A queue, and workers whose runs do nothing."""
    with tempfile.TemporaryDirectory() as folder:
        stage = set_stage(Path(folder) / "workspace", SLOTS)
        try:
            queue_many(stage, QUEUED)
            found = carry_out(stage, LONGEST_S)
        finally:
            stage.clean_up()
    return [
        Figure(f"runs done of {QUEUED:,}", found.runs, f"in {found.seconds:.0f} s"),
        Figure(f"workers at once, of {SLOTS}", found.workers, ""),
        Figure("CPU time of the supervisor / clock time", found.cores, "cores", 1.0),
        Figure("CPU time of the supervisor per run", 1000 * found.cpu_s / max(1, found.runs), "ms"),
        Figure("memory of the supervisor at its peak", found.peak_mb, "MB", 300.0),
    ]


def starts() -> Iterator[Figure]:
    """Supervisor, command line and console, in a workspace with many run folders and as many results."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "workspace").create()
        workspace.config.write_text('devices = ["cpu"]\n')
        fill_with_ended_runs(workspace, RUN_FOLDERS)
        environment = {**os.environ, "SSL_CONSOLE_WORKSPACE": str(workspace.root), "PYTHONPATH": str(ROOT)}
        cases: dict[str, Callable[[], tuple[float, float]]] = {
            "supervisor, until it has looked at all of them": lambda: start_up_s(workspace, environment),
            "ssl-console runs": lambda: command_s(environment, "runs", "--json"),
            "ssl-console rank": lambda: command_s(environment, "rank", "--json"),
            "console, until it shows a grid": lambda: console_s(workspace),
        }
        for name, measured in cases.items():
            wall, cpu = min(measured() for _ in range(REPEATS))
            yield Figure(f"{name}, {RUN_FOLDERS:,} run folders", wall, "s", 2.0, f"{cpu:.2f} s of CPU time")


def console_s(workspace: Workspace) -> tuple[float, float]:
    """The console from its start until the grid is complete."""
    begun = time.perf_counter()
    with a_terminal(*console_command(workspace)) as terminal:
        terminal.until_shown("demo/mae on")
        return terminal.last_read - begun, terminal.cpu_seconds()


if __name__ == "__main__":
    sys.exit(main())
