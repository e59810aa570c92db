"""Results of a workspace: one TinyDB file. The supervisor writes it; readers need no lock."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from tinydb import where

from ssl_console.system.errors import OperationFailed
from ssl_console.workspace.earlier_intervals import outdated, recounted
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.records import SharedFieldSets
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_file import Row, RowReader, RowWriter, Stamp
from ssl_console.workspace.tinydb_storage import (
    RESULTS_TABLE,
    NewerSchemaError,
    UnreadableError,
    exclusive,
    is_unstated,
    read_document,
    stated,
    transaction,
)


class StoreError(OperationFailed):
    """The results file cannot be used; the message names it and the fix."""


class ResultStore:
    """The results file of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.results
        self._workspace = workspace
        self._recounted: dict[str, Result] = {}
        self._read = _Read()
        self._shown: tuple[list[Result], list[Result]] | None = None
        """Results as stored, and as `results` returns them."""
        self._writer = RowWriter(self.path)

    def results(self) -> list[Result]:
        """All results, in the order they were added, with valid intervals and protocols. Raises StoreError.

        The same list as long as the file is unchanged.
        """
        rows, shown = self.rows(), self._shown
        if shown is None or shown[0] is not rows:
            shown = rows, [self._current(one) if outdated(one) or is_unstated(one) else one for one in rows]
            self._shown = shown
        return shown[1]

    def rows(self) -> list[Result]:
        """All results as stored; when the file has changed, only new rows are read if possible. Raises StoreError.

        The same list as long as the file is unchanged.
        """
        stamp, read = Stamp.of(self.path), self._read
        if stamp is None or stamp != read.stamp:
            reader = copy(read.reader)  # other threads may continue from the same place
            further = reader and reader.further()
            if reader is not None and further is not None:
                rows = [*read.results, *_results(self.path, further, read.sets)]
                read = _Read(stamp, rows, reader, read.sets)
            else:
                reader, sets = RowReader(self.path), SharedFieldSets()
                read = _Read(stamp, list(_results(self.path, reader, sets)), reader, sets)
            self._read = read  # one assignment: several threads may read
        return read.results

    def stream(self) -> Iterator[Result]:
        """All results as stored, one by one, none of them kept. Raises StoreError, possibly after some."""
        return _results(self.path, RowReader(self.path), SharedFieldSets())

    def _current(self, result: Result) -> Result:
        """Result with a valid interval and protocol. Ended runs never change, so each is computed once."""
        if result.run_id not in self._recounted:
            current = stated(result, self._workspace.run(result.run_id))
            if outdated(current):
                from ssl_console.workspace.predictions import RunOutputs  # noqa: PLC0415 - only older results need numpy

                outputs = RunOutputs(self._workspace)
                current = recounted(current, outputs.record, outputs.predictions)
            self._recounted[result.run_id] = current
        return self._recounted[result.run_id]

    def add(self, results: Iterable[Result]) -> int:
        """Add the results whose run is not stored yet, in one transaction; return their number.

        Raises StoreError when the file cannot be read, OSError when it cannot be written; it is unchanged then.
        """
        new = {result.run_id: result for result in results}
        if not new:
            return 0
        try:
            return self._writer.add([result.model_dump(mode="json") for result in new.values()])
        except (UnreadableError, NewerSchemaError) as error:
            raise _store_error(self.path, error) from error

    def replace(self, results: Iterable[Result]) -> None:
        """Replace the stored results of these runs. Raises as `add` does."""
        new = {result.run_id: result.model_dump(mode="json") for result in results}
        try:
            with transaction(self.path) as database:
                for run_id, row in new.items():
                    database.table(RESULTS_TABLE).update(row, where("run_id") == run_id)
        except (UnreadableError, NewerSchemaError) as error:
            raise _store_error(self.path, error) from error

    def remove(self, run_ids: Collection[str]) -> None:
        """Remove the rows of these runs, all in one transaction. Raises StoreError, OSError."""
        if not run_ids:
            return
        try:
            with transaction(self.path) as database:
                database.table(RESULTS_TABLE).remove(where("run_id").one_of(list(run_ids)))
        except (UnreadableError, NewerSchemaError) as error:
            raise _store_error(self.path, error) from error


def rebuild(workspace: Workspace) -> int:
    """Rebuild the results file from the run folders; return the number of results. Unfinished runs and unreadable
    records are skipped.

    A file that cannot be read is set aside, never removed. Raises StoreError for a newer version's.
    """
    path = workspace.results
    set_aside(path)
    try:
        with transaction(path) as database:
            found = {}
            for folder in workspace.run_folders():
                with suppress(OSError, ValidationError):
                    result = ResultRecord.model_validate_json(folder.result.read_bytes()).result
                    found[result.run_id] = result
            in_order = sorted(found.values(), key=lambda result: result.finished)
            database.drop_table(RESULTS_TABLE)
            database.table(RESULTS_TABLE).insert_multiple(result.model_dump(mode="json") for result in in_order)
    except NewerSchemaError as error:
        raise _store_error(path, error) from error
    return len(in_order)


def set_aside(path: Path) -> Path | None:
    """Rename an unreadable results file and return its new path. None when it is readable or missing."""
    with exclusive(path):
        try:
            read_document(path)
        except UnreadableError:
            aside = path.with_name(
                f"{path.stem}.unreadable-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000}.json"
            )
            return path.rename(aside)
        except NewerSchemaError as error:
            raise _store_error(path, error) from error
    return None


@dataclass(frozen=True)
class _Read:
    """Results of one version of the file."""

    stamp: Stamp | None = None
    results: list[Result] = field(default_factory=list)
    reader: RowReader | None = None
    sets: SharedFieldSets = field(default_factory=SharedFieldSets)


def _results(path: Path, rows: Iterable[Row], sets: SharedFieldSets) -> Iterator[Result]:
    """Rows one by one. Raises StoreError."""
    try:
        for row in rows:
            yield sets.share(Result.model_validate(row))
    except (UnreadableError, NewerSchemaError) as error:
        raise _store_error(path, error) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(f"{path} contains a row that is not a result ({where}: {first['msg']}); {_WAY_OUT}") from error


_WAY_OUT = "rebuild it from the run folders with `ssl-console rebuild`"


def _store_error(path: Path, error: Exception) -> StoreError:
    if isinstance(error, NewerSchemaError):
        return StoreError(f"{path} cannot be used: {error}")
    return StoreError(f"{error}; {_WAY_OUT}")
