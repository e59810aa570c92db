"""Cost of watching: the screen Live while workers write events, in a real terminal of 120 by 40.

    python -m tests.benchmarks.tui_live

Every writer is a process of its own that claims its run and appends 50 events a second, about three times as many as a
worker does. Measured: from a key to the bytes that paint what it does (the cursor's way down the table), the console's
own CPU time, the bytes that go to the terminal, and what is written while nothing changes.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ssl_console.workspace.paths import Workspace
from tests.benchmarks._record import Figure
from tests.ssl_console.system.test_nvml import stand_in_driver
from tests.ssl_console.tui.figures import quantile, run_benchmark, told
from tests.ssl_console.tui.filled import backbone_names, queue, task_names, used_workspace, writers
from tests.ssl_console.tui.terminal import Terminal, a_console

RATE = 50.0
PRESSES = 150
WATCHED_S = 20.0
IDLE_S = 10.0
SCREENS = ("Plan", "Live", "Rankings", "Compare", "Result")
KIB = 1024


def main() -> int:
    """Print the figures."""
    return run_benchmark(__doc__ or "", measure)


def measure(quick: bool) -> Sequence[Figure]:
    """Each situation with a new console."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for count, limit in ((8, 40.0),) if quick else ((8, 40.0), (64, 60.0)):
            with watching(Path(folder) / f"{count}", count) as terminal:
                figures += told(keys(terminal, count, limit, 20 if quick else PRESSES))
                figures += told(
                    watched(terminal, f"{count} live runs", *((4 * KIB, 10.0) if count == 8 else (None, None)))
                )
        if quick:
            return figures
        with watching(Path(folder) / "slow", 8, "--slow") as terminal:
            figures += told(watched(terminal, "8 live runs, slow link", 1.5 * KIB, None))
        figures += told(eight_gpus(Path(folder) / "gpus"))
        figures += told(idle(used_workspace(Path(folder) / "idle", results=1000, runs=200)))
    return figures


@contextmanager
def watching(root: Path, count: int, *options: str) -> Iterator[Terminal]:
    """A console on Live, in a workspace with 1,000 results and 200 finished runs, during `count` runs."""
    workspace = used_workspace(root, results=1000, runs=200)
    with writers(workspace, queue_many(workspace, count), rate=RATE), a_console(workspace, *options) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("2")
        terminal.until_shown(f"{count} running", "img/s")
        terminal.watch(2.0)
        yield terminal


def eight_gpus(root: Path) -> list[Figure]:
    """Devices above and below the runs: eight simulated GPUs of two kinds, whose figures change constantly."""
    root.mkdir()
    environment = stand_in_driver(root, "-DCARDS=8")
    with a_console(used_workspace(root / "workspace", results=60, runs=12), environment=environment) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("2", "d", "tab", "tab", "tab", "tab")
        terminal.until_shown("cuda:7", "ours: this console")
        terminal.watch(60.0)
        return watched(terminal, "devices above and below, 8 GPUs", 1.5 * KIB, None)


def queue_many(workspace: Workspace, count: int) -> list[str]:
    """Create queued runs; return their names."""
    pairs = [(backbone, task) for task in task_names(3) for backbone in backbone_names(30)][:count]
    return [queue(workspace, f"live{number:08x}", *pair).run_id for number, pair in enumerate(pairs)]


def keys(terminal: Terminal, count: int, limit: float, presses: int) -> list[Figure]:
    """Up and down the table at irregular intervals, like a user."""
    chance, times = random.Random(0), []
    rows = rows_of(terminal)
    for number in range(presses):
        terminal.watch(chance.uniform(0.05, 0.2))
        there = number % (2 * (rows - 1))
        key, target = ("down", there + 1) if there < rows - 1 else ("up", 2 * (rows - 1) - there - 1)
        times.append(1000 * terminal.measure(key, lambda target=target: cursor_row(terminal) == target))  # type: ignore[misc]
    what = f"key to paint while {count} workers write {RATE:.0f} events/s"
    return [
        Figure(f"{what}, median", quantile(times, 0.5), "ms"),
        Figure(f"{what}, 95th percentile", quantile(times, 0.95), "ms", limit, load()),
    ]


def watched(terminal: Terminal, what: str, most_bytes: float | None, most_cpu: float | None) -> list[Figure]:
    """Bytes and CPU time without key presses."""
    begun, cpu = time.monotonic(), terminal.cpu_seconds()
    count = terminal.watch(WATCHED_S)
    seconds = time.monotonic() - begun
    share = 100 * (terminal.cpu_seconds() - cpu) / seconds
    return [
        Figure(f"bytes to the terminal, {what}", count / seconds, "B/s", most_bytes),
        Figure(f"CPU of the console, {what}", share, "% of a core", most_cpu, load()),
        Figure(f"resident memory, {what}", terminal.process.memory_info().rss / 2**20, "MiB", 150),
    ]


def idle(workspace: Workspace) -> list[Figure]:
    """Bytes while nothing changes, screen by screen."""
    figures = []
    with a_console(workspace) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.until_quiet(3.0)
        for key, name in enumerate(SCREENS, start=1):
            terminal.press(str(key))
            terminal.until_quiet(1.0)
            figures.append(
                Figure(f"bytes in {IDLE_S:.0f} s without a change, screen {name}", terminal.watch(IDLE_S), "B", 0)
            )
    return figures


FIRST_ROW = 3
"""Lines above the first run: the bar, the summary, the headers."""


def rows_of(terminal: Terminal) -> int:
    """Number of first rows that the cursor moves through: those above the panes."""
    return min(
        8, sum(1 for line in terminal.text.splitlines()[FIRST_ROW : FIRST_ROW + 10] if "live" in line or "%" in line)
    )


def cursor_row(terminal: Terminal) -> int:
    """Row under the cursor, by its background colour, counted from 0; -1 if there is none."""
    _ = terminal.text
    buffer = terminal.screen.buffer
    plain = buffer[0][terminal.screen.columns - 1].bg
    for row in range(20):
        if buffer[FIRST_ROW + row][20].bg not in {"default", plain, background(terminal)}:
            return row
    return -1


def background(terminal: Terminal) -> str:
    """Background colour of a row without the cursor, from the tables' empty part."""
    return str(terminal.screen.buffer[1][terminal.screen.columns - 1].bg)


def load() -> str:
    """Load of the machine."""
    return f"at load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
