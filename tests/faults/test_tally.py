"""The README shows the figures of the last `make faults`."""

from __future__ import annotations

import json

from tests.faults.tally import FIGURES, README, shown, table


def test_readme_shows_the_figures_that_were_measured() -> None:
    assert shown(README.read_text()) == table()


def test_nothing_was_lost() -> None:
    assert [one["tried"] for one in json.loads(FIGURES.read_text())["figures"] if one["lost"]] == []
