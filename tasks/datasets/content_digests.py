"""SHA-256 digests of a dataset's files: each file is read once, in parallel, and again only where it may have changed.

`open_dataset` makes one `ContentDigests` the current one while a reader runs, so that readers, whose signature is
public, need not pass it on. Without one, files are read each time and nothing is remembered.
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
    """A device, a pipe or a folder: to read a pipe is to wait for ever."""


@dataclass
class ContentDigests:
    """What is known of one dataset's files, and the files that its reader asked for."""

    known: dict[str, ReadFile] = field(default_factory=dict)
    used: dict[str, ReadFile] = field(default_factory=dict)
    folders: dict[str, State] = field(default_factory=dict)
    advance: Advance = field(default=lambda _done, _total: None)
    """Receives how many files have been read, of how many that have to be."""
    begun_ns: int = field(default_factory=time.time_ns)

    @classmethod
    def load(cls, place: Path | None, *, thorough: bool = False, advance: Advance | None = None) -> ContentDigests:
        """With what was remembered; `thorough` reads every file whatever was remembered."""
        record = FileRecord.read(place) if place is not None and not thorough else None
        return cls(record.files() if record else {}, advance=advance or (lambda _done, _total: None))

    def record(self) -> FileRecord:
        """The files that were asked for, and no others."""
        return FileRecord.of(self.used, self.folders, self.begun_ns)

    def files(self, paths: Sequence[str], read: Read | None = None) -> list[ReadFile]:
        """What each file holds; absent ones have the state of zeros. Raises NotAFile."""
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
        """Take over what another reading of the file found."""
        self.known[path] = one

    def list_folder(self, path: Path) -> None:
        """The dataset depends on which files a folder holds."""
        self.folders[str(path)] = state_of(str(path))

    @property
    def newest_change_ns(self) -> int:
        """The latest change time of the files asked for; 0 without any."""
        return newest_change_ns(list(self.used.values()))

    def _read(self, paths: Sequence[str], read: Read) -> Iterator[tuple[str, ReadFile]]:
        if not paths:
            return
        with ThreadPoolExecutor(THREADS, thread_name_prefix="digest") as pool:
            try:
                for number, one in enumerate(pool.map(read, paths, chunksize=8)):
                    yield paths[number], one
                    self.advance(number + 1, len(paths))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def read_file(path: str, traits: Traits | None = None) -> ReadFile:
    """Read one file, of an image with its traits; the state of zeros where there is none.

    What cannot be read has the digest of zeros, and is tried again each time. Raises NotAFile for what is no file.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - once per image
    except OSError:
        return ReadFile(ABSENT, 0, bytes(DIGEST_BYTES))
    if not stat.S_ISREG(found.st_mode):
        raise NotAFile(f"{path} is no file but a device, a pipe or a folder")
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
    """What a file holds whose content is at hand."""
    return ReadFile(state, begun_ns, hashlib.sha256(content).digest(), traits(content))


read_image: Read = partial(read_file, traits=traits_of)
"""`read_file` of an image."""

_CURRENT: ContextVar[ContentDigests | None] = ContextVar("content digests", default=None)


def current() -> ContentDigests:
    """The digests of the dataset that is being opened; new ones outside of that."""
    return _CURRENT.get() or ContentDigests()


@contextmanager
def using(digests: ContentDigests) -> Iterator[ContentDigests]:
    """Make these the current ones."""
    token = _CURRENT.set(digests)
    try:
        yield digests
    finally:
        _CURRENT.reset(token)
