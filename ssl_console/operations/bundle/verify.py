"""Verification of a bundle: every byte by its digest, every score and every table by recomputation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from backbones.io.errors import counted
from backbones.io.file_digests import canonical
from ssl_console.operations.bundle import archive as layout
from ssl_console.operations.bundle.archive import FORMAT, Archive, Index, NotABundle, digest, read_arrays
from ssl_console.operations.bundle.write import RANKS, first_difference, tables
from ssl_console.workspace.result import Result, ResultRecord
from tasks.datasets.dataset import digest_manifest
from tasks.datasets.manifest import Manifest
from tasks.metrics.rescore import Rescorer, rescore

Arrays = Mapping[str, npt.NDArray[np.generic]]

UNCOUNTABLE = (ValueError, IndexError, KeyError, TypeError, ArithmeticError, MemoryError)
"""Exceptions of scoring on arrays with arbitrary content."""
NEAR = 1e-6
"""Tolerance of a score for rounding differences between machines."""
SAME_STREAM = 0.1
"""Fraction of an interval's width by which a bound may move when another version of numpy draws the resamples."""


@dataclass(frozen=True)
class Recounted:
    """Result of checking one record."""

    problems: tuple[str, ...]
    counted: int
    not_counted: tuple[str, ...]


def check_record(record: ResultRecord, arrays: Arrays | None) -> Recounted:
    """Check a record against its own identity, and against its predictions where there are any."""
    # the protocol is in the record's identity, else in the task's name
    task, name = record.identity.get("task"), record.result.task.partition("/")[0]
    protocol = str(task.get("protocol", name)) if isinstance(task, dict) else name
    way = None if arrays is None else rescore(protocol, arrays)
    if arrays is None or way is None:
        return Recounted(tuple(_own(record)), 0, tuple(record.metrics))
    try:
        again = way.metrics(arrays)
        from_predictions = [
            *_scores(record, again, way.tolerance),
            *_interval(record, way, arrays),
            *_number(record, arrays),
        ]
    except UNCOUNTABLE as error:
        return Recounted((*_own(record), f"its predictions cannot be scored: {error}"), 0, tuple(record.metrics))
    counted = [name for name in record.metrics if name in again]
    missed = tuple(name for name in record.metrics if name not in again)
    return Recounted((*_own(record), *from_predictions), len(counted), missed)


def _own(record: ResultRecord) -> Iterator[str]:
    """Inconsistencies between values that a record contains twice."""
    result, identity = record.result, record.identity
    key = _sha256(identity)
    if result.key != key:
        yield f"key is {result.key[:16]}, the parts in identity give {key[:16]}"
    column = _sha256({"data": identity.get("data"), "task": identity.get("task")})
    if result.column != column:
        yield f"column is {result.column[:16]}, the task and the data in identity give {column[:16]}"
    if result.seed != identity.get("seed"):
        yield f"seed is {result.seed}, in identity it is {identity.get('seed')}"
    value = record.metrics.get(result.metric)
    if value is None or abs(value - result.value) > NEAR:
        yield f"value is {result.value}, {result.metric} is {value}"
    if not result.ci_low - NEAR <= result.value <= result.ci_high + NEAR:
        yield f"value {result.value} is outside its interval, {result.ci_low} to {result.ci_high}"


def _scores(record: ResultRecord, again: Mapping[str, float], near: float) -> Iterator[str]:
    for name, value in record.metrics.items():
        if name in again and not abs(value - again[name]) <= near:
            yield f"{name} is {value}, its predictions give {again[name]}"


def _interval(record: ResultRecord, way: Rescorer, arrays: Arrays) -> Iterator[str]:
    result = record.result
    found = way.by_method(arrays, result.metric, record.interval_method)
    if found is None:
        return
    same = record.versions.get("numpy") == version("numpy")
    allowed = NEAR if same or found.method == "wilson" else SAME_STREAM * (found.high - found.low)
    for name, value, again in (("ci_low", result.ci_low, found.low), ("ci_high", result.ci_high, found.high)):
        if not abs(value - again) <= allowed:
            yield f"{name} is {value}, its predictions give {again}"


def _number(record: ResultRecord, arrays: Arrays) -> Iterator[str]:
    """Inconsistency of the number of samples, if any."""
    samples = next((len(arrays[name]) for name in ("label", "classes", "index") if name in arrays), None)
    if samples is not None and samples != record.result.n:
        yield f"n is {record.result.n}, its predictions are of {samples}"


def _sha256(parts: Any) -> str:  # noqa: ANN401 - JSON
    return hashlib.sha256(canonical(parts)).hexdigest()


Notify = Callable[[str], None]


@dataclass(frozen=True)
class Problem:
    """An inconsistency."""

    file: str
    """A member, or the bundle itself."""
    what: str
    """One sentence that names the value."""


@dataclass
class Report:
    """Result of a verification."""

    path: Path
    digest: str = ""
    """Digest of the file according to its comment."""
    problems: list[Problem] = field(default_factory=list)
    files: int = 0
    results: int = 0
    scores: int = 0
    """Number of scores recomputed from predictions."""
    not_counted: list[str] = field(default_factory=list)
    """Scores that cannot be recomputed from the bundle, as `run: score`."""
    tables: int = 0

    @property
    def agrees(self) -> bool:
        return not self.problems


