"""The style sheet names widgets by their class: a name of no class would silently style nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
from textual.css import stylesheet
from textual.css.model import RuleSet
from textual.css.parse import parse
from textual.widget import Widget

import ssl_console.tui
from ssl_console.tui.app import ConsoleApp
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.conftest import PARSE_RULES, console_on, settled, until

TYPES = re.compile(r"(?<![\w.#$-])[A-Z]\w+")


def test_every_type_in_the_style_sheet_is_a_widget_class() -> None:
    for module in walk_packages(ssl_console.tui.__path__, "ssl_console.tui."):
        import_module(module.name)
    css = (Path(ssl_console.tui.__path__[0]) / str(ConsoleApp.CSS_PATH)).read_text()
    selectors = re.sub(r"\{[^}]*\}", " ", css)
    named = set(TYPES.findall(selectors))
    assert named - {widget.__name__ for widget in _subclasses(Widget)} == set()
    assert {"Dialog", "LiveScreen"} <= named


async def test_a_source_is_parsed_once_for_each_theme(used: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: Counter[tuple[object, ...]] = Counter()

    def counted(scope: str, css: str, read_from: tuple[str, str], **named: Any) -> Iterable[RuleSet]:
        parsed[scope, css, read_from, app.theme, named["tie_breaker"]] += 1
        return parse(scope, css, read_from, **named)

    # The rules that other tests share would hide a second parsing, or every one.
    monkeypatch.setattr(stylesheet.Stylesheet, "_parse_rules", PARSE_RULES)
    monkeypatch.setattr(stylesheet, "parse", counted)
    app = console_on(used)
    async with app.run_test() as pilot:
        for key in "2", "3", "1":
            await pilot.press(key)
            await settled(pilot)
        app.theme = "console-light"
        await until(pilot, lambda: len({theme for *_, theme, _ in parsed}) > 1)
    assert set(parsed.values()) == {1}


def _subclasses(of: type[Widget]) -> set[type[Widget]]:
    return {of, *(deeper for below in of.__subclasses__() for deeper in _subclasses(below))}
