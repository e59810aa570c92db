"""SHA-256 digests of a dataset's files: each file is read once, in parallel, and again only if it may have changed.

`open_dataset` makes one `ContentDigests` current while a reader runs, so that readers, whose signature is public, need
not pass it on. Without one, files are read each time.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from backbones.io.image_reading import traits_of
from tasks.datasets.file_states import (
    ABSENT,
    DIGEST_BYTES,
    Advance,
    FileRecord,
    ReadFile,
    State,
    current_states,
    newest_change_ns,
    state_of,
    state_of_open,
)

THREADS = min(16, 2 * (os.cpu_count() or 1))

Traits = Callable[[bytes], str]
Read = Callable[[str], ReadFile]


class NotAFile(OSError):  # noqa: N818 - a domain word, raised as such
    """A device, a pipe or a folder; reading a pipe could block forever."""


@dataclass
class ContentDigests:
    """Digests of one dataset's files, and the files requested by its reader."""

    known: dict[str, ReadFile] = field(default_factory=dict)
    used: dict[str, ReadFile] = field(default_factory=dict)
    folders: dict[str, State] = field(default_factory=dict)
    advance: Advance = field(default=lambda _done, _total: None)
    """Called with the number of files read and the number to read."""
    begun_ns: int = field(default_factory=time.time_ns)

    @classmethod
    def load(cls, place: Path | None, *, thorough: bool = False, advance: Advance | None = None) -> ContentDigests:
        """Load the stored digests; with `thorough` every file is read again."""
        record = FileRecord.read(place) if place is not None and not thorough else None
        return cls(record.files() if record else {}, advance=advance or (lambda _done, _total: None))

    def record(self) -> FileRecord:
        """Record of the requested files only."""
        return FileRecord.of(self.used, self.folders, self.begun_ns)

    def files(self, paths: Sequence[str], read: Read | None = None) -> list[ReadFile]:
        """State and digest of each file; missing ones have a state of zeros. Raises NotAFile."""
        states = current_states(paths)
        found: dict[str, ReadFile] = {}
        unread: list[str] = []
        for at, path in enumerate(paths):
            known = self.used.get(path) or self.known.get(path)
            now = states[4 * at : 4 * at + 4]
            if known is None or known.young or tuple(now) != known.state:
                unread.append(path)
            else:
                found[path] = known
        found.update(self._read(list(dict.fromkeys(unread)), read or read_file))
        self.used.update({path: one for path, one in found.items() if one.state != ABSENT})
        return [found[path] for path in paths]

    def note(self, path: str, one: ReadFile) -> None:
        """Add a file that was read elsewhere."""
        self.known[path] = one

    def list_folder(self, path: Path) -> None:
        """Record that the dataset depends on the listing of a folder."""
        self.folders[str(path)] = state_of(str(path))

    @property
    def newest_change_ns(self) -> int:
        """Latest change time of the requested files; 0 without files."""
        return newest_change_ns(list(self.used.values()))

    def _read(self, paths: Sequence[str], read: Read) -> Iterator[tuple[str, ReadFile]]:
        if not paths:
            return
        with ThreadPoolExecutor(THREADS, thread_name_prefix="digest") as pool:
            try:
                for number, one in enumerate(pool.map(read, paths, chunksize=8)):
                    yield paths[number], one
                    self.advance(number + 1, len(paths))
            except BaseException:  # the files in the queue would be read before the error is raised
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def read_file(path: str, traits: Traits | None = None) -> ReadFile:
    """Read one file, an image also with its traits; the state is zeros if there is none.

    An unreadable file has a digest of zeros and is read again each time. Raises NotAFile if it is not a regular file.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - once per image
    except OSError:
        return ReadFile(ABSENT, 0, bytes(DIGEST_BYTES))
    if not stat.S_ISREG(found.st_mode):
        raise NotAFile(f"{path} is not a file but a device, a pipe or a folder")
    begun = time.time_ns()
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - once per image
            state = state_of_open(file.fileno())
            if traits is None:
                return ReadFile(state, begun, hashlib.file_digest(file, "sha256").digest())
            return of_content(file.read(), state, begun, traits)
    except OSError:
        return ReadFile(state_of(path), 0, bytes(DIGEST_BYTES))


def of_content(content: bytes, state: State, begun_ns: int, traits: Traits) -> ReadFile:
    """State and digest of a file whose content has been read."""
    return ReadFile(state, begun_ns, hashlib.sha256(content).digest(), traits(content))


read_image: Read = partial(read_file, traits=traits_of)
"""`read_file` for images."""

_CURRENT: ContextVar[ContentDigests | None] = ContextVar("content digests", default=None)


def current() -> ContentDigests:
    """Digests of the dataset being opened, or new ones."""
    return _CURRENT.get() or ContentDigests()


@contextmanager
def using(digests: ContentDigests) -> Iterator[ContentDigests]:
    """Make these digests current in the context."""
    token = _CURRENT.set(digests)
    try:
        yield digests
    finally:
        _CURRENT.reset(token)
