"""Key latency in tables of 10,000 results: from the key press to the last byte of its update.

    python -m tests.benchmarks.tui_tables

250 backbones by 40 tasks, every one measured, in a real terminal of 160 by 50. Beside each time stand the bytes that
went to the terminal. CPU time is the console's own from the key press on.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ssl_console.workspace.paths import Workspace
from tests.benchmarks._record import Figure
from tests.ssl_console.tui.figures import run_benchmark, told
from tests.ssl_console.tui.filled import fill_results, own_backbones, task_names
from tests.ssl_console.tui.terminal import Terminal, a_console

BACKBONES, TASKS = 250, 40
SIZE = (160, 50)
REPEATS = 9
LIMIT_MS = 60.0
SETTLED_S = 0.3
"""An update ends after this long without a byte; not included in the time."""


@dataclass(frozen=True)
class Reaction:
    """Measurements of one key press."""

    first_ms: float
    """Until the first byte."""
    whole_ms: float
    """Until the last byte."""
    cpu_ms: float
    bytes: int


def main() -> int:
    """Print the figures."""
    return run_benchmark(__doc__ or "", measure)


def measure(quick: bool) -> Sequence[Figure]:
    """One console, many keys."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "workspace").create()
        fill_results(workspace, own_backbones(workspace, BACKBONES), task_names(TASKS))
        with a_console(workspace, size=SIZE) as terminal:
            terminal.until_shown("demo/mae on")
            terminal.until_quiet()
            return told(reactions(terminal, 1 if quick else REPEATS, TASKS, LIMIT_MS))


def reactions(terminal: Terminal, rounds: int, tasks: int, limit_ms: float | None) -> Sequence[Figure]:
    """Switch to Rankings with this number of tasks, sort, filter, and move the cursor."""
    return [figure for figures in _all(terminal, rounds, tasks, limit_ms) for figure in figures]


def _all(terminal: Terminal, rounds: int, tasks: int, limit: float | None) -> Sequence[Sequence[Figure]]:
    def press(*keys: str) -> Callable[[], list[Reaction]]:
        return lambda: [react(terminal, key) for key in keys]

    first = react(terminal, "3", f"{tasks} columns")
    switched = many(lambda: [react(terminal, "1", "ticked"), react(terminal, "3", f"{tasks} columns")], rounds)
    sorted_ = many(press("right", "s", "s"), rounds)
    typed = many(press("/", "d", "i", "n", "escape"), rounds)
    terminal.press("home")
    terminal.until_quiet()
    moved = many(press("down", "pagedown", "end", "home", "right"), rounds)
    return [
        _figures("first switch to Rankings", [first], limit),
        _figures("switch to Plan", switched[0]),
        _figures("switch to Rankings", switched[1], limit),
        _figures("sort by a column", sorted_[1], limit),
        _figures("sort the other way", sorted_[2], limit),
        _figures("filter, one letter", typed[1], limit),
        _figures("filter, the third letter", typed[3], limit),
        _figures("filter away (of it 100 ms to tell escape from a sequence)", typed[4]),
        *(_figures(name, moved[place]) for place, name in enumerate(("down", "page down", "end", "home", "right"))),
    ]


def many(round_: Callable[[], list[Reaction]], rounds: int) -> list[list[Reaction]]:
    """Several rounds of the same keys, by key."""
    return [list(column) for column in zip(*(round_() for _ in range(rounds)), strict=True)]


def react(terminal: Terminal, key: str, *words: str) -> Reaction:
    """Press a key and wait until this text is shown and no more output follows."""
    begun, cpu, first, before = 0.0, terminal.cpu_seconds(), [0.0], len(terminal.written)

    def painted() -> bool:
        if len(terminal.written) > before and not first[0]:
            first[0] = terminal.last_read
        return bool(first[0])

    took = terminal.measure(key, painted)
    begun = first[0] - took
    terminal.until_shown(*words)
    terminal.until_quiet(SETTLED_S)
    used = terminal.cpu_seconds() - cpu
    return Reaction(1000 * took, 1000 * (terminal.last_read - begun), 1000 * used, len(terminal.written) - before)


def _figures(name: str, reactions: Sequence[Reaction], limit: float | None = None) -> Sequence[Figure]:
    note = (
        f"first byte {median(r.first_ms for r in reactions):.0f} ms, CPU {median(r.cpu_ms for r in reactions):.0f} ms, "
    )
    note += f"{median(r.bytes for r in reactions):,.0f} B"
    return [Figure(f"{name}: key to last byte", median(r.whole_ms for r in reactions), "ms", limit, note)]


if __name__ == "__main__":
    sys.exit(main())
