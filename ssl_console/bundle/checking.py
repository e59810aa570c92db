"""Checking a bundle: every byte by its digest, every score by counting again, every table by making it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ssl_console.bundle import layout
from ssl_console.bundle.archive import Archive, NotABundle, digest
from ssl_console.bundle.arrays import read_arrays
from ssl_console.bundle.layout import FORMAT, Index
from ssl_console.bundle.records import UNCOUNTABLE, Recounted, check_record
from ssl_console.bundle.tables import RANKS, tables
from ssl_console.bundle.text_difference import first_difference
from ssl_console.result import Result, ResultRecord
from tasks.datasets.dataset import digest_manifest
from tasks.datasets.manifest import Manifest

Arrays = Mapping[str, npt.NDArray[np.generic]]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Problem:
    """Something that does not agree."""

    file: str
    """A member, or the bundle itself."""
    what: str
    """One sentence that names the number."""


@dataclass
class Report:
    """What was found."""

    path: Path
    problems: list[Problem] = field(default_factory=list)
    files: int = 0
    results: int = 0
    scores: int = 0
    """Counted again from predictions."""
    not_counted: list[str] = field(default_factory=list)
    """Scores that nothing in the bundle lets one count again, as `run: score`."""
    tables: int = 0

    @property
    def agrees(self) -> bool:
        """Whether all is as it says it is."""
        return not self.problems


def check(path: Path, tell: Tell = lambda _line: None) -> Report:
    """Check everything. Raises NotABundle for a file of which nothing can be read, FileNotFoundError."""
    archive = Archive.open(path)
    try:
        return _Check(archive, Report(path), tell).carry_out()
    finally:
        archive.close()


@dataclass
class _Check:
    archive: Archive
    report: Report
    tell: Tell
    _arrays: dict[str, Arrays] = field(default_factory=dict)
    _readable: set[str] = field(default_factory=set)
    """Members of which every byte could be read; the others have been complained about."""

    def carry_out(self) -> Report:
        index = self._index()
        whole = self.archive.whole
        self._readable = sound = set(self._digests(index))
        if not whole and not self.report.problems:
            self._complain(
                self.archive.path.name, "a byte of the zip file's own directory, or of its README, was changed"
            )
        self._manifests(sound)
        results = self._records(sound)
        self._tables(index, results, sound)
        return self.report

    def _complain(self, file: str, what: str) -> None:
        self.report.problems.append(Problem(file, what))

    def _index(self) -> Index:
        try:
            index = Index.model_validate_json(self.archive.read(layout.INDEX))
        except (KeyError, ValueError) as error:
            raise NotABundle(f"{self.archive.path}: {layout.INDEX} is not there or damaged: {error}") from error
        if index.format > FORMAT:
            raise NotABundle(f"{self.archive.path} has format {index.format}, this version reads {FORMAT}: update")
        return index

    def _digests(self, index: Index) -> Iterator[str]:
        """Members that can be read, whether or not they are as listed: an edited one is counted again, too."""
        listed = set(index.files)
        for name in sorted(listed ^ (set(self.archive.names) - {layout.INDEX, layout.README})):
            self._complain(name, "is listed and not there" if name in listed else "is there and not listed")
        self.tell(f"digests of {len(listed):,} files")
        for name in sorted(listed & set(self.archive.names)):
            self.report.files += 1
            try:
                found = digest(self.archive.read(name))
            except ValueError as error:
                self._complain(name, f"a byte was changed: {error}")
                continue
            if found != index.files[name].sha256:
                self._complain(
                    name, f"was changed: its SHA-256 is {found[:16]}, listed is {index.files[name].sha256[:16]}"
                )
            yield name

    def _manifests(self, names: set[str]) -> None:
        for name in sorted(one for one in names if one.startswith("manifests/")):
            try:
                found = Manifest.model_validate_json(self.archive.read(name))
            except ValidationError as error:
                self._complain(name, f"is no manifest: {error.errors()[0]['msg']}")
                continue
            parts = [(split, one.images_digest, one.labels_digest) for split, one in found.splits.items()]
            again = digest_manifest(found.classes, parts)
            if again != found.digest or name != layout.manifest(again):
                self._complain(
                    name, f"says its digest is {found.digest[:16]}; its classes and splits give {again[:16]}"
                )

    def _records(self, names: set[str]) -> list[Result]:
        found = []
        records = sorted(one for one in names if one.startswith("records/"))
        for number, name in enumerate(records, start=1):
            if number % 50 == 1:
                self.tell(f"scores of result {number:,} of {len(records):,}")
            try:
                record = ResultRecord.model_validate_json(self.archive.read(name))
            except ValidationError as error:
                self._complain(name, f"is no record: {error.errors()[0]['msg']}")
                continue
            if record.result.run_id != layout.run_id(name):
                self._complain(name, f"is of run {record.result.run_id}")
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
            self._complain(name, what)

    def predictions(self, run_id: str) -> Arrays | None:
        """The arrays of a run; None when it left none, or, with a complaint, none that can be read."""
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
        self.tell("tables")
        try:
            again = tables(results, self.predictions, index.columns)
        except UNCOUNTABLE as error:
            self._complain("tables", f"cannot be made from the records: {error}")
            return
        for name in sorted(set(again) | {one for one in names if one.startswith("tables/")}):
            self.report.tables += 1
            if name not in names or name not in again:
                self._complain(name, "is not there" if name not in names else "does not follow from the records")
                continue
            kept = self.archive.read(name).decode(errors="replace")
            what = first_difference(kept, again[name], numbers_may_move=name == RANKS)
            if what:
                self._complain(name, what)
