"""A mistake of the console's own: a panel with the way out in place of a traceback, which goes to a file."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path

from rich.panel import Panel
from rich.text import Text

from ssl_console.system.safe_text import printable

FILE = "console-error.txt"


def keep_traceback(error: BaseException, folders: Iterable[Path]) -> Path | None:
    """Write where it happened into the first of these folders, or the temporary one, that can be written."""
    told = "".join(traceback.format_exception(error)).encode(errors="replace")
    for folder in (*folders, Path(tempfile.gettempdir())):
        path = folder / FILE
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        except OSError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(told)
        return path
    return None


def crash_panel(error: BaseException, written: Path | None) -> Panel:
    """What happened, what it means, and the way on."""
    what = printable(f"{type(error).__name__}: {error}".partition("\n")[0])
    lines = [
        f"ssl-console crashed: {what}",
        "Runs are not affected: `ssl-console` opens it again.",
    ]
    if written is not None:
        lines.append(f"Please report it, with the file {written}")
    return Panel(Text("\n".join(lines)), title="ssl-console", title_align="left", border_style="red")
