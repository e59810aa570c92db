"""What the command palette finds: every action of the screen in front, every backbone, task, suite and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.markup import escape

from ssl_console.plain_text import shorten
from ssl_console.tui.keys import shown
from ssl_console.tui.text import clean

if TYPE_CHECKING:
    from ssl_console.tui.app import ConsoleApp


LONGEST = 200
"""Columns of a name or a title that are shown."""


@dataclass(frozen=True)
class Command:
    """Something that can be found and done. Title and help may hold anything; what is shown of them is text."""

    title: str
    help: str
    run: Callable[[], object]

    @property
    def text(self) -> str:
        """The title, to be matched and drawn."""
        return shorten(clean(self.title), LONGEST)

    @property
    def below(self) -> str:
        """The help; the palette takes it for markup, whose signs therefore stand for themselves."""
        return escape(shorten(clean(self.help), LONGEST))


class ConsoleCommands(Provider):
    """Names from cards and run folders are untrusted: they are shown as plain text, never as markup."""

    async def discover(self) -> Hits:
        """Before anything is typed: the actions."""
        for command in self._actions():
            yield DiscoveryHit(Content(command.text), command.run, text=command.text, help=command.below)

    async def search(self, query: str) -> Hits:
        """What fits the query."""
        matcher = self.matcher(query)
        for command in (*self._actions(), *self._places()):
            score = matcher.match(command.text)
            if score > 0:
                yield Hit(score, Content(command.text), command.run, text=command.text, help=command.below)

    @property
    def _console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    def _actions(self) -> Iterator[Command]:
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding, name = active.binding, active.binding.id or ""
            if not active.enabled or "." not in name or name in seen or name == "app.palette":
                continue
            seen.add(name)
            run = partial(self.app.run_action, binding.action, active.node)
            yield Command(f"{binding.tooltip}  [{shown(binding.key)}]", name, run)

    def _places(self) -> Iterator[Command]:
        app, world = self._console, self._console.world
        for backbone in world.catalogue.backbones:
            yield Command(
                f"backbone {backbone.name}", backbone.card.title, partial(app.go_to_pair, backbone.name, None)
            )
        for task in world.catalogue.tasks:
            yield Command(f"task {task.name}", task.dataset.title, partial(app.go_to_pair, None, task.name))
        for suite in world.catalogue.suites:
            yield Command(f"suite {suite.name}", suite.title, partial(app.go_to_suite, suite.name))
        for run in world.runs.values():
            yield Command(f"run {run.backbone} on {run.task}", run.state.value, partial(app.open_run, run.run_id))
