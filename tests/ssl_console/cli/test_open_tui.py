"""The shortcut to the terminal app accepts the same arguments as the command tree, which handles everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_console.cli.open_tui import bare_session


@pytest.mark.parametrize(
    "line",
    ["runs", "--help", "--version", "--workspace", "--workspace x runs", "--slow plan", "--workspace --slow", "--slo"],
)
def test_whatever_else_is_asked_is_left_to_the_command_tree(line: str) -> None:
    assert bare_session(line.split()) is None


def test_plain_options_mean_what_they_mean_to_the_command_tree() -> None:
    session = bare_session(["--workspace", "a", "--cards", "b", "--readonly", "--cards", "c", "--workspace", "d"])
    assert session is not None
    assert (session.workspace_option, session.card_folders) == (Path("d"), (Path("b"), Path("c")))
    assert (session.readonly, session.slow) == (True, False)
    nothing = bare_session([])
    assert nothing is not None
    assert nothing.workspace_option is None
