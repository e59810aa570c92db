from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
from textual.binding import Binding
from textual.pilot import Pilot

from ssl_console.operations.session import Session
from ssl_console.tui import screens
from ssl_console.tui.app import SCREENS, AppOptions, ConsoleApp
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.tui.keys import KEYS, TITLES, changing_actions, unknown_ids
from ssl_console.tui.screens.add import AddForm
from ssl_console.tui.screens.base import ConsoleScreen, Dialog
from ssl_console.tui.screens.choosers import ThemeDialog
from ssl_console.tui.screens.dialogs import KEY_WIDTH, HelpDialog, scopes_of
from ssl_console.tui.style.text import key_text
from ssl_console.tui.widgets.header_footer import keys_of
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.conftest import Opener, settled

MODES = {"plan": "1", "live": "2", "rankings": "3", "compare": "4", "result": "5", "training": "6"}

for entry in SCREENS:
    entry.load()

PLAIN = re.compile(
    r"[a-zA-Z0-9]|f1|enter|escape|space|tab|shift\+tab|up|down|left|right|home|end|pageup|pagedown"
    r"|question_mark|colon|full_stop|slash|plus|minus|equals_sign|asterisk|dollar_sign|delete"
    r"|left_square_bracket|right_square_bracket|ctrl\+[clp]"
)
"""Keys that every terminal sends and that tmux and SSH pass on."""


def test_every_key_works_in_any_terminal() -> None:
    for keys in KEYS.values():
        for key in keys:
            assert all(PLAIN.fullmatch(name) for name in key.keys.split(",")), key


def test_no_scope_gives_one_key_two_meanings() -> None:
    for scope, keys in KEYS.items():
        names = [name for key in keys for name in key.keys.split(",")]
        assert len(names) == len(set(names)), scope
        assert scope in TITLES


def test_keys_of_a_screen_do_not_hide_those_that_work_everywhere() -> None:
    everywhere = {name for key in KEYS["app"] for name in key.keys.split(",")} - {"escape"}
    for scope in MODES:
        assert not everywhere & {name for key in KEYS[scope] for name in key.keys.split(",")}, scope


def test_keys_of_a_table_mean_the_same_on_every_screen() -> None:
    in_tables = {name for key in KEYS["table"] for name in key.keys.split(",")}
    for scope in MODES:
        assert not in_tables & {name for key in KEYS[scope] for name in key.keys.split(",")}, scope


@pytest.mark.parametrize("mode", MODES)
async def test_keys_in_the_help_are_the_keys_that_are_bound(used: Workspace, opened: Opener, mode: str) -> None:
    async with opened(used, AppOptions(mode=mode)) as pilot:
        screen = pilot.app.screen
        bound = {
            (active.binding.id, key)
            for key, active in screen.active_bindings.items()
            if active.binding.id and active.enabled
        }
        scopes = scopes_of(screen)
        told = {
            (f"{scope}.{key.name}", name) for scope in scopes for key in KEYS[scope] for name in key.keys.split(",")
        }
        hidden_by_inner = {pair for pair in told - bound if pair[1] in {key for _, key in bound}}
        assert bound - told == set()
        assert told - bound - hidden_by_inner == set()
        await pilot.press("f1")
        help_dialog = pilot.app.screen
        assert isinstance(help_dialog, HelpDialog)
        lines = ["".join(span.text for span in line) for line in help_dialog.query_one("#text").content]  # type: ignore[attr-defined]
        told_in_help = " ".join(" ".join(lines).split())
        for scope in scopes:
            for key in KEYS[scope]:
                first = key_text(key.keys.split(",")[0])
                started = [
                    line[KEY_WIDTH + 2 :].strip() for line in lines if line[: KEY_WIDTH + 2].split()[:1] == [first]
                ]
                assert any(key.help.startswith(words) for words in started), key
                assert key.help in told_in_help, "longer ones go on in the next line"


SHEETS = {
    "launch": (AppOptions(suite="demo"), ("space", "enter")),
    "export": (AppOptions(mode="rankings"), ("x",)),
    "chooser": (AppOptions(mode="rankings"), ("c",)),
    "ranks": (AppOptions(mode="rankings"), ("r",)),
    "more": (AppOptions(mode="rankings"), ("full_stop",)),
    "naming": (AppOptions(mode="rankings"), ("O",)),
    "views": (AppOptions(mode="rankings"), ("O", "a", "enter", "o")),
    "jump": (AppOptions(mode="rankings"), ("J",)),
    "ladder": (AppOptions(mode="compare", suite="demo"), ("L",)),
    "judge": (AppOptions(mode="compare", suite="demo"), ("V",)),
    "race": (AppOptions(mode="compare", suite="demo"), ("R",)),
    "ledger": (AppOptions(mode="compare", suite="demo"), ("p",)),
    "picker": (AppOptions(suite="demo"), ("t",)),
    "filter": (AppOptions(suite="demo"), ("slash",)),
    "adding": (AppOptions(suite="demo"), ("B",)),
    "path": (AppOptions(suite="demo"), ("A",)),
    "help": (AppOptions(suite="demo"), ("f1",)),
}
"""Screens of each small scope, and the keys that lead there."""


@pytest.mark.parametrize("scope", SHEETS)
async def test_no_key_of_a_sheet_is_hidden_by_what_is_in_it(used: Workspace, opened: Opener, scope: str) -> None:
    options, way = SHEETS[scope]
    async with opened(used, options) as pilot:
        await pilot.press(*way)
        await pilot.pause()
        bound = {(active.binding.id, key) for key, active in pilot.app.screen.active_bindings.items()}
        assert {(f"{scope}.{key.name}", name) for key in KEYS[scope] for name in key.keys.split(",")} <= bound


