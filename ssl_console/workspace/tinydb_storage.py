"""How TinyDB reads and writes `results.json`: whole files by rename, one backup, under a lock between processes.

TinyDB's own storage writes in place, and its tables remember the next row number: with several processes, or a kill
at the wrong moment, rows or the file are lost. So every transaction takes the lock and opens a fresh `TinyDB`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from pydantic_core import from_json
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Table

from backbones.io.files import lock, open_own, write_atomically
from ssl_console.workspace.schema_migration import SCHEMA_VERSION, Document, migrate, new_document, version_of


class UnreadableError(Exception):
    """The file is there but is no results file; the message says why."""


class _FreshTable(Table):
    """No query cache: it would not notice what other processes write."""

    default_query_cache_capacity = 0


class _Database(TinyDB):
    table_class = _FreshTable


class WholeFileStorage(Storage):
    """Parses the file once per transaction, and writes it once, at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._document, self._version = _read(path)
        self._changed = False

    def read(self) -> dict[str, dict[str, Any]]:
        """The document, as this transaction left it so far."""
        return self._document

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Keep the change; `commit` brings it to disk."""
        self._document = data
        self._changed = True

    def commit(self) -> None:
        """Replace the file, keeping the one before as the backup. Raises OSError and then changes nothing.

        The last file of an older schema is kept for good: who goes back to an older program needs it.
        """
        if self._changed:
            if self._version < version_of(self._document):
                keep_older(self._path, self._version)
            keep_backup(self._path)
            write_atomically(self._path, orjson.dumps(self._document, option=orjson.OPT_NON_STR_KEYS))


def read_document(path: Path) -> Document:
    """The file's tables at the present schema; an empty document when there is no file.

    Raises UnreadableError for what is no results file, NewerSchemaError for one of a newer version.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Document, int]:
    """The same, and the schema that the file has, or will have when there is none yet."""
    try:
        # of 11 MB it makes 28 MB of objects, where orjson takes 70 MB meanwhile
        found = from_json(path.read_bytes(), allow_inf_nan=False)
    except FileNotFoundError:
        return new_document(), SCHEMA_VERSION
    except ValueError as error:
        raise UnreadableError(f"{path} cannot be read: it is not JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(table, dict) for table in found.values()):
        raise UnreadableError(f"{path} cannot be read: it holds no tables")
    try:
        return migrate(found), version_of(found)
    except ValueError as error:
        raise UnreadableError(f"{path} cannot be read: {error}") from error


@contextmanager
def transaction(path: Path) -> Iterator[TinyDB]:
    """A database under the lock; committed when the block ends well, untouched when it raises.

    Raises UnreadableError, NewerSchemaError, OSError (disk full, read-only).
    """
    with exclusive(path):
        storage = WholeFileStorage(path)
        yield _Database(storage=lambda: storage)
        storage.commit()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file beside `path`; leftovers of writers that were killed are removed under it."""
    name = path.with_name(f"{path.stem}.lock")
    descriptor = open_own(name, os.O_RDWR | os.O_CREAT)
    try:
        lock(descriptor, name)
        for leftover in path.parent.glob(f".{path.name}*.tmp"):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def backup_of(path: Path) -> Path:
    """Where the file before the last write is kept."""
    return path.with_name(f"{path.name}.bak")


def keep_older(path: Path, version: int) -> None:
    """Copy a file of an older schema to `results.schema-N.json`, unless that is there. Raises OSError."""
    place = path.with_name(f"{path.stem}.schema-{version}{path.suffix}")
    if not place.exists():
        write_atomically(place, path.read_bytes())


def keep_backup(path: Path) -> None:
    """Make the present file the backup, without a moment in which there is none."""
    if not path.exists():
        return
    temporary = path.with_name(f".{path.name}.bak.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links
        with suppress(FileNotFoundError):
            shutil.copy2(path, temporary)
    temporary.replace(backup_of(path))
    temporary.unlink(missing_ok=True)  # renaming a link onto another link of the same file does nothing
