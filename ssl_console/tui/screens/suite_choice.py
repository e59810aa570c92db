"""Choice of a suite, common to all screens with tasks."""

from __future__ import annotations

from backbones.io.errors import counted
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import Host
from ssl_console.tui.screens.choosers import PickDialog

EVERYTHING = "*"


def suite_dialog(state: AppState, everything: str = "everything measured", current: str | None = None) -> PickDialog:
    """Dialog with all suites, and the choice of all tasks."""
    options = [(EVERYTHING, everything)]
    suites = state.catalogue.suites
    options += [(suite.name, f"{suite.name}, {counted(len(suite.tasks), 'task')}: {suite.title}") for suite in suites]
    return PickDialog("Suite", options, current or state.suite or EVERYTHING)


def take_suite(app: Host, name: str | None) -> None:
    """Show the chosen suite; without a choice, nothing changes."""
    if name is not None:
        app.choose_suite(None if name == EVERYTHING else name)
