"""Connection of the app to its terminal: a driver for terminals that may vanish, sequential keys, alerts, shutdown.

Textual's own driver blocks when the terminal vanishes: its writer thread fails on the first write, and the event loop
waits for it forever. Here output is discarded, and the app exits.

Keys are handled one after another, however fast they arrive: a slow link delivers a whole word at once. Textual
dispatches every key immediately to the widget that has the focus at that time. A word typed after `/` would be
interpreted as keys of the table, and enter in a dialog that is not mounted yet would find no widgets.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar, cast, runtime_checkable

from rich.panel import Panel
from rich.text import Text
from textual import events
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from ssl_console.system.safe_text import printable

if TYPE_CHECKING:
    from textual.driver import Driver


Answer = TypeVar("Answer")
LOST = 128 + signal.SIGHUP
"""Exit code of an app whose terminal has vanished, by the convention of shells."""
ALERT_TITLE = "ssl-console"
TRACEBACK_FILE = "console-error.txt"
EXIT_PATIENCE_S = 10.0  # for an orderly exit
Result = TypeVar("Result")
READY_PATIENCE_S = 1.0
"""Maximum wait for a screen to be ready in seconds; longer ones would be noticed."""


class TerminalDriver(LinuxDriver):
    """Textual's driver, made safe against a vanishing terminal."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        streams = cast("TextIO", self._file), cast("TextIO", sys.__stdout__)
        # `2> file`: Textual would draw into the file
        self.stream = TerminalStream(next((one for one in streams if one.isatty()), streams[0]), self._lost)
        self._file = cast("Any", self.stream)

    def run_input_thread(self) -> None:
        """Read keys until the end of the input, which may be that of the terminal."""
        try:
            super().run_input_thread()
        except OSError:
            self._lost()

    def _lost(self) -> None:
        cast("HasSignalCode", self._app).signal_code = LOST
        exit_within_timeout(LOST)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._app.exit, LOST)


class TerminalStream:
    """A stream to the terminal that remains usable after the terminal is gone."""

    def __init__(self, stream: TextIO, lost: Callable[[], object]) -> None:
        self._stream, self._lost = stream, lost
        self.longest_write_s = 0.0
        """Longest duration of a write since the value was last read and reset, in seconds."""

    def write(self, text: str) -> int:
        """Write; without effect if the terminal is gone."""
        return self._attempt(lambda: self._stream.write(text), len(text))

    def flush(self) -> None:
        """Flush; without effect if the terminal is gone."""
        self._attempt(self._stream.flush, None)

    def fileno(self) -> int:
        """The descriptor of the terminal."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def _attempt(self, write: Callable[[], Answer], otherwise: Answer) -> Answer:
        started = time.monotonic()
        try:
            return write()
        except OSError:
            discard(self._stream)
            self._lost()
            return otherwise
        finally:
            self.longest_write_s = max(self.longest_write_s, time.monotonic() - started)


def discard(stream: TextIO) -> None:
    """Discard the buffered and all further output of the stream."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def pending_writes(driver: Driver | None) -> int:
    """Number of writes that the terminal has not accepted yet; 0 where it is unknown."""
    queue = getattr(getattr(driver, "_writer_thread", None), "_queue", None)
    return queue.qsize() if isinstance(queue, Queue) else 0


def longest_write_s(driver: Driver | None) -> float:
    """Longest duration of a write since the last call, in seconds."""
    if not isinstance(driver, TerminalDriver):
        return 0.0
    longest, driver.stream.longest_write_s = driver.stream.longest_write_s, 0.0
    return longest


CONGESTED = 5
"""Number of waiting writes from which a terminal counts as slow; the queue holds 30, then the app blocks."""
HELD_UP_S = 1.0
"""Duration of a single write above which the terminal counts as slow at once, in seconds."""
SMOOTH = 120
"""Number of consecutive observations without a delay after which the usual rate is restored: a minute."""


