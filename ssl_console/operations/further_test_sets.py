"""Further test sets of robustness tasks, `--test-also NAME=FOLDER`: a card per folder, and the task's setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tomli_w

from backbones.io.files import expand_user, write_atomically
from ssl_console.operations.card_names import NAME
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace

SETTING = "robustness.also"


def further_test_sets(workspace: Workspace, given: Sequence[str]) -> tuple[str, ...]:
    """Settings that name the test sets, `robustness.also=a,b`; none without any.

    NAME=FOLDER adds a card for a folder of class folders, NAME alone is an existing dataset. Raises ConsoleError for a
    name that is taken by another folder, and for a folder that does not exist.
    """
    names = []
    for each in given:
        name, _, folder = each.partition("=")
        if not NAME.fullmatch(name):
            raise ConsoleError(f"--test-also {each}: write NAME=FOLDER, NAME of letters, digits, dots and dashes")
        if folder:
            _add(workspace, name, expand_user(folder).absolute())
        names.append(name)
    return (f"{SETTING}={','.join(dict.fromkeys(names))}",) if names else ()


def _add(workspace: Workspace, name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ConsoleError(f"--test-also {name}={folder}: no such folder; expected one with a folder per class")
    path = workspace.tasks / f"{name}.toml"
    content = tomli_w.dumps(
        {
            "title": f"{name} (further test set)",
            "reader": "imagefolder",
            "splits": "all",
            "reader_arguments": {"path": str(folder)},
        }
    ).encode()
    if path.exists():
        if path.read_bytes() != content:
            raise ConsoleError(f"{path} already exists for other data: choose another name for {folder}")
        return
    workspace.create()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
