"""One session of the console: from the settings to the summary printed at its end."""

from __future__ import annotations

import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_console.system.errors import ConsoleError
from ssl_console.tui.app import SCREENS, AppOptions, ConsoleApp
from ssl_console.tui.keys import known_ids, unknown_ids
from ssl_console.workspace.paths import Workspace

if TYPE_CHECKING:
    from ssl_console.tui.data.backend import Backend
    from ssl_console.tui.data.state import AppState


def run_console(workspace: Workspace, card_folders: tuple[Path, ...], *, readonly: bool, slow: bool, mode: str) -> int:
    """Run the console until the user quits. Raises ConsoleError for invalid settings."""
    app = ConsoleApp(
        lambda: _backend(workspace, card_folders), AppOptions(readonly, slow, mode=mode), user_keys(workspace)
    )
    try:
        code = app.run()
    except (OSError, termios.error):  # restoring a vanished terminal fails
        if app.signal_code is None:
            raise
        code = app.signal_code
    if app.started and sys.stdout.isatty():
        _print(exit_summary(app.state))
    return app.signal_code or code or app.return_code or 0


def user_keys(workspace: Workspace) -> dict[str, str]:
    """Key bindings of the settings. Raises ConsoleError for invalid ones."""
    if not workspace.config.exists():  # reading settings takes longer than the first frame
        return {}
    from backbones.io.card_files import suggest  # noqa: PLC0415
    from ssl_console.workspace.config import load_config  # noqa: PLC0415

    keys = load_config(workspace).keys
    for entry in SCREENS:
        if any(key.startswith(f"{entry.name}.") for key in keys):
            entry.load()
    unknown = unknown_ids(keys)
    if unknown:
        near = suggest(unknown[0], known_ids())
        hint = f"did you mean {near[0]!r}?" if near else "the command palette (`:`) shows the ids of all actions"
        raise ConsoleError(f"{workspace.config}: [keys]: no action has the id {', '.join(map(repr, unknown))}; {hint}")
    return keys


def _backend(workspace: Workspace, card_folders: tuple[Path, ...]) -> Backend:
    from ssl_console.operations.session import Session  # noqa: PLC0415 - loaded after the first picture
    from ssl_console.tui.data.local_backend import LocalBackend  # noqa: PLC0415 - loaded after the first picture

    return LocalBackend(Session.of(workspace, card_folders))


def _print(text: str) -> None:
    """Print to the normal screen; without effect if the terminal is gone."""
    from ssl_console.tui.terminal.driver import discard  # noqa: PLC0415 - loaded with the app

    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)


def exit_summary(state: AppState) -> str:
    """Summary of the runs, printed after the user quits."""
    tally = state.tally
    lines = [f"ssl-console: {tally.text}."] if state.runs else []
    if tally.running or tally.waiting:
        lines.append("They continue in the background: `ssl-console` shows them again, `ssl-console runs` lists them.")
    if tally.failed:
        lines.append("`ssl-console runs --state failed` shows what failed and why.")
    return "".join(f"{line}\n" for line in lines)
