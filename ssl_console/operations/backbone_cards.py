"""Renaming, copying, editing and removing backbone cards, and editing of the workspace's other files. Results follow a
rename; a copy is edited and replaces the file once it is valid.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tomli_w

from backbones.catalog.card import BackboneCard
from backbones.catalog.catalog import BUILT_IN
from backbones.io.card_files import CardNameError, UnknownName, check_card, suggest
from backbones.io.errors import counted
from backbones.io.files import make_private_folder, write_atomically
from ssl_console.operations.add_backbone import card_path, write_card
from ssl_console.operations.card_names import NAME
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.system.safe_text import printable
from ssl_console.workspace.config import load_config
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.requests import touch_runs_folder
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.run import RunSpec
from ssl_console.workspace.run_index import RunIndex
from tasks.catalog.catalog import AnyCard, TaskCatalog
from tasks.datasets.card import SuiteCard

DESCRIPTIVE = frozenset({"name", "title", "facts"})
"""Fields of a card that do not affect scores."""
EDITORS = ("VISUAL", "EDITOR")
USUAL_EDITORS = ("sensible-editor", "nano", "vi")
PAGERS = ("less", "more")


@dataclass(frozen=True)
class CardChange:
    """Outcome of a change to a card."""

    name: str
    path: Path
    results: int = 0
    """Number of results that followed a rename, or that remain under the name of a removed or changed card."""
    measured: bool = False
    """Whether a field changed that affects scores."""


def own_card(session: Session, name: str) -> Path:
    """File of one of the user's cards. Raises UnknownName, and ConsoleError for other cards."""
    path = session.workspace.backbones / f"{name}.toml"
    if NAME.fullmatch(name) and path.is_file():
        return path
    if name in session.backbones.cards:
        raise ConsoleError(
            f"{name} is not a card of this workspace: copy it with `ssl-console copy backbone {name} own/NAME`"
        )
    raise UnknownName("backbone", name, suggest(name, session.backbones.cards))


def copy_card(session: Session, name: str, new: str) -> CardChange:
    """Copy a card under a new name. Raises ConsoleError, UnknownName, and as `BackboneCatalog.get` does."""
    target = _free_path(session, new)
    sources = (session.workspace.backbones / f"{name}.toml", BUILT_IN / f"{name}.toml")
    source = next((path for path in sources if NAME.fullmatch(name) and path.is_file()), None)
    if source is None:
        write_card(session.workspace, session.backbones.get(name).model_copy(update={"name": new}))
    else:
        session.workspace.create()
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, source.read_bytes())
    session.reload_backbones()
    return CardChange(new, target)


