"""The style sheet names widgets by their class: a name of no class would silently style nothing."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from textual.widget import Widget

import ssl_console.tui
from ssl_console.tui.app import ConsoleApp

TYPES = re.compile(r"(?<![\w.#$-])[A-Z]\w+")


def test_every_type_in_the_style_sheet_is_a_widget_class() -> None:
    for module in walk_packages(ssl_console.tui.__path__, "ssl_console.tui."):
        import_module(module.name)
    css = (Path(ssl_console.tui.__path__[0]) / str(ConsoleApp.CSS_PATH)).read_text()
    selectors = re.sub(r"\{[^}]*\}", " ", css)
    named = set(TYPES.findall(selectors))
    assert named - {widget.__name__ for widget in _subclasses(Widget)} == set()
    assert {"Dialog", "LiveScreen"} <= named


def _subclasses(of: type[Widget]) -> set[type[Widget]]:
    return {of, *(deeper for below in of.__subclasses__() for deeper in _subclasses(below))}
