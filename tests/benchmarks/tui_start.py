"""Time to the console's first output, compared with an empty Textual app started alternately.

    python -m tests.benchmarks.tui_start

The workspace holds 1,000 results and 200 runs. Every start is a new process in a real terminal of 120 by 40. CPU time
is the process's own up to that moment: on a machine that others use too it says more than the clock.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks._record import Figure
from tests.ssl_console.tui.figures import run_benchmark, told
from tests.ssl_console.tui.filled import used_workspace
from tests.ssl_console.tui.terminal import a_terminal, console_command

REPEATS = 9
EMPTY = """
from textual.app import App
from textual.widgets import Static

class Empty(App):
    def compose(self):
        yield Static("nothing here")

Empty().run()
"""


@dataclass(frozen=True)
class Start:
    """One start: clock and CPU seconds from the beginning of the process."""

    wall: float
    cpu: float


def main() -> int:
    """Print the ratios."""
    return run_benchmark(__doc__ or "", measure)


def measure(quick: bool) -> Sequence[Figure]:
    """Starts of both alternately."""
    with tempfile.TemporaryDirectory() as folder:
        console = console_command(used_workspace(Path(folder) / "workspace", results=1000, runs=200))
        empty = [sys.executable, "-P", "-c", EMPTY]
        until_shown(console, "backbones")  # both once before counting: compiled files, disk caches
        until_shown(empty, "nothing here")
        starts = [
            (
                until_shown(empty, "nothing here"),
                until_shown(console, "1 Plan"),
                until_shown(console, "demo/mae on"),
            )
            for _ in range(2 if quick else REPEATS)
        ]
    return told(list(compared(*map(list, zip(*starts, strict=True)))))


def compared(empty: list[Start], first: list[Start], whole: list[Start]) -> Sequence[Figure]:
    """Medians and their ratios."""
    walls = [median(start.wall for start in starts) for starts in (empty, first, whole)]
    cpus = [median(start.cpu for start in starts) for starts in (empty, first, whole)]
    return [
        Figure("empty Textual app, start to first paint", 1000 * walls[0], "ms"),
        Figure("console, start to first paint", 1000 * walls[1], "ms"),
        Figure("console, start to the whole grid with 1,000 results", 1000 * walls[2], "ms"),
        Figure("first paint, console / empty app", walls[1] / walls[0], "x", 2.0),
        Figure("first paint, console / empty app, CPU time", cpus[1] / cpus[0], "x", 2.0),
        Figure("whole grid, console / empty app", walls[2] / walls[0], "x"),
        Figure("whole grid, console / empty app, CPU time", cpus[2] / cpus[0], "x"),
    ]


def until_shown(command: Sequence[str], words: str) -> Start:
    """Start a program and wait for its text."""
    begun = time.perf_counter()
    with a_terminal(*command) as terminal:
        terminal.until_shown(words)
        return Start(terminal.last_read - begun, terminal.cpu_seconds())


if __name__ == "__main__":
    sys.exit(main())
