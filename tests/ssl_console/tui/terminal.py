"""A console in a real pseudo-terminal: start it, press keys, read its screen, count its bytes, close it.

Nothing here sleeps: who waits does it in `select` on the terminal, for a fact, with a bound. Who does not wait reads
nothing, so a stalled reader is a terminal that is left alone.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyte

from ssl_console.workspace.paths import Workspace
from tests.fork_server import Forked
from tests.forked_processes import start_in_terminal

PATIENCE_S = 90.0
"""Timeout of every wait: generous, because only failing tests reach it."""
SIZE = (120, 40)
KEYS: Mapping[str, bytes] = {
    "enter": b"\r",
    "escape": b"\x1b",
    "tab": b"\t",
    "space": b" ",
    "up": b"\x1b[A",
    "down": b"\x1b[B",
    "right": b"\x1b[C",
    "left": b"\x1b[D",
    "home": b"\x1b[H",
    "end": b"\x1b[F",
    "pageup": b"\x1b[5~",
    "pagedown": b"\x1b[6~",
    "f1": b"\x1bOP",
    "ctrl+c": b"\x03",
}
ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;2$y"}
"""Queries sent to a terminal at the start, and the answers of current terminals: updates can be drawn at once."""
UNKNOWN_TO_PYTE = b"\x1b[<u"
LEAVES_SCREEN = b"\x1b[?1049l"
WAITS = 0.25
"""Longest single wait in `select`, in seconds, so that facts outside the terminal are checked too."""
ENVIRONMENT = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
"""As in an SSH session: nothing declares the number of colours, so there are 256."""
FOREIGN = ("COLORTERM", "NO_COLOR", "TMUX", "SSL_CONSOLE_ASCII", "TEXTUAL_COLOR_SYSTEM")
"""Environment variables of the user running the tests that would change the output."""


PROCESS_CLOCK = 2
"""With a process id in the higher bits, the CPU clock of that process (clock_getcpuclockid(3))."""


@dataclass
class Terminal:
    """One program in a terminal of its own."""

    pid: int
    master: int
    screen: pyte.Screen
    written: bytearray = field(default_factory=bytearray)
    """All of its output."""
    last_read: float = 0.0
    """Time of the last read, on the clock of `time.perf_counter`."""
    exit_code: int | None = None
    """As in a shell: negative for a signal."""
    forked: Forked | None = None
    """The program, where a fork server has started it."""
    _stream: pyte.ByteStream = field(init=False)
    _drawn: tuple[int, str] = (0, "")

    def __post_init__(self) -> None:
        self._stream = pyte.ByteStream(self.screen)

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The screen, line by line. Rendered on access, because that takes longer than reading."""
        fresh = bytes(self.written[self._drawn[0] :])
        if fresh:
            self._stream.feed(fresh.replace(UNKNOWN_TO_PYTE, b""))
            self._drawn = len(self.written), "\n".join(line.rstrip() for line in self.screen.display)
        return self._drawn[1]

    def shows(self, *words: str) -> bool:
        """Whether all of this is on the screen."""
        return all(word in self.text for word in words)

    def read(self, wait: float = 0.0) -> int:
        """Read available output, after waiting at most this many seconds; return the number of bytes."""
        if self.master < 0 or not select.select([self.master], [], [], wait)[0]:
            return 0
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            self._reap(block=False)
            return 0
        self.last_read = time.perf_counter()
        self.written += data
        for question, answer in ANSWERS.items():
            if question in data:
                os.write(self.master, answer)
        return len(data)

    def until(self, fact: Callable[[], object], what: str = "", patience_s: float = PATIENCE_S) -> None:
        """Read until `fact()` is true; fail with the screen's content at the timeout."""
        end = time.monotonic() + patience_s
        while not fact():
            left = end - time.monotonic()
            assert left > 0, f"not so after {patience_s:.0f} s: {what or fact}\n{self.text}"
            if not self.read(min(WAITS, left)):
                assert self.exit_code is None, f"it has ended: {what or fact}\n{self.tail}"

    def until_shown(self, *words: str, patience_s: float = PATIENCE_S) -> None:
        """Read until all of this is on the screen."""
        self.until(lambda: self.shows(*words), f"{words} on the screen", patience_s)

    def until_gone(self, *words: str, patience_s: float = PATIENCE_S) -> None:
        """Read until none of this is on the screen."""
        self.until(lambda: not any(word in self.text for word in words), f"{words} not on the screen", patience_s)

    def until_quiet(self, quiet_s: float = 0.6, patience_s: float = PATIENCE_S) -> None:
        """Read until nothing has been written for a while."""
        end = time.monotonic() + patience_s
        while self.read(quiet_s):
            assert time.monotonic() < end, f"still writing after {patience_s:.0f} s\n{self.text}"

    def watch(self, seconds: float) -> int:
        """Read for this many seconds; return the number of bytes written."""
        end, count = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            count += self.read(left)
        return count

    @property
    def tail(self) -> str:
        """The end of the output, for a message."""
        return bytes(self.written[-2000:]).decode(errors="replace")

    @property
    def scrollback(self) -> str:
        """Output after the full-screen view was left: the remaining content of the terminal."""
        _, left, rest = bytes(self.written).rpartition(LEAVES_SCREEN)
        return rest.decode(errors="replace").replace("\r\n", "\n") if left else ""

    # -- actions ------------------------------------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        """Press keys: names of `KEYS`, or text as it is typed."""
        for key in keys:
            os.write(self.master, KEYS.get(key, key.encode()))

    def measure(self, key: str, painted: Callable[[], object], patience_s: float = PATIENCE_S) -> float:
        """Press a key; return the seconds until the bytes that make `painted()` true."""
        while self.read():
            pass
        started = time.perf_counter()
        self.press(key)
        self.until(painted, f"{key} painted", patience_s)
        return self.last_read - started

    def resize(self, columns: int, lines: int) -> None:
        """Change the size; the kernel notifies the program by SIGWINCH."""
        _ = self.text
        self.screen.resize(lines, columns)
        _set_size(self.master, columns, lines)

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does: the program gets SIGHUP."""
        os.close(self.master)
        self.master = -1

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        os.kill(self.pid, number)

    # -- the process --------------------------------------------------------------------------------------------

    @property
    def process(self) -> psutil.Process:
        """For CPU time and memory."""
        return psutil.Process(self.pid)

    def cpu_seconds(self) -> float:
        """CPU time of the program itself, all its threads, to far less than a clock tick."""
        return time.clock_gettime((~self.pid << 3) | PROCESS_CLOCK)

    def until_ended(self, patience_s: float = PATIENCE_S) -> int:
        """Read until the program has ended; return its exit code, negative for a signal."""
        end = time.monotonic() + patience_s
        while self.exit_code is None:
            assert time.monotonic() < end, f"still running after {patience_s:.0f} s\n{self.text}"
            if not self.read(0.05 if self.master >= 0 else 0):
                self._wait_for_end(0.05)
        while self.read():
            pass
        return self.exit_code

    def _wait_for_end(self, seconds: float) -> None:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                select.select([descriptor], [], [], seconds)
            finally:
                os.close(descriptor)
        self._reap(block=False)

    def _reap(self, *, block: bool) -> None:
        if self.exit_code is None and self.forked is not None:
            self.exit_code = self.forked.wait(None if block else 0.0)
        elif self.exit_code is None:
            pid, status = os.waitpid(self.pid, 0 if block else os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def clean_up(self) -> None:
        """End the program if it still runs, and close the terminal."""
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._reap(block=True)
        if self.master >= 0:
            self.hang_up()


def start(
    command: Sequence[str], *, size: tuple[int, int] = SIZE, environment: Mapping[str, str] | None = None
) -> Terminal:
    """Run a command in a new terminal of this many columns and lines."""
    surroundings = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    surroundings |= {**ENVIRONMENT, **(environment or {})}
    for name in ("COLUMNS", "LINES"):  # the size is the terminal's own, even if an environment was copied whole
        surroundings.pop(name, None)
    master, own = pty.openpty()
    _set_size(own, *size)
    forked = start_in_terminal(command, surroundings, own)
    os.close(own)
    if forked is not None:
        return Terminal(forked.pid, master, pyte.Screen(*size), forked=forked)
    os.close(master)
    pid, master = pty.fork()
    if pid == 0:  # the child, whose standard streams are the terminal
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        _set_size(0, *size)
        group_with(os.nice(0))
        os.execvpe(command[0], list(command), surroundings)
    return Terminal(pid, master, pyte.Screen(*size))


@contextmanager
def a_terminal(
    *command: str, size: tuple[int, int] = SIZE, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """A command in a terminal, ended with the context."""
    terminal = start(command, size=size, environment=environment)
    try:
        yield terminal
    finally:
        terminal.clean_up()


def console_command(workspace: Workspace, *options: str) -> list[str]:
    """The command line that opens the console on a workspace."""
    return [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(workspace.root), *options]


@contextmanager
def a_console(
    workspace: Workspace,
    *options: str,
    size: tuple[int, int] = SIZE,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Terminal]:
    """The console on a workspace, ended with the context."""
    with a_terminal(*console_command(workspace, *options), size=size, environment=environment) as terminal:
        yield terminal


def group_with(niceness: int) -> None:
    """Make the niceness count against other sessions too, where the kernel divides time between sessions."""
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))


def _set_size(descriptor: int, columns: int, lines: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
