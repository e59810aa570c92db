"""Which tasks Plan opens on while nobody has chosen: all there are would be too many to look at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ssl_console.result import Result
from ssl_console.tui.catalogue import Catalogue, Suite
from ssl_console.tui.runview import RunView

FIRST = "demo"
"""The suite for somebody who has measured nothing yet: its data are made here, and it is done within minutes."""


def opening_suite(catalogue: Catalogue, results: Sequence[Result], runs: Iterable[RunView]) -> str:
    """The suite that holds what was measured last, and of those the one with most of what was ever measured.

    Empty when no suite holds it: then all tasks are shown.
    """
    dated = [(one.finished, (one.task, one.variant)) for one in results if one.source == "mine"]
    dated += [(run.created, (run.task, run.variant)) for run in runs]
    if not dated:
        return FIRST if FIRST in catalogue.suite else ""
    measured = {column for _, column in dated}
    newest = max(dated)[1]
    fitting = [suite for suite in catalogue.suites if newest in suite.columns]

    def worth(suite: Suite) -> tuple[int, int]:
        return len(measured.intersection(suite.columns)), -len(suite.columns)

    best = max(fitting, key=worth, default=None)
    return best.name if best else ""
