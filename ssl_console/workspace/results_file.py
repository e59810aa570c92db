"""Rows of the results file in pieces: read without holding the file, continued after additions, added without parsing.

This program writes the file in one form: the schema first, then the results, no white space. Files of any other form
are read and written as a whole by `tinydb_storage`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson
from pydantic_core import SchemaValidator, core_schema, from_json

from backbones.io.files import write_durably
from ssl_console.workspace.tinydb_storage import (
    RESULTS_TABLE,
    exclusive,
    keep_backup,
    locked_transaction,
    new_document,
    parse_document,
    version_of,
)

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

Row = dict[str, Any]
CHUNK_BYTES = 1 << 18
END = b"}}"
HEAD = orjson.dumps(new_document()).removesuffix(END)
BETWEEN = b'},"'
"""Between two rows. Inside a row it can only be the end of a text or of a nested object, so that what stands before it
is not valid JSON.
"""
NOT_FINITE = (b"NaN", b"Infinity")
Table = dict[str, Row]
"""Rows by their number."""
_RUN_IDS = SchemaValidator(
    core_schema.dict_schema(
        core_schema.str_schema(),
        core_schema.typed_dict_schema({"run_id": core_schema.typed_dict_field(core_schema.str_schema())}),
    )
)


def whole_rows(part: bytes) -> Table:
    """Part of the table. Raises ValueError for what is not JSON."""
    table: Table = from_json(part, allow_inf_nan=False)
    return table


def only_run_ids(part: bytes) -> Table:
    """Part of the table, of whose rows only the run's id is kept, in less than half of the time. Raises ValueError."""
    if any(word in part for word in NOT_FINITE):  # accepted as numbers below
        return whole_rows(part)
    table: Table = _RUN_IDS.validate_json(part)
    return table


class _IrregularError(Exception):
    """The file has another form than this program writes, or it is damaged."""


@dataclass(frozen=True)
class Stamp:
    """Identity of a version of the file, which is only ever replaced as a whole."""

    modified_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """None when there is no file."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return cls(found.st_mtime_ns, found.st_size, found.st_ino)


@dataclass(frozen=True)
class Position:
    """End of the rows in a file of the usual form."""

    offset: int
    digest: bytes
    """SHA-256 of all bytes before it."""
    number: int
    """Number of the last row; 0 without any."""


@dataclass
class RowReader:
    """Reader of all rows, one by one, and later of those that have been added."""

    path: Path
    parse: Callable[[bytes], Table] = whole_rows
    position: Position | None = field(default=None, init=False)
    """After the last row that was read; None for a file of another form."""

    def __iter__(self) -> Iterator[Row]:
        """All rows. Raises UnreadableError and NewerSchemaError, possibly after some rows."""
        self.position, done = None, 0
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            try:
                for row in self._begin(file):
                    yield row
                    done += 1
            except _IrregularError:
                file.seek(0)
                table = parse_document(file.read(), self.path)[0].get(RESULTS_TABLE, {})
                yield from list(table.values())[done:]

    def further(self) -> list[Row] | None:
        """Rows that have been added since; None if anything else has changed, or it is unknown."""
        if self.position is None:
            return None
        try:
            with self.path.open("rb") as file:
                digest = hashlib.sha256()
                for chunk in _chunks(file, self.position.offset):
                    digest.update(chunk)
                if digest.digest() != self.position.digest:
                    return None
                separator = file.read(1)
                if separator == b",":
                    digest.update(separator)
                    return list(self._rows(file, digest, self.position.number))
                return [] if separator + file.read() == END else None
        except (FileNotFoundError, _IrregularError):
            return None

    def _begin(self, file: IO[bytes]) -> Iterator[Row]:
        if file.read(len(HEAD)) != HEAD:
            raise _IrregularError
        document, version = parse_document(HEAD + END, self.path)
        if version_of(document) != version:
            raise _IrregularError
        return self._rows(file, hashlib.sha256(HEAD), 0)

    def _rows(self, file: IO[bytes], digest: Digest, number: int) -> Iterator[Row]:
        """Rows from the present place in the file, the first of which has a number above `number`."""
        offset, rest = file.tell(), b""
        while chunk := file.read(CHUNK_BYTES):
            rest += chunk
            if whole := rest.rfind(BETWEEN) + 1:
                number, rows = self._parse(rest[:whole], number)
                yield from rows
                digest.update(rest[: whole + 1])
                offset, rest = offset + whole + 1, rest[whole + 1 :]
        if not rest.endswith(END):
            raise _IrregularError
        last = rest.removesuffix(END)
        number, rows = self._parse(last, number)
        yield from rows
        digest.update(last)
        self.position = Position(offset + len(last), digest.digest(), number)

    def _parse(self, part: bytes, number: int) -> tuple[int, list[Row]]:
        """Number of the last row in a part of the table, and its rows; their numbers must increase from `number`."""
        try:
            table = self.parse(b"{%s}" % part)
            numbers = [number, *map(int, table)]
        except ValueError as error:
            raise _IrregularError from error
        rows = list(table.values())
        if numbers != sorted(set(numbers)) or not all(isinstance(row, dict) for row in rows):
            raise _IrregularError
        return numbers[-1], rows


def _chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The next `size` bytes, fewer where the file ends."""
    while size and (chunk := file.read(min(CHUNK_BYTES, size))):
        yield chunk
        size -= len(chunk)


@dataclass
class RowWriter:
    """Writer of further rows. While nothing else changes the file, the rows that it has are copied unread."""

    path: Path
    _stamp: Stamp | None = None
    """Version of the file that the following fields describe."""
    _run_ids: set[str] = field(default_factory=set)
    _end: tuple[int, int] | None = None
    """Offset after the last row, and its number; None for a file of another form."""

    def add(self, rows: Collection[Row]) -> int:
        """Add the rows whose run is not stored yet, all or none; return their number.

        Raises UnreadableError, NewerSchemaError, OSError.
        """
        with exclusive(self.path):
            stamp = Stamp.of(self.path)
            if stamp is None or stamp != self._stamp:
                self._read(stamp)
            new = [row for row in rows if row["run_id"] not in self._run_ids]
            if not new:
                return 0
            if self._end is None:  # there is no file yet, or it has another form
                self._stamp = None
                with locked_transaction(self.path) as database:
                    database.table(RESULTS_TABLE).insert_multiple(new)
            else:
                self._append(new, *self._end)
        return len(new)

    def _read(self, stamp: Stamp | None) -> None:
        reader = RowReader(self.path, only_run_ids)
        self._stamp = None
        self._run_ids = {row["run_id"] for row in reader}
        place = reader.position
        self._end = None if place is None else (place.offset, place.number)
        self._stamp = stamp

    def _append(self, rows: list[Row], offset: int, number: int) -> None:
        numbered = {str(number + place): row for place, row in enumerate(rows, start=1)}
        further = (b"," if number else b"") + orjson.dumps(numbered)[1:-1]
        keep_backup(self.path)
        with self.path.open("rb") as file:
            write_durably(self.path, chain(_chunks(file, offset), [further, END]))
        self._stamp, self._end = Stamp.of(self.path), (offset + len(further), number + len(rows))
        self._run_ids |= {row["run_id"] for row in rows}
