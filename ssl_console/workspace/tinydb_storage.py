"""Storage of `results.json` for TinyDB, its schema versions, and the upgrade of older ones. Files are replaced as a
whole by rename, with one backup, under a lock between processes.

TinyDB's own storage writes in place, and its tables cache the next row number: with several processes, or a kill at the
wrong moment, rows or the file are lost. So every transaction takes the lock and opens a new `TinyDB`.

Results that an earlier version measured under a task card's own name get their protocol: their rows state neither
protocol nor dataset, and neither follows from the name of the task; the run's specification contains both.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from pydantic_core import from_json
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Table

from backbones.io.file_locks import holding
from backbones.io.files import write_atomically
from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.result import Result
from tasks.catalog.protocols import PROTOCOLS

Document = dict[str, Any]
"""The whole TinyDB file: tables by name, rows by number."""
SCHEMA_VERSION = 1
SCHEMA_TABLE = "schema"
RESULTS_TABLE = "results"
MIGRATIONS: Mapping[int, Callable[[Document], Document]] = {}
"""Migration steps by version: step n converts a document of version n to version n + 1."""


class UnreadableError(Exception):
    """The file exists but is not a results file; the message gives the reason."""


class _FreshTable(Table):
    """Table without a query cache, which would not notice changes by other processes."""

    default_query_cache_capacity = 0


class _Database(TinyDB):
    table_class = _FreshTable


class WholeFileStorage(Storage):
    """Storage that parses the file once per transaction, and writes it once, at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._document, self._version = _read(path)
        self._changed = False

    def read(self) -> dict[str, dict[str, Any]]:
        """Document in its present state within this transaction."""
        return self._document

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Store the change in memory; `commit` writes it to disk."""
        self._document = data
        self._changed = True

    def commit(self) -> None:
        """Replace the file, with the previous one as the backup. Raises OSError and then changes nothing.

        The last file of an older schema is stored permanently as `results.schema-N.json`, for a return to an older
        program.
        """
        if self._changed:
            if self._version < version_of(self._document):
                older = self._path.with_name(f"{self._path.stem}.schema-{self._version}{self._path.suffix}")
                if not older.exists():
                    write_atomically(older, self._path.read_bytes())
            keep_backup(self._path)
            write_atomically(self._path, orjson.dumps(self._document, option=orjson.OPT_NON_STR_KEYS))


def read_document(path: Path) -> Document:
    """Tables of the file at the present schema; an empty document when there is no file.

    Raises UnreadableError for a file that is not a results file, NewerSchemaError for one of a newer version.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Document, int]:
    """Document and schema version of the file; the present version without a file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return new_document(), SCHEMA_VERSION
    return parse_document(content, path)


def parse_document(content: bytes, path: Path) -> tuple[Document, int]:
    """Document at the present schema and its version before, from the content of `path`. Raises as `read_document`."""
    try:
        # 11 MB become 28 MB of objects; orjson needs 70 MB in between
        found = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise UnreadableError(f"{path} cannot be read: it is not JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(table, dict) for table in found.values()):
        raise UnreadableError(f"{path} cannot be read: it contains no tables")
    try:
        return migrate(found), version_of(found)
    except ValueError as error:
        raise UnreadableError(f"{path} cannot be read: {error}") from error


@contextmanager
def transaction(path: Path) -> Iterator[TinyDB]:
    """A database under the lock; committed when the block succeeds, unchanged when it raises.

    Raises UnreadableError, NewerSchemaError, OSError (disk full, read-only).
    """
    with exclusive(path), locked_transaction(path) as database:
        yield database


@contextmanager
def locked_transaction(path: Path) -> Iterator[TinyDB]:
    """`transaction` for a caller that holds the lock."""
    storage = WholeFileStorage(path)
    yield _Database(storage=lambda: storage)
    storage.commit()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file next to `path`, and remove leftovers of killed writers."""
    with holding(path.with_name(f"{path.stem}.lock"), wait=True):
        for leftover in path.parent.glob(f".{path.name}*.tmp"):
            leftover.unlink(missing_ok=True)
        yield


def backup_of(path: Path) -> Path:
    """Path of the previous version of the file."""
    return path.with_name(f"{path.name}.bak")


def keep_backup(path: Path) -> None:
    """Make the present file the backup, such that a backup exists at all times."""
    if not path.exists():
        return
    temporary = path.with_name(f".{path.name}.bak.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # the file system has no links
        with suppress(FileNotFoundError):
            shutil.copy2(path, temporary)
    temporary.replace(backup_of(path))
    temporary.unlink(missing_ok=True)  # renaming a link onto another link of the same file does nothing


class NewerSchemaError(Exception):
    """The file was written by a newer version of this program."""


def new_document() -> Document:
    """Empty document of the present schema."""
    return {SCHEMA_TABLE: {"1": {"version": SCHEMA_VERSION}}, RESULTS_TABLE: {}}


def version_of(document: Document) -> int:
    """Schema version of a document. Raises ValueError when it has none."""
    row = document.get(SCHEMA_TABLE, {}).get("1")
    version = row.get("version") if isinstance(row, dict) else None
    if not isinstance(version, int):
        raise ValueError("it has no schema version")
    return version


def migrate(
    document: Document,
    migrations: Mapping[int, Callable[[Document], Document]] = MIGRATIONS,
    target: int = SCHEMA_VERSION,
) -> Document:
    """The document at version `target`. Raises NewerSchemaError when it is newer, ValueError when it has no version."""
    version = version_of(document)
    if version > target:
        raise NewerSchemaError(
            f"its schema version is {version}, this program supports up to {target}: upgrade ssl-console"
        )
    for step in range(version, target):
        document = {**migrations[step](document), SCHEMA_TABLE: {"1": {"version": step + 1}}}
    return document


def is_unstated(result: Result) -> bool:
    """Whether neither the row nor the task's name gives a known protocol."""
    return result.source == "mine" and not result.protocol and result.protocol_name not in PROTOCOLS


def stated(result: Result, folder: RunFolder) -> Result:
    """Result with protocol and dataset of its run's specification; unchanged where that cannot be read."""
    if not is_unstated(result):
        return result
    try:
        spec = json.loads(folder.spec.read_bytes())
        found = {"protocol": str(spec["task"]["protocol"]), "dataset": str(spec["dataset"]["name"])}
    except (OSError, ValueError, KeyError, TypeError):
        return result
    return result.model_copy(update=found)