def check(path: Path, notify: Notify = lambda _line: None) -> Report:
    """Check everything. Raises NotABundle for an unreadable file, FileNotFoundError."""
    archive = Archive.open(path)
    try:
        return _Check(archive, Report(path, archive.digest), notify).carry_out()
    finally:
        archive.close()


@dataclass
class _Check:
    archive: Archive
    report: Report
    notify: Notify
    _arrays: dict[str, Arrays] = field(default_factory=dict)
    _readable: set[str] = field(default_factory=set)
    """Members that could be read completely; the others have been reported."""

    def carry_out(self) -> Report:
        index = self._index()
        whole = self.archive.whole
        self._readable = sound = set(self._digests(index))
        if not whole and not self.report.problems:
            self._add_problem(
                self.archive.path.name, "a byte of the zip file's own directory, or of its README, was changed"
            )
        self._manifests(sound)
        results = self._records(sound)
        self._tables(index, results, sound)
        return self.report

    def _add_problem(self, file: str, what: str) -> None:
        self.report.problems.append(Problem(file, what))

    def _index(self) -> Index:
        try:
            index = Index.model_validate_json(self.archive.read(layout.INDEX))
        except (KeyError, ValueError) as error:
            raise NotABundle(f"{self.archive.path}: {layout.INDEX} is missing or damaged: {error}") from error
        if index.format > FORMAT:
            raise NotABundle(f"{self.archive.path} has format {index.format}, this version reads {FORMAT}: update")
        return index

    def _digests(self, index: Index) -> Iterator[str]:
        """Readable members, also modified ones: their scores are recomputed as well."""
        listed = set(index.files)
        for name in sorted(listed ^ (set(self.archive.names) - {layout.INDEX, layout.README})):
            self._add_problem(name, "is listed but missing" if name in listed else "is not listed")
        self.notify(f"digests of {counted(len(listed), 'file')}")
        for name in sorted(listed & set(self.archive.names)):
            self.report.files += 1
            try:
                found = digest(self.archive.read(name))
            except ValueError as error:
                self._add_problem(name, f"a byte was changed: {error}")
                continue
            if found != index.files[name].sha256:
                self._add_problem(
                    name, f"was changed: its SHA-256 is {found[:16]}, listed is {index.files[name].sha256[:16]}"
                )
            yield name

    def _manifests(self, names: set[str]) -> None:
        for name in sorted(one for one in names if one.startswith("manifests/")):
            try:
                found = Manifest.model_validate_json(self.archive.read(name))
            except ValidationError as error:
                self._add_problem(name, f"is not a manifest: {error.errors()[0]['msg']}")
                continue
            parts = [(split, one.images_digest, one.labels_digest) for split, one in found.splits.items()]
            again = digest_manifest(found.classes, parts)
            if again != found.digest or name != layout.manifest(again):
                self._add_problem(
                    name, f"declares digest {found.digest[:16]}; its classes and splits give {again[:16]}"
                )

    def _records(self, names: set[str]) -> list[Result]:
        found = []
        records = sorted(one for one in names if one.startswith("records/"))
        for number, name in enumerate(records, start=1):
            if number % 50 == 1:
                self.notify(f"scores of result {number:,} of {len(records):,}")
            try:
                record = ResultRecord.model_validate_json(self.archive.read(name))
            except ValidationError as error:
                self._add_problem(name, f"is not a record: {error.errors()[0]['msg']}")
                continue
            if record.result.run_id != layout.run_id(name):
                self._add_problem(name, f"belongs to run {record.result.run_id}")
            self._record(name, record)
            found.append(record.result)
        return found

    def _record(self, name: str, record: ResultRecord) -> None:
        run_id = record.result.run_id
        checked: Recounted = check_record(record, self.predictions(run_id))
        self.report.results += 1
        self.report.scores += checked.counted
        self.report.not_counted += [f"{run_id}: {score}" for score in checked.not_counted]
        for what in checked.problems:
            self._add_problem(name, what)

    def predictions(self, run_id: str) -> Arrays | None:
        """Arrays of a run; None when it has none, or, with a reported problem, unreadable ones."""
        name = layout.predictions(run_id)
        if run_id not in self._arrays and name in self._readable:
            try:
                self._arrays = {run_id: read_arrays(self.archive.read(name))}
            except ValueError as error:
                complaint = Problem(name, str(error))
                if complaint not in self.report.problems:
                    self.report.problems.append(complaint)
        return self._arrays.get(run_id)

    def _tables(self, index: Index, results: list[Result], names: set[str]) -> None:
        if index.format < FORMAT:
            self.notify(f"tables by their digests only: those of format {index.format} differ from this version's")
            return
        self.notify("tables")
        try:
            again = tables(results, self.predictions, index.columns, index.badge_sources)
        except UNCOUNTABLE as error:
            self._add_problem("tables", f"cannot be derived from the records: {error}")
            return
        for name in sorted(set(again) | {one for one in names if one.startswith("tables/")}):
            self.report.tables += 1
            if name not in names or name not in again:
                self._add_problem(name, "is missing" if name not in names else "does not follow from the records")
                continue
            kept = self.archive.read(name).decode(errors="replace")
            what = first_difference(kept, again[name], numbers_may_move=name == RANKS)
            if what:
                self._add_problem(name, what)