def rename_card(session: Session, name: str, new: str) -> CardChange:
    """Rename a card, its runs and its results.

    Raises ConsoleError while runs of the backbone are queued or active, UnknownName, OSError.
    """
    source, target = own_card(session, name), _free_path(session, new)
    index = RunIndex(session.workspace)
    index.refresh(0.0)
    runs = [run for run in index.entries.values() if run.backbone == name]
    waiting = [run.run_id for run in runs if not run.status.state.final]
    if waiting:
        raise ConsoleError(
            f"{name} has {counted(len(waiting), 'run that is', 'runs that are')} queued or active "
            f"({waiting[0]}): wait for them, or "
            "`ssl-console cancel` them"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.hardlink_to(source)
    for run in runs:
        _rename_run(run.folder, new)
    renamed = [_named(row, new) for row in session.store.rows() if row.backbone == name]
    session.store.replace(renamed)
    source.unlink()
    if runs:
        touch_runs_folder(session.workspace)
    session.reload_backbones()
    return CardChange(new, target, len(renamed))


def remove_card(session: Session, name: str) -> CardChange:
    """Remove a card; weights and results stay. Raises UnknownName, ConsoleError."""
    path = own_card(session, name)
    results = sum(row.backbone == name for row in session.store.rows())
    path.unlink()
    session.reload_backbones()
    return CardChange(name, path, results)


def edit_card(session: Session, name: str, ask_again: Callable[[str], bool]) -> CardChange | None:
    """Open a copy of the card in the user's editor; it replaces the card once it is valid. None if unchanged.

    `ask_again` receives the errors and returns whether to open the editor once more. Raises ConsoleError for a card
    that stays invalid, naming the file that contains the text, and for an editor that fails.
    """
    path = own_card(session, name)
    before = path.read_bytes()
    draft = path.with_name(f".{path.name}.edited")
    shutil.copyfile(path, draft)
    draft.chmod(0o600)
    while True:
        open_editor(draft)
        after = draft.read_bytes()
        if after == before:
            draft.unlink()
            return None
        found = check_card(draft, BackboneCard, name)
        if isinstance(found, BackboneCard):
            break
        words = "\n".join(f"{problem.key or 'the card'}: {problem.message}" for problem in found)
        if not ask_again(words):
            raise ConsoleError(
                f"{name} is unchanged, because the new text is not a valid card ({words}); it is stored in {draft}"
            )
    write_atomically(path, after)
    draft.unlink()
    measured = _measured_fields(before) != _measured_fields(after)
    results = sum(row.backbone == name for row in session.store.rows())
    session.reload_backbones()
    return CardChange(name, path, results, measured)


def _free_path(session: Session, name: str) -> Path:
    """Path of a new card. Raises ConsoleError for an invalid name, or one that is taken."""
    if not NAME.fullmatch(name):
        raise ConsoleError(f"{name}: use letters, digits, dots and dashes, with / between the parts")
    if name in session.backbones.cards and not (session.workspace.backbones / f"{name}.toml").exists():
        raise ConsoleError(f"{name} already exists: choose another name")
    return card_path(session.workspace, name)


def _rename_run(folder: RunFolder, new: str) -> None:
    """Rename the backbone in specification and record; readers see the old or the new file, each whole."""
    spec = RunSpec.model_validate_json(folder.spec.read_bytes())
    backbone = spec.backbone.model_copy(update={"name": new})
    write_atomically(folder.spec, spec.model_copy(update={"backbone": backbone}).model_dump_json(indent=2).encode())
    if not folder.result.is_file():
        return
    times = folder.result.stat()
    record = ResultRecord.model_validate_json(folder.result.read_bytes())
    renamed = record.model_copy(update={"result": _named(record.result, new)})
    write_atomically(folder.result, renamed.model_dump_json().encode())
    os.utime(folder.result, ns=(times.st_atime_ns, times.st_mtime_ns))  # its modification time is when the run was done


def _named(row: Result, name: str) -> Result:
    return row.model_copy(update={"backbone": name})


def _measured_fields(content: bytes) -> dict[str, object]:
    """Fields that affect scores; none for text that is not valid TOML."""
    try:
        card = tomllib.loads(content.decode())
    except ValueError:
        return {}
    return {name: value for name, value in card.items() if name not in DESCRIPTIVE}


def open_editor(path: Path) -> None:
    """Open a file in `$VISUAL` or `$EDITOR`. Raises ConsoleError when there is none, or when it fails."""
    given = next((words for name in EDITORS if (words := os.environ.get(name, "").strip())), None)
    editor = given or next((found for name in USUAL_EDITORS if (found := shutil.which(name))), None)
    if editor is None:
        raise ConsoleError("no editor was found: name one in $EDITOR")
    code = run_program("$EDITOR", editor, path)
    if code:
        raise ConsoleError(f"the editor ({editor}) exited with code {code}: the file was not changed")


def run_program(variable: str, command: str, path: Path) -> int:
    """Exit code of the user's command for a file. Raises ConsoleError naming the variable when it cannot be started."""
    try:
        return subprocess.run([*shlex.split(command), str(path)], check=False).returncode
    except (OSError, ValueError) as error:  # an unclosed quote, a null character
        reason = getattr(error, "strerror", None) or error
        raise ConsoleError(f"{variable} ({command}) cannot be started: {reason}") from error


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


def edit_task_card(session: Session, name: str) -> bool:
    """Edit one of the user's dataset, task or suite cards. Raises ConsoleError for other cards."""
    path = session.workspace.tasks / f"{name}.toml"
    if not NAME.fullmatch(name) or not path.is_file():
        raise ConsoleError(f"{name} is not a card of this workspace: only those can be edited")
    changed = edit_checked(path, lambda draft: _wrong_task_card(draft, path, name))
    if changed:
        session.reload_tasks()
    return changed


def _wrong_task_card(draft: Path, path: Path, name: str) -> str:
    """Problem of a draft, or of a suite with the other cards (a task that does not exist); empty if there is none."""
    card = check_card(draft, AnyCard, name)
    if not isinstance(card, AnyCard):
        return "; ".join(f"{problem.key or 'the card'}: {problem.message}" for problem in card)
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
