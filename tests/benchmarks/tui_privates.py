"""What Textual's private attributes are worth: keys with and without their use, in terminals of 80 by 24 and 120 by 40.

    python -m tests.benchmarks.tui_privates

Two uses serve speed alone: the output of changed cells only (`terminal/cell_diff.py`), and the preparation of Rankings
while the app is idle (`screens/navigation.py`). Consoles with and without one of them run alternately on a workspace
with 1,000 results and 200 runs. Bytes are exact; times depend on the load of the machine, so compare within one run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from ssl_console.workspace.paths import Workspace
from tests.benchmarks._record import Figure
from tests.benchmarks.tui_tables import Reaction, react
from tests.ssl_console.tui.figures import run_benchmark, told
from tests.ssl_console.tui.filled import used_workspace
from tests.ssl_console.tui.terminal import Terminal, a_terminal, console_command

SIZES = ((80, 24), (120, 40))
REPEATS, STARTS = 9, 5
WITHOUT = {
    "changed cells": "from ssl_console.tui.terminal.cell_diff import DiffingApp; del DiffingApp._display",
    "preparation": "from ssl_console.tui.screens.navigation import Navigation\n"
    "Navigation.prepare_screen = lambda *_: None",
}
KEYS = {"down": ("down",), "page down": ("pagedown",), "sort": ("s",), "help, and back": ("f1", "escape")}
SCREENS = {"switch to Plan": ("1", "ticked"), "switch to Rankings": ("3", "columns")}


def main() -> int:
    """Print the figures."""
    return run_benchmark(__doc__ or "", measure)


def measure(quick: bool) -> Sequence[Figure]:
    """Both uses at both sizes."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = used_workspace(Path(folder) / "workspace", results=1000, runs=200)
        figures: list[Figure] = []
        for size in SIZES:
            figures += told(changed_cells(workspace, size, 2 if quick else REPEATS))
            figures += told(preparation(workspace, size, 1 if quick else STARTS))
        return figures


def changed_cells(workspace: Workspace, size: tuple[int, int], repeats: int) -> list[Figure]:
    """Bytes and times of keys in two consoles, one of which writes everything that Textual renders."""
    with ExitStack() as stack:
        consoles = [
            stack.enter_context(a_terminal(*command, size=size))
            for command in (console_command(workspace), without("changed cells", workspace))
        ]
        for terminal in consoles:
            ready(terminal)
            for name in ("switch to Rankings", *SCREENS):
                react(terminal, *SCREENS[name])
        rounds = [[pressed(terminal) for terminal in consoles] for _ in range(repeats)]
    figures = []
    for name in (*SCREENS, *KEYS):
        ours, others = ([one[place][name] for one in rounds] for place in (0, 1))
        where = f"{name}, {size[0]}x{size[1]}"
        figures += [
            Figure(f"bytes, {where}", _median(ours, "bytes"), "B"),
            Figure(f"bytes without `_display`, {where}", _median(others, "bytes"), "B"),
            Figure(f"key to last byte, {where}", _median(ours, "whole_ms"), "ms"),
            Figure(f"key to last byte without `_display`, {where}", _median(others, "whole_ms"), "ms"),
            Figure(f"CPU time, {where}", _median(ours, "cpu_ms"), "ms"),
            Figure(f"CPU time without `_display`, {where}", _median(others, "cpu_ms"), "ms"),
        ]
    return figures


def preparation(workspace: Workspace, size: tuple[int, int], starts: int) -> list[Figure]:
    """First switch to Rankings, with and without its preparation."""
    reactions: list[list[Reaction]] = [[], []]
    for _ in range(starts):
        for found, command in zip(
            reactions, (console_command(workspace), without("preparation", workspace)), strict=True
        ):
            with a_terminal(*command, size=size) as terminal:
                ready(terminal)
                found.append(react(terminal, *SCREENS["switch to Rankings"]))
    ours, others = reactions
    where = f"first switch to Rankings, {size[0]}x{size[1]}"
    return [
        Figure(f"key to last byte, {where}", _median(ours, "whole_ms"), "ms"),
        Figure(f"key to last byte without `_init_mode`, {where}", _median(others, "whole_ms"), "ms"),
    ]


def without(use: str, workspace: Workspace) -> list[str]:
    """Command line of a console without one of the uses."""
    code = f"import sys\n{WITHOUT[use]}\nfrom ssl_console.cli import main\nmain()"
    interpreter, *_, option, root = console_command(workspace)
    return [interpreter, "-P", "-c", code, option, root]


def ready(terminal: Terminal) -> None:
    """Wait until the console has started and is idle."""
    terminal.until_shown("demo/mae")
    terminal.until_quiet(1.0)


def pressed(terminal: Terminal) -> dict[str, Reaction]:
    """Reactions to every key once; several keys of one name are added up."""
    found = {name: react(terminal, *keys) for name, keys in SCREENS.items()}
    for name, keys in KEYS.items():
        each = [react(terminal, key) for key in keys]
        sums = (sum(getattr(one, field) for one in each) for field in ("first_ms", "whole_ms", "cpu_ms", "bytes"))
        found[name] = Reaction(*sums)
    return found


def _median(reactions: Sequence[Reaction], field: str) -> float:
    return float(median(getattr(one, field) for one in reactions))


if __name__ == "__main__":
    sys.exit(main())
