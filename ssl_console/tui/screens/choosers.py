"""Dialogs for choosing from a list: options, suites, saved views, themes. Typed text narrows the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, TypeVar

from pydantic import JsonValue
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from backbones.io.errors import counted
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import Host, host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Cell, Span, Tone, line, wrap
from ssl_console.tui.views.ranking_query import RankingQuery, view_document, view_of_document
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.inputs import StaticInput
from ssl_console.tui.widgets.styled_text import StyledText, WrappedKeys
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.tui.widgets.virtual_table import LineTable

Choice = TypeVar("Choice")
FRAME_HEIGHT = 8
"""Lines of the dialog besides the options."""
EVERYTHING = "*"
Views = Mapping[str, JsonValue]


class SearchLine(StaticInput):
    """The search line above the list; some keys are not typed into it, but choose."""

    CHOOSING: ClassVar = frozenset({"space", "asterisk"})

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Whether a key is typed text."""
        return key not in self.CHOOSING and super().check_consume_key(key, character)


class ListDialog(Dialog[Choice | None]):
    """A list of options, each with a key and its text, below a search line."""

    def __init__(self, title: str, options: Mapping[str, str]) -> None:
        super().__init__()
        self._title, self._options = title, dict(options)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog list") as panel:
            panel.border_title = self._title
            yield SearchLine(placeholder="type to narrow the list", compact=True)
            yield LineTable(id="options", empty="No matches")
            yield StyledText(id="about")
            yield WrappedKeys()

    def on_mount(self) -> None:
        """Fill the list; the search line has the focus."""
        table = self.query_one(LineTable)
        table.shows_cursor, table.can_focus = True, False
        table.styles.height = min(len(self._options) + 1, max(4, self.app.size.height - FRAME_HEIGHT))
        self.fill()
        self.query_one(SearchLine).focus()

    @property
    def listed(self) -> list[str]:
        """Keys of the options that contain every word typed."""
        words = self.query_one(SearchLine).value.lower().split()
        return [
            key
            for key, text in self._options.items()
            if all(word in text.lower() or word in key.lower() for word in words)
        ]

    def fill(self) -> None:
        """Show the options that are listed."""
        width = max((len(text) for text in self._options.values()), default=10) + 4
        columns = (Column("name", self.heading(), width),)
        self.query_one(LineTable).show(TableModel(columns, self.listed, lambda key, _: self.cell(key)))

    def heading(self) -> str:
        """Text above the options."""
        return ""

    def cell(self, key: str) -> Cell:
        """An option as drawn."""
        return Cell(f" {self._options[key]}")

    @on(Input.Changed)
    def _narrowed(self, message: Input.Changed) -> None:
        message.stop()
        self.fill()
        self._moved()

    @on(LineTable.Moved)
    def _moved(self) -> None:
        """Show the full text of the option under the cursor if the list truncates it."""
        table, about = self.query_one(LineTable), self.query_one("#about", StyledText)
        text = self._options.get(table.row or "", "")
        room = table.size.width - 3
        about.show([line(Span(part, Tone.DIM)) for part in wrap(text, room)] if len(text) > room else [])
        self.moved(table.row)

    def moved(self, key: str | None) -> None:
        """Handle a move of the cursor to another option."""

    @on(LineTable.Opened)
    def _opened(self, message: LineTable.Opened) -> None:
        message.stop()
        self.action_accept()

    def action_move(self, where: str) -> None:
        getattr(self.query_one(LineTable), f"action_{where}")()

    def action_accept(self) -> None:
        raise NotImplementedError


class PickDialog(ListDialog[str]):
    """Choice of one option."""

    BINDINGS: ClassVar = bindings("picker")
    HELP_TEXT = "Typing narrows the list to the options that contain every word; enter chooses the highlighted one."

    def __init__(self, title: str, options: Sequence[tuple[str, str]], current: str | None) -> None:
        super().__init__(title, dict(options))
        self._current = current

    def on_mount(self) -> None:
        """Fill the list, and begin on the current option; the handler of the base class follows."""
        self.fill()
        self.query_one(LineTable).move_to(row=self._current)

    def action_accept(self) -> None:
        self.dismiss(self.query_one(LineTable).row)


