"""States and digests of a dataset's files when last read, stored in one binary file. Needs no numpy.

A stored digest is valid while size, modification time, change time and inode are unchanged: tools that preserve
modification times (`cp -p`, `rsync -t`, archives) cannot preserve the change time. A file that was read within the
clock's resolution of its last change is read again, because a further change could leave the times equal.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from backbones.io.files import write_if_possible

FORMAT = 2
GRAIN_NS = 3_000_000_000
"""Resolution of file times: FAT stores times to 2 s, NFS clients cache attributes for 3 s."""
NUMBERS = 4
"""Numbers per state: size, modification time and change time in ns, inode."""
DIGEST_BYTES = 32
SLOW_S = 2.0
"""Seconds per folder from which several are listed in parallel, as on network disks."""
THREADS = 16

State = tuple[int, int, int, int]
"""Size, modification time and change time in ns, inode; zeros for a missing file."""
ABSENT: State = (0, 0, 0, 0)


@dataclass(frozen=True)
class ReadFile:
    """A file as read: its previous state, the time in ns, SHA-256 (32 bytes) and the traits of its pixels."""

    state: State
    read_ns: int
    digest: bytes
    traits: str = ""

    @property
    def young(self) -> bool:
        """Whether a later change could have left the state unchanged."""
        _, modified, changed, _ = self.state
        first = self.read_ns - GRAIN_NS
        return changed > first or first < modified <= self.read_ns + GRAIN_NS


@dataclass(frozen=True)
class FileRecord:
    """Files of one dataset, and the listed folders."""

    paths: tuple[str, ...] = ()
    """Absolute paths."""
    states: array[int] = field(default_factory=lambda: array("q"))
    """Four numbers per path."""
    read_ns: array[int] = field(default_factory=lambda: array("q"))
    digests: bytes = b""
    """32 bytes per path; zeros for folders."""
    traits: dict[int, str] = field(default_factory=dict)
    """Traits by position, only for files that have any."""
    young: bool = False
    """Whether any file or folder must be read again."""

    @classmethod
    def of(cls, files: dict[str, ReadFile], folders: dict[str, State], looked_at_ns: int) -> FileRecord:
        """Record of files that were read, and of folders listed at `looked_at_ns`."""
        listed = {path: ReadFile(state, looked_at_ns, bytes(DIGEST_BYTES)) for path, state in folders.items()}
        every = {**files, **listed}
        return cls(
            paths=tuple(every),
            states=array("q", chain.from_iterable(one.state for one in every.values())),
            read_ns=array("q", (one.read_ns for one in every.values())),
            digests=b"".join(one.digest for one in every.values()),
            traits={place: one.traits for place, one in enumerate(every.values()) if one.traits},
            young=any(one.young for one in every.values()),
        )

    def holds(self) -> bool:
        """Whether every file and folder has its recorded state, and none was too recent."""
        return not self.young and current_states(self.paths) == self.states

    @property
    def fingerprint(self) -> str:
        """SHA-256 over paths, digests and traits; independent of file times."""
        whole = hashlib.sha256("\0".join(self.paths).encode("utf-8", "surrogateescape"))
        whole.update(self.digests)
        whole.update(json.dumps(sorted(self.traits.items())).encode())
        return whole.hexdigest()

    def files(self) -> dict[str, ReadFile]:
        """The files by path."""
        numbers = self.states
        return {
            path: ReadFile(
                (numbers[4 * at], numbers[4 * at + 1], numbers[4 * at + 2], numbers[4 * at + 3]),
                self.read_ns[at],
                self.digests[DIGEST_BYTES * at : DIGEST_BYTES * (at + 1)],
                self.traits.get(at, ""),
            )
            for at, path in enumerate(self.paths)
        }

    def write(self, place: Path) -> None:
        """Write the record; disk errors are ignored, as the record can be recomputed."""
        names = "\0".join(self.paths).encode("utf-8", "surrogateescape")
        head = {"format": FORMAT, "files": len(self.paths), "names": len(names), "young": self.young}
        first = json.dumps({**head, "traits": {str(at): words for at, words in self.traits.items()}}).encode()
        parts = [first, b"\n", self.states.tobytes(), self.read_ns.tobytes(), self.digests, names]
        write_if_possible(place, b"".join(parts))

    @classmethod
    def read(cls, place: Path) -> FileRecord | None:
        """Read a record; None if missing or damaged."""
        try:
            content = place.read_bytes()
            first, _, rest = content.partition(b"\n")
            head = json.loads(first)
            count, names = int(head["files"]), int(head["names"])
            sizes = (8 * NUMBERS * count, 8 * count, DIGEST_BYTES * count, names)
            if head["format"] != FORMAT or len(rest) != sum(sizes):
                return None
            traits = {int(at): str(words) for at, words in head["traits"].items()}
            young = bool(head["young"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
        states, times = array("q", rest[: ends[0]]), array("q", rest[ends[0] : ends[1]])
        paths = tuple(rest[ends[2] :].decode("utf-8", "surrogateescape").split("\0")) if names else ()
        return cls(paths, states, times, rest[ends[1] : ends[2]], traits, young) if len(paths) == count else None


def state_of(path: str) -> State:
    """State of a file or folder, links followed; zeros if missing."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a hundred thousand times
    except (OSError, ValueError):
        return ABSENT
    return _numbers(found)


def state_of_open(descriptor: int) -> State:
    """State of an open file."""
    return _numbers(os.fstat(descriptor))


def current_states(paths: Sequence[str]) -> array[int]:
    """Four numbers per path, collected folder by folder: names relative to an open folder take half the time of full
    paths."""
    found: list[State] = [ABSENT] * len(paths)
    folders: dict[str, dict[str, int]] = {}
    for at, path in enumerate(paths):
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder or "/", {})[name] = at
    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: list[Future[None]] = []
        for number, (folder, names) in enumerate(folders.items()):
            if number and (time.perf_counter() - begun) / number > SLOW_S:
                waiting.append(pool.submit(_look, folder, names, found))
            else:
                _look(folder, names, found)
        for one in waiting:
            one.result()
    return array("q", chain.from_iterable(found))


def _look(folder: str, names: dict[str, int], found: list[State]) -> None:
    """Write the states of the files of one folder to their positions."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    at = names.get(entry.name)
                    if at is not None:
                        try:
                            found[at] = _numbers(entry.stat())
                        except OSError:
                            continue
        finally:
            os.close(descriptor)


def newest_change_ns(files: Sequence[ReadFile]) -> int:
    """Latest change time of files in ns; 0 without files."""
    return max((one.state[2] for one in files), default=0)


Advance = Callable[[int, int], None]
"""Called with the number of files read and their total."""


def _numbers(found: os.stat_result) -> State:
    inode = found.st_ino
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, inode - (1 << 64) if inode >= 1 << 63 else inode
