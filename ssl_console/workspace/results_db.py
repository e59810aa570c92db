"""Results of a workspace: one TinyDB file. The supervisor writes it; readers need no lock."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError
from tinydb import where

from ssl_console.system.errors import OperationFailed
from ssl_console.workspace.earlier_intervals import outdated, recounted
from ssl_console.workspace.field_sets import SharedFieldSets
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.schema_migration import RESULTS_TABLE, NewerSchemaError, is_unstated, stated
from ssl_console.workspace.tinydb_storage import UnreadableError, exclusive, read_document, transaction

Stamp = tuple[int, int, int]


class StoreError(OperationFailed):
    """The results file cannot be used; the message names it and the fix."""


class ResultStore:
    """The results file of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.results
        self._workspace = workspace
        self._recounted: dict[str, Result] = {}
        self._read: tuple[Stamp | None, list[Result]] = (None, [])

    def results(self) -> list[Result]:
        """All results, in the order they were added, with valid intervals and protocols. Raises StoreError."""
        return [self._current(one) if outdated(one) or is_unstated(one) else one for one in self.rows()]

    def rows(self) -> list[Result]:
        """All results as stored; read again only when the file has changed. Raises StoreError."""
        stamp = _stamp(self.path)
        read_at, results = self._read
        if stamp != read_at:
            results = list(_rows(self.path))
            self._read = (stamp, results)  # one assignment: several threads may read
        return list(results)

    def _current(self, result: Result) -> Result:
        """Result with a valid interval and protocol. Ended runs never change, so each is computed once."""
        if result.run_id not in self._recounted:
            named = stated(result, self._workspace.run(result.run_id))
            self._recounted[result.run_id] = self._counted_again(named) if outdated(named) else named
        return self._recounted[result.run_id]

    def _counted_again(self, result: Result) -> Result:
        from ssl_console.workspace.predictions import RunOutputs  # noqa: PLC0415 - only older results need numpy

        outputs = RunOutputs(self._workspace)
        return recounted(result, outputs.record, outputs.predictions)

    def add(self, results: Iterable[Result]) -> int:
        """Add the results whose run is not stored yet, in one transaction; return their number.

        Raises StoreError when the file cannot be read, OSError when it cannot be written; it is unchanged then.
        """
        new = {result.run_id: result for result in results}
        if not new:
            return 0
        try:
            with transaction(self.path) as database:
                rows = database.storage.read() or {}
                for row in rows.get(RESULTS_TABLE, {}).values():
                    new.pop(row["run_id"], None)
                if new:
                    database.table(RESULTS_TABLE).insert_multiple(
                        result.model_dump(mode="json") for result in new.values()
                    )
        except (UnreadableError, NewerSchemaError) as error:
            raise _store_error(self.path, error) from error
        return len(new)

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
    """Rebuild the results file from the run folders; return the number of results.

    A file that cannot be read is set aside, never removed. Raises StoreError for a newer version's.
    """
    path = workspace.results
    set_aside(path)
    try:
        with transaction(path) as database:
            found = {result.run_id: result for result in results_of_runs(workspace.run_folders())}
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


def results_of_runs(folders: Iterable[RunFolder]) -> Iterator[Result]:
    """Results in run folders; unfinished runs and unreadable records are skipped."""
    for folder in folders:
        try:
            yield ResultRecord.model_validate_json(folder.result.read_bytes()).result
        except (OSError, ValidationError):
            continue


def _rows(path: Path) -> Iterator[Result]:
    """Rows one by one; each is dropped after it is yielded, so that both forms are never in memory completely.

    Raises StoreError.
    """
    sets = SharedFieldSets()
    try:
        rows = read_document(path).pop(RESULTS_TABLE, {})
        for name in list(rows):
            yield sets.share(Result.model_validate(rows.pop(name)))
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


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
