"""Commands of the palette: every action of every screen, every backbone, task, suite and run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.markup import escape

from ssl_console.system.safe_text import shorten
from ssl_console.tui.host import HasPlaces, Host, host
from ssl_console.tui.keys import KEYS, TITLES, bindings
from ssl_console.tui.style.text import clean, key_text

PALETTE_HINT = "an action, a backbone, a task, a suite or a run"
LONGEST = 200
"""Maximum number of columns of a name or title."""
NEAREST, MOST_SCORE = 3, 100.0
"""Ranks of commands: actions of the current screen, its rows and columns, everything else."""
SHARED_SCOPES = {"app": 1, "table": 2, "text": 2}
"""Order of the scopes common to all screens; keys of the screen itself come first."""
SYNONYMS = {
    "app.theme": "colours dark light",
    "app.help": "keys shortcuts manual",
    "app.quit": "exit leave",
    "app.add-backbone": "own checkpoint weights new",
    "live.pause": "stop hold queue resume continue",
    "live.cancel": "kill stop abort",
    "live.retry": "again restart rerun",
    "live.finished": "hide done",
    "live.stack": "hang debug traceback",
    "rankings.export": "save write latex csv markdown json table copy",
    "rankings.columns": "hide tasks",
    "rankings.intervals": "confidence certainty error bars",
    "rankings.ranks": "confidence certainty significance critical difference",
    "rankings.heat": "colours",
    "rankings.paper": "published reference",
    "rankings.compare": "significance test",
}
"""Further words by which actions can be found."""


class FindPalette(CommandPalette):
    """The palette, with a help of its own."""

    BINDINGS: ClassVar = bindings("palette")
    HELP_TEXT = (
        "Finds actions by name, footer text or synonym, and backbones, tasks, suites, columns and runs. Actions of the "
        "current screen come first. Only the highlighted entry is executed, by enter."
    )

    def __init__(self) -> None:
        super().__init__(id="--command-palette", placeholder=PALETTE_HINT)


@dataclass(frozen=True)
class Command:
    """A command. Title and help may contain anything, and are shown as plain text."""

    title: str
    help: str
    run: Callable[[], object]
    words: str = ""
    """Further words by which it is found: its text in the footer, and synonyms."""

    @property
    def text(self) -> str:
        """Title for matching and display."""
        return shorten(clean(self.title), LONGEST)

    def score(self, query: str) -> float:
        """Quality of the match: every word begins a word of it, or is part of its title; 0 if one does not."""
        typed, title = query.lower().split(), self.text.lower()
        names = f"{title} {self.words.lower()}".replace("/", " / ").split()
        if not all(word in title or any(name.startswith(word) for name in names) for word in typed):
            return 0.0
        in_words = sum(self.words.lower().split().count(word) for word in typed)
        return 1.0 + in_words + title.startswith(query.lower()) + 1.0 / (1 + len(title))

    @property
    def below(self) -> str:
        """The help with escaped markup, which the palette would interpret."""
        return escape(shorten(clean(self.help), LONGEST))


class ConsoleCommands(Provider):
    """Names from cards and run folders are untrusted: they are shown as plain text, never as markup."""

    async def startup(self) -> None:
        """Import the screens that have not been shown, whose actions are searched too."""
        for entry in self._host.screens:
            await asyncio.to_thread(entry.load)

    async def discover(self) -> Hits:
        """Commands listed before anything is typed: the actions."""
        for command in self._actions():
            yield DiscoveryHit(Content(command.text), command.run, text=command.text, help=command.below)

    async def search(self, query: str) -> Hits:
        """Commands that match the query."""
        groups = (self._actions(), self._here(), self._elsewhere(), self._places())
        for nearness, group in zip((NEAREST, 2, 1, 0), groups, strict=True):
            for command in group:
                score = command.score(query)
                if score > 0:
                    score += nearness * MOST_SCORE
                    yield Hit(score, Content(command.text), command.run, text=command.text, help=command.below)

    @property
    def _host(self) -> Host:
        return host(self.screen)

    def _actions(self) -> Iterator[Command]:
        """Actions of the screen in front, then those that work everywhere, then the movements in a table."""
        seen: set[str] = {"app.palette"}
        active = [(one.binding.id or "", one) for one in self.screen.active_bindings.values()]
        for name, one in sorted(active, key=lambda pair: SHARED_SCOPES.get(pair[0].partition(".")[0], 0)):
            if one.enabled and "." in name and name not in seen:
                seen.add(name)
                binding, scope = one.binding, name.partition(".")[0]
                run = partial(self.app.run_action, binding.action, one.node)
                words = f"{binding.description} {SYNONYMS.get(name, '')}"
                yield Command(
                    f"{binding.tooltip}  [{key_text(binding.key)}]", f"{TITLES[scope]}; id {name}", run, words
                )

    def _here(self) -> Iterator[Command]:
        """Rows and columns of the screen in front."""
        screen = self.screen
        for kind, name, go in screen.places() if isinstance(screen, HasPlaces) else ():
            yield Command(f"{kind} {name}", "on this screen", go)

    def _elsewhere(self) -> Iterator[Command]:
        """Actions of the other screens."""
        app = self._host
        here = getattr(self.screen, "MODE", "")
        for entry in app.screens:
            entry.load()
            for key in KEYS[entry.name] if entry.name != here else ():
                if not (app.readonly and key.changes):
                    pressed = key_text(app.user_keys.get(f"{entry.name}.{key.name}", key.keys).partition(",")[0])
                    run = partial(app.act_in, entry.name, key.action)
                    words = f"{key.label} {SYNONYMS.get(f'{entry.name}.{key.name}', '')}"
                    yield Command(f"{key.help}  [{pressed}]", f"{entry.title}; id {entry.name}.{key.name}", run, words)

    def _places(self) -> Iterator[Command]:
        app = self._host
        state = app.state
        for backbone in state.catalogue.backbones:
            yield Command(
                f"backbone {backbone.name}",
                f"in Plan: {backbone.card.title}",
                partial(app.go_to_pair, backbone.name, None),
            )
        for task in state.catalogue.tasks:
            go = partial(app.go_to_pair, None, task.name)
            yield Command(f"task {task.name}", f"in Plan: {task.dataset.title}", go)
        for suite in state.catalogue.suites:
            yield Command(f"suite {suite.name}", suite.title, partial(app.choose_suite, suite.name))
        for run in state.runs.values():
            yield Command(f"run {run.backbone} on {run.task}", run.state.value, partial(app.open_run, run.run_id))