@pytest.mark.parametrize("scope", sorted(SHEETS.keys() - {"filter", "jump"}))
async def test_every_key_in_the_footer_of_a_dialog_has_room_at_60_columns(
    used: Workspace, opened: Opener, scope: str
) -> None:
    options, way = SHEETS[scope]
    async with opened(used, options, size=(60, 15)) as pilot:
        await pilot.press(*way)
        await pilot.pause()
        screen = pilot.app.screen
        footer = screen.query("KeyLine, WrappedKeys").first()
        drawn = " ".join(footer.render_line(y).text for y in range(footer.size.height))
        named = [f"{key_text(bound.binding.key)} {bound.binding.description}" for bound in keys_of(screen)[0]]
        assert [words for words in named if words not in drawn] == []
        assert screen.region.contains_region(footer.region)


async def test_the_help_says_what_the_focused_pane_is_for(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        for pane in ("Details", "Curve", "Log", "Events"):
            await pilot.press("f1")
            assert told(pilot).startswith(f"{pane}: ")
            await pilot.press("escape", "tab")
        await pilot.press("slash", "f1")
        assert told(pilot).startswith("Filter: ")
        assert "Fields: run, backbone, task" in told(pilot)


def told(pilot: Pilot[int]) -> str:
    lines = pilot.app.screen.query_one("#text").content  # type: ignore[attr-defined]
    return " ".join("".join(span.text for span in line) for line in lines)


def dialogs(base: type[Dialog[Any]] = Dialog) -> Iterator[type[Dialog[Any]]]:
    """Every dialog that is not a base class of others alone."""
    for found in base.__subclasses__():
        if "BINDINGS" in vars(found) or "TITLE_TEXT" in vars(found) or found is ThemeDialog:
            yield found
        yield from dialogs(found)


def test_every_dialog_answers_f1_with_its_own_help() -> None:
    for module in pkgutil.iter_modules(screens.__path__):
        importlib.import_module(f"{screens.__name__}.{module.name}")
    found = {dialog.__name__: dialog for dialog in dialogs() if dialog not in {HelpDialog, AddForm}}
    assert {"LaunchDialog", "OptimismDialog", "RaceDialog", "AddDatasetDialog", "ConfirmDialog"} <= set(found)
    for name, dialog in found.items():
        declared = AddForm.BINDINGS if issubclass(dialog, AddForm) else dialog.BINDINGS
        keys = {key for one in declared if isinstance(one, Binding) for key in one.key.split(",")}
        assert "f1" in keys, name
        assert len(dialog.HELP_TEXT) > 30, name
    texts = [dialog.HELP_TEXT for dialog in found.values() if dialog is not ThemeDialog]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    ("mode", "keys", "words"),
    [
        ("rankings", ("E",), "chosen on the test images"),
        ("rankings", ("r",), "if other test images had been drawn"),
        ("rankings", ("U",), "Disk space of this workspace by kind"),
        ("rankings", ("c",), "space selects the highlighted one"),
        ("rankings", ("colon",), "footer text or synonym"),
        ("compare", ("M",), "All combinations of pooling"),
        ("plan", ("B",), "A checkpoint of your own"),
        ("plan", ("space", "enter", "s"), "Seeds of every selected pair"),
    ],
)
async def test_f1_explains_the_dialog_in_front(
    used: Workspace, opened: Opener, mode: str, keys: tuple[str, ...], words: str
) -> None:
    async with opened(used, AppOptions(mode=mode, suite="demo"), size=(80, 24)) as pilot:
        await pilot.press(*keys)
        below = pilot.app.screen
        await pilot.press("f1")
        assert isinstance(pilot.app.screen, HelpDialog)
        assert words in " ".join(told(pilot).split())
        await pilot.press("f1")
        assert pilot.app.screen is below


@pytest.mark.parametrize("mode", MODES)
async def test_every_bound_action_exists(used: Workspace, opened: Opener, mode: str) -> None:
    async with opened(used, AppOptions(mode=mode)) as pilot:
        for active in pilot.app.screen.active_bindings.values():
            name = active.binding.action.partition("(")[0].rpartition(".")[2]
            assert hasattr(active.node, f"action_{name}") or hasattr(pilot.app, f"action_{name}"), active


async def test_a_key_can_be_given_to_an_action_in_the_settings(used: Workspace) -> None:
    app = ConsoleApp(lambda: LocalBackend(Session.of(used)), None, {"plan.tick": "t"})
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await pilot.press("space")
        assert not app.state.selection.pairs
        await pilot.press("t")
        assert len(app.state.selection.pairs) == 1
        await pilot.press("f1")
        lines = ["".join(span.text for span in line) for line in app.screen.query_one("#text").content]  # type: ignore[attr-defined]
        assert any(line.split()[:1] == ["t"] and "Tick or untick the pair" in line for line in lines)


def test_an_unknown_key_id_is_named() -> None:
    assert unknown_ids(["plan.tick", "plan.tik"]) == ["plan.tik"]


def test_ids_of_earlier_versions_stay_valid_in_the_settings() -> None:
    ids = (
        "plan.tick",
        "plan.untick",
        "rankings.mark",
        "rankings.compare",
        "rankings.suite",
        "compare.task",
        "result.next",
    )
    assert unknown_ids(ids) == []


async def test_readonly_takes_every_changing_key_away(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(readonly=True)) as pilot:
        for key in MODES.values():
            await pilot.press(key)
            screen = pilot.app.screen
            assert isinstance(screen, ConsoleScreen)
            actions = {active.binding.action.partition("(")[0] for active in screen.active_bindings.values()}
            assert not actions & changing_actions()
