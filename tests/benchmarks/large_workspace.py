"""30,000 results: 50 backbones by 200 tasks by 3 seeds, written, ranked and shown.

    python -m tests.benchmarks.large_workspace

The results are rows as this version writes them. One is added by a process that added others before, as the supervisor
does, and by one that has to read the file first. The console runs in a real terminal of 160 by 50; limits of keys are
those of 10,000 results. Resident memory is the highest until then.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

from ssl_console.analysis.ranking import rank
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore
from tests.benchmarks._options import ROOT
from tests.benchmarks._record import Figure
from tests.benchmarks.tui_tables import LIMIT_MS, SIZE, reactions
from tests.ssl_console.tui.figures import run_benchmark, told
from tests.ssl_console.tui.filled import own_backbones, result, task_names
from tests.ssl_console.tui.terminal import Terminal, a_console

BACKBONES, TASKS, SEEDS = 50, 200, 3
REPEATS = 5
INSERT_LIMIT_MS = 150.0
MEMORY_LIMIT_MIB = 150.0
IDLE_LOOKS, IDLE_CPU_S = 20, 0.1
"""The console is idle after this many looks at its CPU time in which it used less than this."""
READ = """
import sys
from pathlib import Path
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore
ResultStore(Workspace(Path(sys.argv[1]))).results()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def main() -> int:
    """Print the figures."""
    return run_benchmark(__doc__ or "", measure)


def measure(quick: bool) -> Sequence[Figure]:
    """The database, the ranking, and the console."""
    tasks, repeats = (TASKS // 10, 1) if quick else (TASKS, REPEATS)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "workspace").create()
        backbones = own_backbones(workspace, BACKBONES)
        results = list(all_results(backbones, task_names(tasks)))
        ResultStore(workspace).add(results)
        figures = [*told(list(stored(workspace, len(results), repeats))), *told([ranked(workspace, repeats)])]
        return [*figures, *shown(workspace, repeats, tasks)]


def all_results(backbones: Iterable[str], tasks: Sequence[str]) -> Iterator[Result]:
    """A result for every backbone, task and seed, as this version stores them."""
    for backbone in backbones:
        for task in tasks:
            protocol, _, dataset = task.partition("/")
            about = {"protocol": protocol, "dataset": dataset, "identified_by": "content", "made_of": "0" * 16}
            for seed in range(SEEDS):
                yield result(backbone, task, seed=seed).model_copy(update=about)


def stored(workspace: Workspace, count: int, repeats: int) -> Iterator[Figure]:
    """Additions and readings."""
    store, numbers = ResultStore(workspace), iter(range(1_000_000))

    def further() -> list[Result]:
        return [result("demo/mae", "knn/digits", seed=1000 + next(numbers))]

    store.add(further())
    known = of(repeats, lambda: store.add(further()))
    unknown = of(repeats, lambda: ResultStore(workspace).add(further()))
    yield Figure(f"one result added to {count:,}", known, "ms", INSERT_LIMIT_MS)
    yield Figure(f"one result added to {count:,} by another process", unknown, "ms", INSERT_LIMIT_MS)
    yield Figure(f"reading {count:,} results", of(repeats, lambda: ResultStore(workspace).results()), "ms")
    reader = ResultStore(workspace)
    reader.results()
    grown = []
    for _ in range(repeats):
        store.add(further())
        grown.append(of(1, reader.results))
    yield Figure("reading again after one was added", median(grown), "ms")
    command = [sys.executable, "-c", READ, str(workspace.root)]
    peak = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    yield Figure("resident memory of a process that has read them", int(peak) / 1024, "MiB")


def ranked(workspace: Workspace, repeats: int) -> Figure:
    """The whole ranking."""
    results = ResultStore(workspace).results()
    return Figure(f"ranking of {len(results):,}", of(repeats, lambda: rank(results)), "ms")


def of(repeats: int, work: Callable[[], object]) -> float:
    """Median clock time in milliseconds."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begun))
    return median(times)


def shown(workspace: Workspace, repeats: int, tasks: int) -> Iterator[Figure]:
    """The console from its start on."""
    begun = time.perf_counter()
    with a_console(workspace, size=SIZE) as terminal:
        terminal.until_shown("demo/mae on")
        first = 1000 * (terminal.last_read - begun)
        yield from told([Figure("start of the console to the grid", first, "ms", None, cpu(terminal))])
        until_idle(terminal)
        yield from told(
            [Figure("CPU time until it is at rest, with the ranking made", 1000 * terminal.cpu_seconds(), "ms")]
        )
        yield from told([Figure("resident memory of the console at rest", peak_mib(terminal), "MiB", MEMORY_LIMIT_MIB)])
        yield from told(reactions(terminal, repeats, tasks, LIMIT_MS))
        yield from told([Figure("resident memory after these keys", peak_mib(terminal), "MiB", MEMORY_LIMIT_MIB)])


def until_idle(terminal: Terminal) -> None:
    """Wait until the ranking has been made in the background, of which the screen shows nothing."""
    used = [terminal.cpu_seconds()]

    def idle() -> bool:
        used.append(terminal.cpu_seconds())
        return len(used) > IDLE_LOOKS and used[-1] - used[-1 - IDLE_LOOKS] < IDLE_CPU_S

    terminal.until_quiet()
    terminal.until(idle, "the console is idle")


def cpu(terminal: Terminal) -> str:
    """CPU time until now."""
    return f"CPU {1000 * terminal.cpu_seconds():.0f} ms"


def peak_mib(terminal: Terminal) -> float:
    """Highest resident memory of the console until now."""
    status = Path(f"/proc/{terminal.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


if __name__ == "__main__":
    sys.exit(main())
