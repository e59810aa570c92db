"""What somebody chose last in a workspace's console, so that the next start shows it like this again."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ssl_console.files import make_private_folder, write_atomically


@dataclass(frozen=True)
class Habits:
    """What was chosen; a field that nothing was ever chosen for has its default."""

    suite: str | None = None
    """Name of the suite; empty for all tasks, None before anything has been chosen."""
    theme: str = ""


def read_habits(path: Path) -> Habits:
    """As they were kept; a file that is not there, or holds something else, is as good as none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return Habits()
    if not isinstance(found, dict):
        return Habits()
    suite, theme = found.get("suite"), found.get("theme")
    return Habits(suite if isinstance(suite, str) else None, theme if isinstance(theme, str) else "")


def keep_habits(path: Path, habits: Habits) -> None:
    """Keep them for the next start, where the folder can be written."""
    with suppress(OSError):
        make_private_folder(path.parent)
        write_atomically(path, json.dumps(asdict(habits)).encode())
