"""Everything the screens show, as one value: folded out of news, changed by what the user does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ssl_console.result import Result
from ssl_console.tui.catalogue import Catalogue
from ssl_console.tui.core import DeviceView, News, SupervisorView
from ssl_console.tui.opening import opening_suite
from ssl_console.tui.runview import Runs, Tally, changed
from ssl_console.tui.selection import Pair, Selection


@dataclass(frozen=True)
class World:
    """What is known at one moment."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    runs: Runs = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    devices: tuple[DeviceView, ...] = ()
    supervisor: SupervisorView = field(default_factory=SupervisorView)
    problem: str = ""
    stale: Mapping[Pair, str] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    marked: tuple[str, ...] = ()
    """Backbones marked for Compare, in the order of marking."""
    suite: str | None = None
    """Chosen by the user, and shown in Plan and Rankings; None for everything."""
    opening: str | None = None
    """The suite that Plan opens on while none has been chosen; empty once somebody chose, None before it is known."""

    @property
    def planned_suite(self) -> str | None:
        """What Plan shows: the suite that was chosen, else the one that it opens on; None for all tasks."""
        return self.suite or self.opening or None

    def opened(self) -> World:
        """With the suite that Plan opens on, unless that is known."""
        if self.opening is not None:
            return self
        return replace(self, opening=opening_suite(self.catalogue, self.results, self.runs.values()))

    def after(self, news: News) -> World:
        """The world once this is known."""
        return replace(
            self,
            runs=changed(self.runs, news.runs, news.gone) if news.runs or news.gone else self.runs,
            results=self.results if news.results is None else news.results,
            devices=self.devices if news.devices is None else news.devices,
            supervisor=self.supervisor if news.supervisor is None else news.supervisor,
            problem=self.problem if news.problem is None else news.problem,
        )

    def with_mark_toggled(self, backbone: str) -> World:
        """Mark a backbone for Compare, or unmark it."""
        if backbone in self.marked:
            return replace(self, marked=tuple(name for name in self.marked if name != backbone))
        return replace(self, marked=(*self.marked, backbone))

    @cached_property
    def results_by_run(self) -> Mapping[str, Result]:
        """Own results by run."""
        return {result.run_id: result for result in self.results}

    @cached_property
    def tally(self) -> Tally:
        """How many runs are in which state."""
        return Tally.of(self.runs.values())
