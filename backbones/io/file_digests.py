"""SHA-256 digests of weight files, cached so that listing backbones does not read gigabytes, and canonical JSON for
digests of values.

A cached digest is valid for one size and modification time; when these change, the file is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from backbones.io.card_files import CardModel
from backbones.io.files import write_if_possible

Origin = Literal["fetched", "found"]
"""Whether the file was fetched, so that a change is damage, or was placed by the user, so that a change is intended."""


class DigestRecord(CardModel):
    """State of a file when it was last read."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    origin: Origin

    def holds(self) -> bool:
        """Whether the file's size and time equal those of the record. Raises OSError without a file."""
        status = Path(self.path).stat()
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class DigestBook:
    """Cached digests of any files, one small JSON file each in `folder`."""

    folder: Path

    def recall(self, path: Path) -> DigestRecord | None:
        """Record of this file, even if the file has changed since; None without one."""
        try:
            record = DigestRecord.model_validate_json(self._place(path).read_bytes())
        except (OSError, ValidationError):
            return None
        return record if record.path == str(path) else None

    def remember(self, path: Path, sha256: str, origin: Origin) -> None:
        """Store the digest of the file in its present state; if the disk is full, it is computed again on next use."""
        status = path.stat()
        record = DigestRecord(
            path=str(path), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256, origin=origin
        )
        write_if_possible(self._place(path), record.model_dump_json().encode())

    def digest(self, path: Path) -> str:
        """The file's SHA-256, from the cache while size and time are unchanged. Raises OSError for an unreadable file.

        Raises ChangedFile when a fetched file has changed.
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
        """The file's SHA-256, by reading all of it. Raises ChangedFile when it contradicts the cached one."""
        record = self.recall(path)
        if record is None or not record.holds():
            return self.digest(path)
        found = sha256_of(path)
        if record.sha256 != found:
            raise ChangedFile(path, record.sha256, found)
        return found

    def forget(self, path: Path) -> None:
        """Delete the record, so that the file is accepted in its present state."""
        self._place(path).unlink(missing_ok=True)

    def _place(self, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return self.folder / f"{path.name[:80]}-{name}.json"


class ChangedFile(ValueError):  # noqa: N818 - a domain word, raised as such
    """Content of a file does not match its digest."""

    def __init__(self, path: Path, expected: str, found: str) -> None:
        self.path, self.expected, self.found = path, expected, found
        super().__init__(f"{path} has changed: its SHA-256 begins with {found[:12]}, expected {expected[:12]}")


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_digest(digests: Sequence[str]) -> str:
    """One digest for files that belong together; for a single file, its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)  # `dumps` makes one per call


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces, as bytes: the input of every digest."""
    return _ENCODER.encode(value).encode()
