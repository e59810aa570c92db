"""The terminal app: a front end of the same operations as the command line. It neither executes nor owns runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssl_console.workspace.paths import Workspace


def launch(
    workspace: Workspace,
    card_folders: Sequence[Path] = (),
    *,
    readonly: bool = False,
    slow: bool = False,
    mode: str = "plan",
) -> int:
    """Run the console until the user quits, then print a summary of the runs. Returns the exit code."""
    from ssl_console.tui.main import run_console  # noqa: PLC0415 - Textual is loaded when it is needed

    return run_console(workspace, tuple(card_folders), readonly=readonly, slow=slow, mode=mode)
