"""Events that a worker appends, the state that readers fold from them, and reading of files that grow.

Events are one JSON object per line. Counts are absolute, so a lost or repeated line does no harm.

A growing file is read from the end of the last poll, in complete lines and bounded amounts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from backbones.io.file_locks import lock
from backbones.io.files import open_own
from ssl_console.system.safe_text import last_state, printable
from ssl_console.workspace.paths import RunFolder

EventKind = Literal["started", "phase", "advance", "metric", "warning", "resources", "heartbeat", "ended"]

KINDS: frozenset[str] = frozenset(get_args(EventKind))
CURVE_POINTS = 512
WARNINGS_KEPT = 50
CHUNK = 1 << 20
"""Bytes read by one poll; a backlog is read over several polls."""
LONGEST_LINE = 1 << 16
"""A longer line without an end is returned in pieces, which bounds the memory for an invalid file."""


@dataclass(frozen=True)
class Event:
    """One line of `events.<attempt>.jsonl`; fields that a kind does not use stay at their defaults."""

    kind: EventKind
    time: float
    """Seconds since the epoch, on the worker's clock."""
    name: str = ""
    """Phase or metric name; for `ended` the final state."""
    done: int = 0
    total: int | None = None
    unit: str = ""
    value: float | None = None
    step: float | None = None
    message: str = ""
    device: str = ""
    images_per_s: float | None = None
    memory_mb: float | None = None
    device_memory_mb: float | None = None


@dataclass(frozen=True)
class Curve:
    """One metric over time with at most `CURVE_POINTS` points; when full, every other point is dropped."""

    points: tuple[tuple[float | None, float], ...] = ()
    """(step, value) pairs in order of arrival, evenly thinned."""
    latest: float | None = None
    seen: int = 0
    stride: int = 1
    times: tuple[float, ...] = ()
    """Seconds from the start of the attempt to each point."""

    def after(self, step: float | None, value: float, time: float = 0.0) -> Curve:
        """Curve with one more point, `time` seconds after the start of the attempt."""
        points, times, stride = self.points, self.times, self.stride
        if self.seen % stride == 0:
            points, times = (*points, (step, value)), (*times, time)
        if len(points) > CURVE_POINTS:
            points, times, stride = points[::2], times[::2], 2 * stride
        return Curve(points, value, self.seen + 1, stride, times)


@dataclass(frozen=True)
class Progress:
    """State of one attempt after some of its events."""

    phase: str = ""
    done: int = 0
    total: int | None = None
    unit: str = ""
    phase_started: float | None = None
    started: float | None = None
    last_event: float | None = None
    device: str = ""
    images_per_s: float | None = None
    memory_mb: float | None = None
    device_memory_mb: float | None = None
    metrics: Mapping[str, Curve] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """The last `WARNINGS_KEPT`, without consecutive repetitions."""
    warning_count: int = 0
    ended: str = ""

    @property
    def share(self) -> float | None:
        """Fraction of the current phase that is done, 0 to 1; None while its size is unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    def eta_s(self, now: float) -> float | None:
        """Seconds left in the current phase at its speed so far; None while unknown."""
        if not self.total or not self.done or self.phase_started is None:
            return None
        elapsed = now - self.phase_started
        return max(0.0, elapsed * (self.total - self.done) / self.done)

    def after(self, event: Event) -> Progress:
        """State after one more event."""
        step = _STEPS.get(event.kind)
        return step(self, event) if step else replace(self, last_event=event.time)


def fold(events: Iterable[Event], start: Progress | None = None) -> Progress:
    """Fold all events in order."""
    progress = start or Progress()
    for event in events:
        progress = progress.after(event)
    return progress


def encode_event(event: Event) -> bytes:
    """One line including the newline; default values are omitted. NaN and infinity become null."""
    fields = {name: value for name, default in _DEFAULTS if (value := getattr(event, name)) != default}
    return orjson.dumps({"kind": event.kind, "time": event.time, **fields}, option=orjson.OPT_APPEND_NEWLINE)


def decode_event(line: bytes) -> Event | None:
    """Event of one line, with or without its newline; None for an invalid line."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or found.get("kind") not in KINDS:
        return None
    known = {name: value for name, value in found.items() if name in _TYPES}
    if "time" not in known or not all(_fits(name, value) for name, value in known.items()):
        return None
    return Event(**known)


_TEXT, _COUNT, _NUMBER = (str,), (int,), (int, float)
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("kind", "name", "unit", "message", "device"), _TEXT),
    **dict.fromkeys(("done", "total"), _COUNT),
    **dict.fromkeys(("time", "value", "step", "images_per_s", "memory_mb", "device_memory_mb"), _NUMBER),
}
_OPTIONAL = frozenset({"total", "value", "step", "images_per_s", "memory_mb", "device_memory_mb"})
_DEFAULTS: tuple[tuple[str, Any], ...] = tuple(
    (f.name, f.default) for f in fields(Event) if f.name not in ("kind", "time")
)


def _fits(name: str, value: object) -> bool:
    return isinstance(value, _TYPES[name]) or (value is None and name in _OPTIONAL)


def _started(progress: Progress, event: Event) -> Progress:
    return replace(progress, last_event=event.time, started=event.time, device=event.device)


def _phase(progress: Progress, event: Event) -> Progress:
    return replace(
        progress,
        last_event=event.time,
        phase=event.name,
        done=0,
        total=event.total,
        unit=event.unit,
        phase_started=event.time,
    )


def _advance(progress: Progress, event: Event) -> Progress:
    return replace(progress, last_event=event.time, done=event.done)


def _metric(progress: Progress, event: Event) -> Progress:
    if event.value is None:
        return replace(progress, last_event=event.time)
    elapsed = 0.0 if progress.started is None else event.time - progress.started
    curve = progress.metrics.get(event.name, Curve()).after(event.step, event.value, elapsed)
    return replace(progress, last_event=event.time, metrics={**progress.metrics, event.name: curve})


def _warning(progress: Progress, event: Event) -> Progress:
    repeated = progress.warnings[-1:] == (event.message,)
    warnings = progress.warnings if repeated else (*progress.warnings, event.message)[-WARNINGS_KEPT:]
    return replace(progress, last_event=event.time, warnings=warnings, warning_count=progress.warning_count + 1)


def _resources(progress: Progress, event: Event) -> Progress:
    speed = event.images_per_s if event.images_per_s is not None else progress.images_per_s
    return replace(
        progress,
        last_event=event.time,
        images_per_s=speed,
        memory_mb=event.memory_mb,
        device_memory_mb=event.device_memory_mb,
    )


def _ended(progress: Progress, event: Event) -> Progress:
    return replace(progress, last_event=event.time, ended=event.name)


_STEPS: Mapping[EventKind, Callable[[Progress, Event], Progress]] = {
    "started": _started,
    "phase": _phase,
    "advance": _advance,
    "metric": _metric,
    "warning": _warning,
    "resources": _resources,
    "ended": _ended,
}


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
