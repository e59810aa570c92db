"""Unpack an untrusted archive: no path leaves the folder, no links, limited expansion."""

from __future__ import annotations

import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from backbones.io.files import no_follow_opener

Progress = Callable[[int, int], None]
"""Called with the number of bytes read and the size of the archive."""

CHUNK = 1 << 20
MOST_ENTRIES = 1_000_000
SHOWN = 60
"""Maximum length of a name in messages."""
LARGEST_HEADER = 1 << 20
"""Maximum size of a tar header, e.g. a long name, which is held in memory."""
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    ArithmeticError,
    LookupError,
    MemoryError,
    RuntimeError,
    ValueError,
    struct.error,
)
"""Exceptions that the readers raise for invalid archives (`NotImplementedError` is a `RuntimeError`)."""
IMPOSSIBLE = frozenset(
    {errno.EINVAL, errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EILSEQ, errno.ELOOP}
)
"""Errors for an impossible file name, or for one that is both a file and a folder."""


class ArchiveError(ValueError):
    """An archive that is damaged or unsafe; the message names it and the entry."""


@dataclass
class _UnpackBudget:
    """Remaining output: images and annotations hardly compress, an archive bomb expands a thousandfold."""

    archive: Path
    left: int = field(init=False)
    entries: int = field(init=False)

    def __post_init__(self) -> None:
        self.entries = MOST_ENTRIES
        self.left = 20 * self.archive.stat().st_size + 100_000_000

    def entry(self) -> None:
        self.entries -= 1
        if self.entries < 0:
            raise ArchiveError(f"{self.archive} holds more than {MOST_ENTRIES:,} entries: unpacking stopped")

    def write(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ArchiveError(
                f"{self.archive} expands to more than 20 times its size, unlike any dataset: unpacking stopped"
            )


def unpack(archive: Path, target: Path, on_progress: Progress) -> None:
    """Unpack a tar (compressed or not) or zip file below `target`, which is created.

    Raises:
        ArchiveError: it is neither, it is broken, an entry's path leaves the folder, an entry is a link or a device, or
            it expands absurdly. What was unpacked before stays in `target`.
        OSError: the disk cannot take it.
    """
    target.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, target, on_progress)
        else:
            _unpack_tar(archive, target, on_progress)
    except ArchiveError:
        raise
    except BROKEN as error:
        raise ArchiveError(f"{archive} is not a complete archive ({error or type(error).__name__})") from error
    except OSError as error:
        if error.errno not in IMPOSSIBLE:
            raise
        place = Path(str(error.filename or "")).name
        raise ArchiveError(
            f"{archive} holds what cannot be unpacked, {place[:SHOWN]!r} ({error.strerror}): unpacking stopped"
        ) from error


class _Member(tarfile.TarInfo):
    """An entry with a header of limited size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        """The entry of a block of 512 bytes. Raises ArchiveError for a header, e.g. a long name, that is too large."""
        found = super().frombuf(buf, encoding, errors)
        if found.type not in tarfile.REGULAR_TYPES and found.size > LARGEST_HEADER:
            raise ArchiveError(
                f"a tar archive's header of {found.name[:SHOWN]!r} has {found.size:,} bytes: not unpacked"
            )
        return found


def _unpack_tar(archive: Path, target: Path, on_progress: Progress) -> None:
    budget, size = _UnpackBudget(archive), archive.stat().st_size
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*", tarinfo=_Member) as tar:
        for member in tar:
            budget.entry()
            place = _place(archive, target, member.name)
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                content = tar.extractfile(member)
                assert content is not None
                _write(content, place, budget)
            else:
                raise ArchiveError(f"{archive} holds {_shown(member.name)}, a link or device: not unpacked")
            on_progress(min(raw.tell(), size), size)
        # tarfile does not report a damaged header in the middle: reading must have ended at the archive's end
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise ArchiveError(f"{archive} is not a complete archive (no valid entry at byte {tar.offset:,})")


def _unpack_zip(archive: Path, target: Path, on_progress: Progress) -> None:
    budget, size, done = _UnpackBudget(archive), archive.stat().st_size, 0
    with zipfile.ZipFile(archive) as whole:
        for info in whole.infolist():
            budget.entry()
            place = _place(archive, target, info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError(f"{archive} holds {_shown(info.filename)}, a link or device: not unpacked")
            if info.flag_bits & 1:
                raise ArchiveError(f"{archive} holds {_shown(info.filename)}, which needs a password: not unpacked")
            if info.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                with whole.open(info) as content:
                    _write(content, place, budget)
            done += info.compress_size
            on_progress(min(done, size), size)


def _place(archive: Path, target: Path, name: str) -> Path:
    """Path of an entry. Raises ArchiveError for a path that is absolute or leaves the folder, on any system."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name[:2]:
        raise ArchiveError(f"{archive} holds {_shown(name)}, a path that leads out of the folder: not unpacked")
    return target / path


def _shown(name: str) -> str:
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}...")


def _write(content: IO[bytes], place: Path, budget: _UnpackBudget) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "wb", opener=no_follow_opener) as file:
        while chunk := content.read(CHUNK):
            budget.write(len(chunk))
            file.write(chunk)
