"""The README shows the figures of the last `make faults`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.faults.tally import ENVIRONMENT_VARIABLE, FIGURES, README, Figure, Figures, lost, shown, table

MEASURED_NOW = Path(os.environ.get(ENVIRONMENT_VARIABLE, "")).absolute() == FIGURES
of_the_last_run = pytest.mark.skipif(
    MEASURED_NOW, reason="this run writes these figures when it ends, and the README is written after that"
)


@of_the_last_run
def test_readme_shows_the_figures_that_were_measured() -> None:
    assert shown(README.read_text()) == table()


@of_the_last_run
def test_nothing_was_lost() -> None:
    assert lost() == []


def figures(*rows: Figure) -> Figures:
    return Figures({(row.group, row.tried): row for row in rows})


def test_figures_of_a_run_replace_those_of_the_same_fault_and_leave_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figures.json"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(path))
    figures(Figure("a", "x", 5, 0, "kept"), Figure("a", "y", 6, 1, "earlier")).write(60.0)
    assert lost(path) == ["y"]
    figures(Figure("a", "y", 1200, 0, "later")).write(30.0)
    assert lost(path) == []
    assert json.loads(path.read_text())["seconds"] == 60
    assert table(path).splitlines()[2:4] == ["| **a** | x | 5 | 0 | kept |", "|  | y | 1,200 | 0 | later |"]
