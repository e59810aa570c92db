"""Memory use after an hour of watching: 8 runs that write 50 events a second, replayed as fast as they can.

    python -m tests.benchmarks.tui_memory

Every writer is a process of its own that appends 180,000 events, an hour's worth, with no pause between them; the
console shows them on Live in a real terminal of 120 by 40. Measured: its resident memory before, at its highest, and
after; the curve kept of a metric does not grow with the events.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks._record import Figure
from tests.benchmarks.tui_live import queue_many
from tests.ssl_console.tui.figures import run_benchmark, told
from tests.ssl_console.tui.filled import used_workspace, writers
from tests.ssl_console.tui.terminal import Terminal, a_console

RUNS = 8
EVENTS = 3600 * 50
PATIENCE_S = 600.0
LIMIT_MIB = 150.0


def main() -> int:
    """Print the figures."""
    return run_benchmark(__doc__ or "", measure)


def measure(quick: bool) -> Sequence[Figure]:
    """One console, from before the first event until all runs are shown as done."""
    events = EVENTS // 100 if quick else EVENTS
    with tempfile.TemporaryDirectory() as folder:
        workspace = used_workspace(Path(folder), results=1000, runs=200)
        names = queue_many(workspace, RUNS)
        with a_console(workspace) as terminal:
            terminal.until_shown("demo/mae on")
            terminal.press("2", "tab")
            terminal.until_shown("8 waiting")
            before, highest = resident_mib(terminal), [0.0]

            def all_done() -> bool:
                highest[0] = max(highest[0], resident_mib(terminal))
                return terminal.shows("188 done")

            begun = terminal.cpu_seconds()
            with writers(workspace, names, rate=0, events=events):
                terminal.until(all_done, "all runs done", PATIENCE_S)
            used = terminal.cpu_seconds() - begun
            after = resident_mib(terminal)
    million = RUNS * events / 1e6
    return told(
        [
            Figure("resident memory before", before, "MiB"),
            Figure(f"resident memory at its highest in {million:.2g} million events", highest[0], "MiB", LIMIT_MIB),
            Figure("resident memory after", after, "MiB", LIMIT_MIB),
            Figure("CPU of the console for every million events", used / million, "s"),
        ]
    )


def resident_mib(terminal: Terminal) -> float:
    """Current resident memory of the console."""
    return float(terminal.process.memory_info().rss) / 2**20


if __name__ == "__main__":
    sys.exit(main())
