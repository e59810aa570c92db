"""Shutdown of the app: on signals, within a time limit, and after a crash, with a panel and the traceback in a file."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rich.panel import Panel
from rich.text import Text

from ssl_console.system.safe_text import printable

FILE = "console-error.txt"
PATIENCE_S = 10.0  # for an orderly exit


class HasSignalCode(Protocol):
    """An app that keeps the exit code of the signal that ended it, or of its vanished terminal."""

    signal_code: int | None


def on_hangup_or_termination(handle: Callable[[int], object]) -> None:
    """Call `handle` with the exit code when the terminal is closed or the process is asked to end.

    Without a handler an orphaned app would spin. Requires a running event loop.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, handle, 128 + number)


def exit_within_timeout(code: int) -> None:
    """End this process after `PATIENCE_S` if it has not ended by itself.

    A thread that waits for a file server or a lock would otherwise block the exit forever, invisibly.
    """
    timer = threading.Timer(PATIENCE_S, os._exit, (code,))
    timer.daemon = True
    timer.start()


def write_traceback(error: BaseException, folders: Iterable[Path]) -> Path | None:
    """Write the traceback into the first writable one of these folders and the temporary folder."""
    text = "".join(traceback.format_exception(error)).encode(errors="replace")
    for folder in (*folders, Path(tempfile.gettempdir())):
        path = folder / FILE
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        except OSError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        return path
    return None


def crash_panel(error: BaseException, written: Path | None) -> Panel:
    """The error, its consequences, and where the traceback is."""
    message = printable(f"{type(error).__name__}: {error}".partition("\n")[0])
    lines = [
        f"ssl-console crashed: {message}",
        "Runs are not affected: `ssl-console` opens it again.",
    ]
    if written is not None:
        lines.append(f"Please report it, with the file {written}")
    return Panel(Text("\n".join(lines)), title="ssl-console", title_align="left", border_style="red")
