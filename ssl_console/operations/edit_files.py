"""Editing of the workspace's files in the user's editor: a copy is edited, and replaces the file once it is valid."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import tomli_w

from backbones.io.card_files import CardNameError, check_card
from backbones.io.errors import counted
from backbones.io.files import make_private_folder, write_atomically
from ssl_console.operations.backbone_cards import open_editor, run_program
from ssl_console.operations.card_names import NAME
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.system.safe_text import printable
from ssl_console.workspace.config import load_config
from ssl_console.workspace.paths import Workspace
from tasks.catalog.catalog import AnyCard, TaskCatalog
from tasks.datasets.card import SuiteCard

PAGERS = ("less", "more")


def open_pager(path: Path) -> None:
    """Show a file in `$PAGER`, without escape sequences, which many pagers pass on. Raises ConsoleError if there is
    no pager, or if it fails.
    """
    given = os.environ.get("PAGER", "").strip()
    pager = given or next((found for name in PAGERS if (found := shutil.which(name))), None)
    if pager is None:
        raise ConsoleError("no pager was found: name one in $PAGER")
    with TemporaryDirectory(prefix="ssl-console-") as folder:
        copy = Path(folder, path.name)
        with path.open(encoding="utf-8", errors="replace") as source, copy.open("w", encoding="utf-8") as target:
            target.writelines(f"{printable(line)}\n" for line in source)
        run_program("$PAGER", pager, copy)


def edit_checked(path: Path, check: Callable[[Path], str], start: bytes = b"") -> bool:
    """Edit a copy, which replaces the file if `check` accepts it; returns whether it did. A missing file begins with
    `start`. Raises ConsoleError with the problem and the path of the text, and for an editor that fails.
    """
    before = path.read_bytes() if path.exists() else start
    draft = path.with_name(f".{path.name}.edited")
    write_atomically(draft, before)
    open_editor(draft)
    after = draft.read_bytes()
    if after == before:
        draft.unlink()
        return False
    wrong = check(draft)
    if wrong:
        raise ConsoleError(f"{path.name} was not changed: the new text is not valid ({wrong}); it is stored in {draft}")
    write_atomically(path, after)
    draft.unlink()
    return True


def edit_config(session: Session) -> bool:
    """Edit config.toml; running consoles and supervisors keep their settings."""
    session.workspace.create()
    return edit_checked(session.workspace.config, _wrong_config)


def _wrong_config(draft: Path) -> str:
    """Problem of a draft that is read as the settings of an empty workspace; empty if there is none."""
    folder = draft.with_name(f"{draft.name}.d")
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        write_atomically(folder / "config.toml", draft.read_bytes())
        load_config(Workspace(folder))
    except ConsoleError as error:
        return str(error).replace(str(folder / "config.toml"), "config.toml")
    finally:
        shutil.rmtree(folder)
    return ""


def own_task_card(session: Session, name: str) -> Path:
    """File of one of the user's dataset, task or suite cards. Raises ConsoleError for other cards."""
    path = session.workspace.tasks / f"{name}.toml"
    if NAME.fullmatch(name) and path.is_file():
        return path
    raise ConsoleError(f"{name} is not a card of this workspace: only those can be edited")


def edit_task_card(session: Session, name: str) -> bool:
    """Edit one of the user's dataset, task or suite cards."""
    path = own_task_card(session, name)
    changed = edit_checked(path, lambda draft: _wrong_card(draft, path, name))
    if changed:
        session.reload_tasks()
    return changed


def _wrong_card(draft: Path, path: Path, name: str) -> str:
    found = check_card(draft, AnyCard, name)
    if not isinstance(found, AnyCard):
        return "; ".join(f"{problem.key or 'the card'}: {problem.message}" for problem in found)
    return _misfit(found, path, name)


def _misfit(card: AnyCard, path: Path, name: str) -> str:
    """Inconsistency of a suite with the other cards: a task that does not exist."""
    if not isinstance(card.root, SuiteCard):
        return ""
    catalog = TaskCatalog.load([path.parent])
    try:
        for pattern in card.root.tasks:
            catalog.select([pattern])
    except CardNameError as error:
        return f"{name}: {error}"
    return ""


def save_suite(session: Session, name: str, tasks: Sequence[str], backbones: Sequence[str] = ()) -> Path:
    """Save a suite of these tasks as a card of the user. Raises ConsoleError for an invalid name."""
    if not NAME.fullmatch(name):
        raise ConsoleError(f"{name}: use letters, digits, dots and dashes, with / between the parts")
    path = session.workspace.tasks / f"{name}.toml"
    if path.exists() or name in session.tasks.suites:
        raise ConsoleError(f"suite {name} already exists: choose another name, or edit it with e")
    if not tasks:
        raise ConsoleError("a suite needs a task: tick some pairs first")
    content: dict[str, object] = {"title": f"{name}, {counted(len(tasks), 'task')}", "tasks": list(tasks)}
    if backbones:
        content["backbones"] = list(backbones)
    session.workspace.create()
    make_private_folder(path.parent)
    write_atomically(path, tomli_w.dumps(content, multiline_strings=False).encode())
    session.reload_tasks()
    return path