class ThemeDialog(PickDialog):
    """Choice of a theme with a preview; closing without a choice restores the previous theme."""

    def __init__(self, names: Sequence[str], current: str) -> None:
        super().__init__("Theme", [(name, name) for name in names], current)
        self._before = current

    def moved(self, key: str | None) -> None:
        """Show the theme under the cursor."""
        if key is not None:
            self.app.theme = key

    def action_close(self) -> None:
        self.app.theme = self._before
        super().action_close()


class ChooseDialog(ListDialog[tuple[str, ...]]):
    """Choice of several options, in their order."""

    BINDINGS: ClassVar = bindings("chooser")
    HELP_TEXT = (
        "Typing narrows the list to the options that contain every word; space selects the highlighted one, * "
        "selects all that are listed, and enter accepts the selection."
    )

    def __init__(self, title: str, options: Mapping[str, str], chosen: Sequence[str]) -> None:
        super().__init__(title, options)
        self._chosen = set(chosen)

    def heading(self) -> str:
        """Number of chosen options."""
        return f" {len(self._chosen)} selected"

    def cell(self, key: str) -> Cell:
        """An option with its tick."""
        glyphs, picked = render_context(self).glyphs, key in self._chosen
        sign = glyphs.ticked if picked else glyphs.unticked
        return Cell(f" {sign} {self._options[key]}", Tone.PLAIN if picked else Tone.DIM)

    def action_pick(self) -> None:
        """Select or deselect the option under the cursor."""
        row = self.query_one(LineTable).row
        if row is not None:
            self._chosen ^= {row}
            self.fill()

    def action_all(self) -> None:
        """Choose all listed options, or none if all are chosen."""
        listed = set(self.listed)
        self._chosen = self._chosen - listed if listed <= self._chosen else self._chosen | listed
        self.fill()

    def action_accept(self) -> None:
        self.dismiss(tuple(name for name in self._options if name in self._chosen))


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


class NameDialog(Dialog[str | None]):
    """Input of a name."""

    BINDINGS: ClassVar = bindings("naming")
    HELP_TEXT = "The name under which this is saved."

    def __init__(self, title: str, about: str, name: str = "") -> None:
        super().__init__()
        self._title, self._about, self._name = title, about, name

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog small") as panel:
            panel.border_title = self._title
            yield StyledText([line(Span(self._about, Tone.DIM))], id="about")
            yield StaticInput(self._name, placeholder="name", compact=True, id="name")
            yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def action_accept(self) -> None:
        name = self.query_one(Input).value.strip()
        if name:
            self.dismiss(name)


class ViewsDialog(PickDialog):
    """Choice or removal of a saved view."""

    BINDINGS: ClassVar = bindings("views")
    HELP_TEXT = (
        "Saved views: sort order, filter, groups, pinned and hidden columns. Enter opens one, delete removes it, "
        "and u undoes the removal."
    )

    def action_remove(self) -> None:
        """Remove the view under the cursor; `u` on the screen restores it."""
        name = self.query_one(LineTable).row or ""
        views = dict(saved_views(self))
        if name in views:
            before = dict(views)
            del views[name]
            keep_views(self, views)
            host(self).undoable(f"removal of the view {name}", partial(keep_views, self.app.screen_stack[0], before))
            self._options.pop(name)
            self.fill()


def saved_views(screen: Widget) -> Views:
    """The saved views by name."""
    return host(screen).preferences.views


def keep_views(screen: Widget, views: Views) -> None:
    """Replace the saved views."""
    app = host(screen)
    app.save_preferences(replace(app.preferences, views=dict(views)))


def save_view(screen: Widget, name: str, query: RankingQuery) -> None:
    """Save a view under a name, replacing one of that name."""
    before = dict(saved_views(screen))
    host(screen).undoable(f"saving of the view {name}", partial(keep_views, screen, before))
    keep_views(screen, {**before, name: view_document(query)})
    host(screen).notify_user(f"Saved: {name}. o opens it.")


def opened_view(screen: Widget, name: str) -> RankingQuery | None:
    """A saved view; None, with a message, if this version cannot read it."""
    query = view_of_document(saved_views(screen).get(name))
    if query is None:
        host(screen).notify_user(f"The view {name} cannot be read by this version.")
    return query


def about_view(document: JsonValue) -> str:
    """Summary of a view: its suite, filter and sort order."""
    query = view_of_document(document)
    if query is None:
        return "cannot be read by this version"
    parts = [query.suite or "everything", f"/{query.filter}" if query.filter else "", f"sort {query.sort}"]
    return ", ".join(filter(None, parts))
