"""Cards, suites, logs and settings in the user's editor or pager."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual.app import App, SuspendNotSupported

from backbones.io.card_files import UnknownName
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import Host

if TYPE_CHECKING:
    from ssl_console.operations.session import Session
    from ssl_console.tui.data.state import AppState


@dataclass(frozen=True)
class EditTarget:
    """Something that can be opened."""

    name: str
    open: Callable[[Session], bool]
    """Open it; returns whether it has changed."""


def card_target(name: str) -> EditTarget:
    """The card of a backbone: edited if it is the user's own, otherwise shown."""
    return EditTarget(f"card of {name}", partial(_open_card, name))


def _open_card(name: str, session: Session) -> bool:
    from backbones.catalog.catalog import BUILT_IN  # noqa: PLC0415 - loaded when it is needed
    from ssl_console.operations.backbone_cards import edit_card, open_pager  # noqa: PLC0415

    built_in = BUILT_IN / f"{name}.toml"
    if not (session.workspace.backbones / f"{name}.toml").is_file() and built_in.is_file():
        open_pager(built_in)
        return False
    return edit_card(session, name, lambda _wrong: False) is not None


def log_target(run_id: str) -> EditTarget:
    """The log of a run's last attempt, in the pager."""
    return EditTarget(f"log of run {run_id}", partial(_open_log, run_id))


def _open_log(run_id: str, session: Session) -> bool:
    from ssl_console.operations.backbone_cards import open_pager  # noqa: PLC0415 - as above

    logs = sorted(session.workspace.run(run_id).path.glob("log.*.txt"), key=lambda path: path.stat().st_mtime)
    if not logs:
        raise ConsoleError(f"run {run_id} has written no log yet")
    open_pager(logs[-1])
    return False


def general_targets(state: AppState) -> list[EditTarget]:
    """The selected suite, and the settings."""
    suite = state.planned_suite
    found = [EditTarget(f"suite {suite}", partial(_open_suite, suite))] if suite else []
    return [*found, EditTarget("config.toml", _open_config)]


def _open_suite(name: str, session: Session) -> bool:
    from ssl_console.operations.backbone_cards import edit_task_card, open_pager  # noqa: PLC0415 - as above
    from tasks.catalog.catalog import BUILT_IN  # noqa: PLC0415

    built_in = BUILT_IN / "suites" / f"{name}.toml"
    if not (session.workspace.tasks / f"{name}.toml").is_file() and built_in.is_file():
        open_pager(built_in)
        return False
    return edit_task_card(session, name)


def _open_config(session: Session) -> bool:
    from ssl_console.operations.backbone_cards import edit_config  # noqa: PLC0415 - as above

    return edit_config(session)


def open_target(app: App[int], services: Host, target: EditTarget) -> None:
    """Suspend the console for the editor or pager, then redraw it; problems are shown in a panel."""
    if app.is_web:
        services.notify_user("Editors are not opened from a browser.")
        return
    session, changed = services.backend.session, False
    try:
        with app.suspend():
            changed = target.open(session)
    except SuspendNotSupported:
        services.notify_user("No editor can be opened in this terminal.")
    except (ConsoleError, UnknownName, OSError) as error:
        services.show_problem(f"{target.name} was not changed", str(error))
    app.refresh(repaint=True, layout=True)
    if changed:
        services.notify_user(f"{target.name} was changed.")
        services.reload_catalogue()
