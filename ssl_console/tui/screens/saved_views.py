"""Named views of the rankings: saving, opening and removal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

from pydantic import JsonValue
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.screens.choosers import PickDialog
from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.views.ranking_query import RankingQuery, view_document, view_of_document
from ssl_console.tui.widgets.filter_bar import StaticInput
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.virtual_table import LineTable

Views = Mapping[str, JsonValue]


class NameDialog(Dialog[str | None]):
    """Input of a name."""

    BINDINGS: ClassVar = bindings("naming")

    def __init__(self, title: str, about: str, name: str = "") -> None:
        super().__init__()
        self._title, self._about, self._name = title, about, name

    def compose(self) -> ComposeResult:
        """The panel."""
        with Vertical(classes="dialog small") as panel:
            panel.border_title = self._title
            yield StyledText([line(Span(self._about, Tone.DIM))], id="about")
            yield StaticInput(self._name, placeholder="name", compact=True, id="name")
            yield KeyLine()

    def on_mount(self) -> None:
        """Focus the input line."""
        self.query_one(Input).focus()

    def action_accept(self) -> None:
        """Use the name."""
        name = self.query_one(Input).value.strip()
        if name:
            self.dismiss(name)


class ViewsDialog(PickDialog):
    """Choice or removal of a saved view."""

    BINDINGS: ClassVar = bindings("views")

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
