"""Summaries of ended runs in one file, so that a command does not have to read tens of thousands of run folders.

The folders are authoritative: a summary counts only while its folder has the modification time that it had when it was
read, and every change of a run's state creates, renames or removes a file of that folder. Without the file, or with a
damaged one or one of another version, everything is read from the folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path
from sys import intern

import orjson
from pydantic import TypeAdapter

from backbones.io.files import make_private_folder, open_own, whole_file
from ssl_console._version import __version__
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.records import SharedFieldSets
from ssl_console.workspace.run import Placement, RunState
from ssl_console.workspace.run_status import RunStatus, compact

FORMAT = 1
_PLAIN = {"state", "reason", "attempt", "finished"}
"""Parts of a status that are not records."""
_ANYWHERE = Placement()
SETTLED_S = 600.0
"""Minimum age in seconds of a folder's modification time: file systems that count in whole seconds give two
changes the same time, and clocks of file servers differ.
"""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Properties of an ended run that listings and the queue need."""

    run_id: str
    time_ns: int
    """Modification time of its folder when the folder was read."""
    backbone: str
    task: str
    protocol: str
    variant: str
    seed: int
    created: float
    priority: int
    placement: Placement
    status: RunStatus


def summaries_file(workspace: Workspace) -> Path:
    """Path of the summaries. Not in the folder of runs, which is read again when anything in it changes."""
    return workspace.cache / "ended-runs.jsonl"


def read_summaries(workspace: Workspace, times: Mapping[str, int]) -> Iterator[RunSummary]:
    """Summaries of runs with an unchanged folder; `times` are the present modification times, by run."""
    sets = SharedFieldSets()
    for line in _lines(summaries_file(workspace)):
        run_id, _, content = line.partition(b" ")
        time, _, content = content.partition(b" ")
        if times.get(run_id.decode()) == int(time):
            yield _summary(content, sets)


def _summary(content: bytes, sets: SharedFieldSets) -> RunSummary:
    """Summary of a run. That of a run that is done is not validated: tens of thousands take less time this way, and the
    checksum covers them.
    """
    values = orjson.loads(content)
    status = values.pop("status")
    if values.pop("placement") or status.keys() - _PLAIN or status.pop("state") != RunState.DONE:
        summary = _schema().validate_json(content)
        return replace(summary, status=compact(summary.status, sets))
    for name in ("backbone", "task", "protocol", "variant"):
        values[name] = intern(values[name])
    return RunSummary(**values, placement=_ANYWHERE, status=RunStatus(RunState.DONE, **status))


def write_summaries(workspace: Workspace, summaries: Iterable[RunSummary]) -> None:
    """Replace the file. Raises OSError."""
    dump = _schema().dump_json
    lines = [b"%s %d %s\n" % (one.run_id.encode(), one.time_ns, dump(one, exclude_defaults=True)) for one in summaries]
    digest = sha256()
    for line in lines:
        digest.update(line)
    make_private_folder(workspace.cache)
    with whole_file(summaries_file(workspace)) as file:
        file.write(_head(digest.hexdigest()))
        file.writelines(lines)


def is_settled(time_ns: int, now: float) -> bool:
    """Whether a folder's last change is old enough for its modification time to identify its content."""
    return now - time_ns / 1e9 > SETTLED_S


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a complete file of this version and this user; none of any other file."""
    try:
        descriptor = open_own(path, os.O_RDONLY)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return
        head, begin = file.readline(), file.tell()
        if head == _head(file_digest(file, sha256).hexdigest()):
            file.seek(begin)
            yield from file


def _head(digest: str) -> bytes:
    about = {"format": FORMAT, "program": __version__, "sha256": digest}
    return orjson.dumps(about, option=orjson.OPT_APPEND_NEWLINE)


@cache
def _schema() -> TypeAdapter[RunSummary]:
    """Created on first use: building it takes some milliseconds."""
    return TypeAdapter(RunSummary)
