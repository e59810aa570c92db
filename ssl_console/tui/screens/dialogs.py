"""Small dialogs: help, a problem, a confirmation, disk space."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import Screen

from ssl_console.operations.disk_space import StorageUse, storage_of
from ssl_console.planning.duration import megabytes
from ssl_console.tui.host import Host, host
from ssl_console.tui.keys import KEYS, TITLES, bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, fit, key_text, line, wrap
from ssl_console.tui.terminal.colour_depth import ColourDepth
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines

KEY_WIDTH = 14
HELP_WIDTH, ABOUT_WIDTH = 56, 72
"""Maximum widths of the texts next to the keys and above them."""
FRAME = 7
"""Cells of the terminal besides the help's text: border, padding, scrollbar."""
TITLE_WIDTH, SIZE_WIDTH = 40, 10


class ProblemDialog(Dialog[None]):
    """An error and its remedy."""

    BINDINGS: ClassVar = bindings("panel")
    HELP_TEXT = "The error and its remedy. Runs are not affected by a problem of the console."

    def __init__(self, title: str, message: str) -> None:
        super().__init__()
        self._title, self._message = title, message

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog problem") as panel:
            panel.border_title = "Problem"
            yield Lines(id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Wrap the message to the panel's width."""
        width = min(76, self.app.size.width - 8)
        words = [line(text) for text in wrap(self._message, width)]
        self.query_one(Lines).show([line(Span(self._title, Tone.BAD)), (), *words, ()])


class HelpDialog(Dialog[None]):
    """Every key of the current screen, with its action."""

    BINDINGS: ClassVar = bindings("help")

    def __init__(self, about: Sequence[str], scopes: Sequence[str], chosen: dict[str, str]) -> None:
        super().__init__()
        self._content = about, scopes, chosen

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog help") as panel:
            panel.border_title = "Help"
            yield Lines(id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Wrap the help to the terminal's width."""
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        self.query_one(Lines).show(help_lines(*self._content, self.app.size.width - FRAME))


COLOURS = {ColourDepth.SIXTEEN: "16", ColourDepth.MANY: "256", ColourDepth.TRUE: "16.7 million"}


def situation(app: Host, theme: str) -> tuple[str]:
    """Workspace, theme and connection, for the help."""
    link = "slow link: polling less often" if app.slow else "fast link"
    colours = COLOURS[app.render_context.palette.depth]
    return (f"Workspace {app.backend.session.workspace.root}. Theme {theme}, {colours} colours; {link}.",)


def help_lines(about: Sequence[str], scopes: Sequence[str], chosen: dict[str, str], width: int) -> list[Line]:
    """Lines of the help, `width` cells wide: the purpose of the screen and its pane, then the keys of each scope.

    `chosen` are the user's key bindings.
    """
    lines: list[Line] = []
    for paragraph in filter(None, about):
        lines += [*([()] if lines else []), *(line(text) for text in wrap(paragraph, min(width, ABOUT_WIDTH)))]
    for scope in scopes:
        lines += [(), line(Span(TITLES[scope], Tone.TITLE))]
        for key in KEYS[scope]:
            keys = chosen.get(f"{scope}.{key.name}", key.keys).split(",")
            names = "  ".join(key_text(name.strip()) for name in keys)
            first, *rest = wrap(key.help, max(8, min(width - KEY_WIDTH - 3, HELP_WIDTH)))
            lines.append(line(Span(f"  {fit(names, KEY_WIDTH)} ", Tone.KEY), first))
            lines += [line(" " * (KEY_WIDTH + 3), text) for text in rest]
    return lines


def scopes_of(screen: Screen[object]) -> list[str]:
    """Scopes of the keys that are currently bound: of the screen, of the focused pane, of the app."""
    ids = (active.binding.id or "" for active in screen.active_bindings.values())
    scopes = dict.fromkeys(name.partition(".")[0] for name in ids if "." in name)
    return sorted(scopes, key=lambda scope: ("table", "text", "chart", "app").index(scope) if scope in _SHARED else -1)


_SHARED = frozenset({"table", "text", "chart", "app"})


class ConfirmDialog(Dialog[bool]):
    """A yes-or-no question with its consequence."""

    BINDINGS: ClassVar = bindings("confirm")
    HELP_TEXT = (
        "A question before something that costs time or disk space, cannot be undone, or leaves a warning in "
        "results. Nothing happens unless it is confirmed."
    )

    def __init__(self, question: str, consequence: str) -> None:
        super().__init__()
        self._question, self._consequence = question, consequence

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog small") as panel:
            panel.border_title = "Confirm"
            body = [line(Span(text)) for text in wrap(self._consequence, min(60, self.app.size.width - 8))]
            yield Lines([line(Span(self._question, Tone.STRONG)), *body, ()], id="text")
            yield KeyLine()

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_no(self) -> None:
        self.dismiss(False)


class StorageDialog(Dialog[None]):
    """Sizes of runs, logs, caches and weights."""

    BINDINGS: ClassVar = bindings("panel")
    HELP_TEXT = "Disk space of this workspace by kind, and the commands that free it. Nothing is deleted from here."

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog help") as panel:
            panel.border_title = "Disk space"
            yield Lines([line(Span("Measuring all files ...", Tone.DIM)), ()], id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Measure in a thread."""
        workspace = host(self).backend.session.workspace

        def measure() -> tuple[tuple[StorageUse, ...], int]:
            return storage_of(workspace), shutil.disk_usage(workspace.root).free

        host(self).in_background(measure, self._show, group="storage")

    def _show(self, measured: tuple[tuple[StorageUse, ...], int]) -> None:
        if self.is_mounted:
            self.query_one(Lines).show([*storage_lines(*measured), ()])
            self.refresh(layout=True)


def storage_lines(uses: Sequence[StorageUse], free: int) -> list[Line]:
    """One line per purpose, the total and the free space (bytes), then the commands that free some of it."""
    rows = [(use.title, use.size) for use in uses]
    sizes = [_row(title, size, Tone.PLAIN) for title, size in rows]
    total = [_row("in all", sum(size for _, size in rows), Tone.STRONG), _row("free on this disk", free, Tone.DIM)]
    return [*sizes, (), *total, (), *_commands(uses)]


def _row(title: str, size: int, tone: Tone) -> Line:
    return line(Span(fit(title, TITLE_WIDTH), tone), Span(f"{megabytes(size):>{SIZE_WIDTH}}", tone))


def _commands(uses: Sequence[StorageUse]) -> list[Line]:
    """Each command once, after the purposes it applies to."""
    commands = dict.fromkeys(use.freed_by for use in uses if use.freed_by)
    purposes = {command: ", ".join(use.title for use in uses if use.freed_by == command) for command in commands}
    return [
        text
        for command, titles in purposes.items()
        for text in (line(Span(f"{titles}:", Tone.DIM)), line(Span(f"  {command}", Tone.KEY)))
    ]
