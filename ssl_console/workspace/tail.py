"""Reading of files that grow: complete lines only, from the end of the last poll, in bounded amounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backbones.io.file_locks import lock
from backbones.io.files import open_own
from ssl_console.system.safe_text import last_state, printable
from ssl_console.workspace.events import Event, decode_event
from ssl_console.workspace.paths import RunFolder

CHUNK = 1 << 20
"""Bytes read by one poll; a backlog is read over several polls."""
LONGEST_LINE = 1 << 16
"""A longer line without an end is returned in pieces, which bounds the memory for an invalid file."""


@dataclass
class LineTail:
    """New lines of one file. The file may appear later; a truncated or replaced file is read from its start.

    Lines are bytes without their line end, and are not interpreted.
    """

    path: Path
    offset: int = 0
    """Position of the next poll: after the last complete line returned."""
    _inode: int | None = None

    def poll(self, limit: int = CHUNK) -> list[bytes]:
        """New complete lines, out of at most `limit` bytes."""
        try:
            with self.path.open("rb", buffering=0) as file:
                return self._read(file.fileno(), limit)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def skip_to_last(self, size: int) -> None:
        """Begin at most `size` bytes before the end, at the start of a line; for files that are too long to read."""
        try:
            length = self.path.stat().st_size
        except FileNotFoundError:
            return
        if length > size:
            self.offset = length - size
            with self.path.open("rb") as file:
                file.seek(self.offset)
                self.offset += len(file.readline())

    def _read(self, descriptor: int, limit: int) -> list[bytes]:
        found = os.fstat(descriptor)
        if found.st_size < self.offset or self._inode not in (None, found.st_ino):
            self.offset = 0
        self._inode = found.st_ino
        if found.st_size == self.offset:
            return []
        data = os.pread(descriptor, limit, self.offset)
        whole = data.rfind(b"\n") + 1
        if whole == 0 and len(data) >= min(limit, LONGEST_LINE):
            whole = len(data)
        self.offset += whole
        return data[:whole].removesuffix(b"\n").split(b"\n") if whole else []


@dataclass
class EventTail:
    """New events of one attempt; invalid lines are counted and skipped."""

    lines: LineTail
    bad_lines: int = 0

    @classmethod
    def of(cls, path: Path) -> EventTail:
        """Events of `path` from its beginning."""
        return cls(LineTail(path))

    def poll(self, limit: int = CHUNK) -> list[Event]:
        return list(self._decoded(self.lines.poll(limit)))

    def _decoded(self, lines: list[bytes]) -> Iterator[Event]:
        for line in lines:
            event = decode_event(line)
            if event is not None:
                yield event
            elif line.strip():
                self.bad_lines += 1


def last_lines(path: Path, count: int = 20, reach: int = 1 << 16) -> tuple[str, ...]:
    """Last lines of a log, made safe for a terminal; empty without a log. Reads `reach` bytes back."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - reach))
            text = file.read(reach).decode(errors="replace")
    except OSError:
        return ()
    lines = (printable(last_state(line)).rstrip() for line in text.split("\n"))
    return tuple(line for line in lines if line)[-count:]


LONGEST = 16 << 20
"""Size in bytes at which a log is cut; it can grow beyond this between two checks."""
KEPT = 1 << 20
"""Bytes at its end that remain after a cut."""


def keep_bounded(folder: RunFolder, attempt: int) -> bool:
    """Cut the log if it is too long; return whether it was. Raises OSError when it cannot be written."""
    log = folder.log(attempt)
    try:
        if log.stat().st_size <= LONGEST:
            return False
        descriptor = open_own(log, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        return False
    try:
        lock(descriptor, log, wait=False)
        return _cut(descriptor)
    except BlockingIOError:  # another process is cutting it
        return False
    finally:
        os.close(descriptor)


def _cut(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if size <= LONGEST:
        return False
    end = os.pread(descriptor, KEPT, size - KEPT)
    os.truncate(descriptor, 0)
    os.write(descriptor, f"-- {size - len(end):,} bytes were cut here: a log may have {LONGEST:,} --\n".encode() + end)
    return True
