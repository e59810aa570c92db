"""SHA-256 digests of weight files, remembered so that listing backbones does not read gigabytes.

A remembered digest holds for one size and modification time; when these change the file is read again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from backbones.io.card_files import CardModel

Origin = Literal["fetched", "found"]
"""Whether the file was fetched by us, so that a change is damage, or was put there, so that a change is intended."""


class DigestRecord(CardModel):
    """What a file was when it was last read."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    origin: Origin

    def holds(self) -> bool:
        """Whether the file's size and time are still those of the record. Raises OSError without a file."""
        status = Path(self.path).stat()
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class DigestBook:
    """Remembered digests of any files, one small JSON file each in `folder`."""

    folder: Path

    def recall(self, path: Path) -> DigestRecord | None:
        """The record of this file, also when the file has changed since; None without one."""
        try:
            record = DigestRecord.model_validate_json(self._place(path).read_bytes())
        except (OSError, ValidationError):
            return None
        return record if record.path == str(path) else None

    def remember(self, path: Path, sha256: str, origin: Origin) -> None:
        """Keeps the digest of the file as it is now; a disk that cannot take it only costs the next reader time."""
        status = path.stat()
        record = DigestRecord(
            path=str(path), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256, origin=origin
        )
        write_if_possible(self._place(path), record.model_dump_json().encode())

    def digest(self, path: Path) -> str:
        """The file's SHA-256, from memory while size and time are unchanged. Raises OSError for an unreadable file.

        Raises ChangedFile when a fetched file is no longer what was fetched.
        """
        record = self.recall(path)
        if record is not None and record.holds():
            return record.sha256
        sha256 = sha256_of(path)
        if record is not None and record.origin == "fetched" and record.sha256 != sha256:
            raise ChangedFile(path, record.sha256, sha256)
        self.remember(path, sha256, record.origin if record is not None else "found")
        return sha256

    def verify(self, path: Path) -> str:
        """The file's SHA-256, by reading all of it. Raises ChangedFile when that contradicts the remembered one."""
        record = self.recall(path)
        if record is None or not record.holds():
            return self.digest(path)
        found = sha256_of(path)
        if record.sha256 != found:
            raise ChangedFile(path, record.sha256, found)
        return found

    def forget(self, path: Path) -> None:
        """Drops the record, so that the file is taken as it is."""
        self._place(path).unlink(missing_ok=True)

    def _place(self, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return self.folder / f"{path.name[:80]}-{name}.json"


class ChangedFile(ValueError):  # noqa: N818 - a domain word, raised as such
    """A file's content is not what its digest says."""

    def __init__(self, path: Path, expected: str, found: str) -> None:
        self.path, self.expected, self.found = path, expected, found
        super().__init__(f"{path} has changed: its SHA-256 begins with {found[:12]}, expected {expected[:12]}")


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_digest(digests: Sequence[str]) -> str:
    """One digest for files that belong together; a single file's is its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def write_if_possible(path: Path, content: bytes) -> None:
    """Writes a small file whole (temporary name, then rename), or not at all on a read-only or full disk."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
    except OSError:
        return
    with suppress(OSError):
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
        return
    with suppress(OSError):
        Path(name).unlink()  # half a file is of no use