@dataclass
class LinkSpeed:
    """Estimate of whether the connection is slow, from repeated observations of the terminal."""

    slow: bool = False
    fixed: bool = False
    """Whether it was set by the user, and is never changed."""
    _congested: int = 0
    _smooth: int = 0

    def observe(self, waiting: int, longest_write_s: float) -> bool:
        """Add an observation, and return whether the connection is slow."""
        if self.fixed:
            return self.slow
        self._congested = self._congested + 1 if waiting >= CONGESTED else 0
        trouble = self._congested > 1 or longest_write_s > HELD_UP_S
        self._smooth = 0 if trouble or waiting else self._smooth + 1
        self.slow = trouble or (self.slow and self._smooth < SMOOTH)
        return self.slow


class Counts(Protocol):
    """Numbers of runs by state."""

    @property
    def running(self) -> int:
        """Under way."""
        ...

    @property
    def waiting(self) -> int:
        """In the queue."""
        ...

    @property
    def failed(self) -> int:
        """Ended without a result."""
        ...


def attention(before: Counts, now: Counts) -> str:
    """Event that requires the user's attention: the queue has ended, or runs have failed; otherwise empty."""
    more = now.failed - before.failed
    failed = [f"{more} run{'s' if more != 1 else ''} failed"] if more > 0 else []
    ended = before.running + before.waiting and not now.running + now.waiting
    return ", ".join([*failed, *(["the queue has ended"] if ended else [])])


def alert(kind: str, text: str) -> str:
    """The control sequence of a notification (`bell`, `osc9` or `osc777`); empty for any other kind.

    tmux passes it on to the terminal if its option allow-passthrough is on, and handles the bell itself.
    """
    text = printable(text).replace(";", ",")
    sequence = {
        "bell": "\a",
        "osc9": f"\x1b]9;{ALERT_TITLE}: {text}\a",
        "osc777": f"\x1b]777;notify;{ALERT_TITLE};{text}\a",
    }
    found = sequence.get(kind, "")
    if found.startswith("\x1b") and os.environ.get("TMUX"):
        return f"\x1bPtmux;{found.replace(chr(27), chr(27) * 2)}\x1b\\"
    return found


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
    """End this process after `EXIT_PATIENCE_S` if it has not ended by itself.

    A thread that waits for a file server or a lock would otherwise block the exit forever, invisibly.
    """
    timer = threading.Timer(EXIT_PATIENCE_S, os._exit, (code,))
    timer.daemon = True
    timer.start()


def write_traceback(error: BaseException, folders: Iterable[Path]) -> Path | None:
    """Write the traceback into the first writable one of these folders and the temporary folder."""
    text = "".join(traceback.format_exception(error)).encode(errors="replace")
    for folder in (*folders, Path(tempfile.gettempdir())):
        path = folder / TRACEBACK_FILE
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


@runtime_checkable
class KeyListener(Protocol):
    """A widget that is notified of every key pressed while it has the focus."""

    def note_key(self) -> None:
        """Handle the notification of a key."""
        ...


class QueuedKeysApp(App[Result]):
    """An app that handles a key only after the previous one has been handled completely."""

    async def on_event(self, event: events.Event) -> None:
        """Run the action of the key, or pass it to an input, before the next key is handled."""
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self.screen._mounted_event.wait(), READY_PATIENCE_S)
        focused = self.focused
        if isinstance(focused, KeyListener):
            focused.note_key()
        typed = focused is not None and focused.check_consume_key(event.key, event.character)
        if not typed and (
            await self._check_bindings(event.key, priority=True) or await self._check_bindings(event.key)
        ):
            return
        await super().on_event(event)
        processed = asyncio.Event()
        if typed and focused is not None and focused.call_later(processed.set):
            with suppress(TimeoutError):
                await asyncio.wait_for(processed.wait(), READY_PATIENCE_S)
