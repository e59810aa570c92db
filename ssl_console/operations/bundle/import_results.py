"""Import of a bundle's results into this workspace: verified first, equal keys joined, conflicts reported, the
origin recorded.

Only bundles in which everything agrees are imported. Nothing in one is executed: records, specifications and arrays are
data, and code that a specification names runs only if the user of this workspace has trusted it.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from backbones.io.errors import counted
from backbones.io.files import make_private_folder, write_atomically
from ssl_console.operations.bundle import archive as layout
from ssl_console.operations.bundle.archive import Archive, Index, NotABundle, digest
from ssl_console.operations.bundle.verify import Notify, Report, check
from ssl_console.planning.plan import new_run_id
from ssl_console.workspace.badges import IMPORTED, Badge
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.requests import touch_runs_folder
from ssl_console.workspace.result import RESULT_VERSION, ImportOrigin, Result, ResultRecord
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.run import RunSpec

Fate = Literal["new", "here", "conflict", "unusable"]
"""`here`: the workspace already has the same measurement with the same score."""
RELATIVE, ABSOLUTE = 1e-3, 1e-6
"""Tolerances for scores of one key that differ by rounding: other machines sum products in another order."""


class NotVerified(Exception):  # noqa: N818 - an answer, not a fault
    """The bundle is inconsistent; the report names the places."""

    def __init__(self, report: Report) -> None:
        self.report = report
        first = report.problems[0]
        count = counted(len(report.problems), "disagreement")
        super().__init__(f"{report.path}: {count}, the first: {first.file}: {first.what}; nothing was imported")


@dataclass(frozen=True)
class BundledResult:
    """One result of a bundle, and whether it is imported."""

    result: Result
    fate: Fate
    run_id: str
    """Its run id in this workspace; for a result that is not imported, the id of the existing run."""
    words: str = ""
    """Reason, unless it is new under its own id."""
    taken: bool = False
    """Whether it is, or would be, imported."""


@dataclass(frozen=True)
class Imported:
    """Summary of an import or dry run."""

    path: Path
    digest: str
    made_by: str
    results: tuple[BundledResult, ...]

    def of(self, fate: Fate) -> list[BundledResult]:
        """Results with this outcome."""
        return [one for one in self.results if one.fate == fate]


def import_bundle(
    path: Path, workspace: Workspace, notify: Notify, *, take_conflicting: bool = False, dry_run: bool = False
) -> Imported:
    """Verify a bundle and import its results into the workspace, each run completely or not at all.

    Raises:
        NotABundle: the file cannot be read, or it changed in the meantime.
        NotVerified: its content is inconsistent.
        StoreError, OSError: the workspace cannot be read or written.
    """
    report = check(path, notify)
    if not report.agrees:
        raise NotVerified(report)
    archive = Archive.open(path)
    try:
        members = _Members(archive, Index.model_validate_json(archive.read(layout.INDEX)))
        if archive.digest != report.digest:
            raise NotABundle(f"{path} changed while it was read: nothing was imported")
        known = ResultStore(workspace).results()
        found = tuple(_fates(members, _Here.of(workspace, known), take_conflicting=take_conflicting))
        imported = Imported(path, report.digest, members.index.made_by, found)
        if not dry_run:
            _write(workspace, members, imported)
    finally:
        archive.close()
    return imported


@dataclass(frozen=True)
class _Members:
    """Members of a verified bundle, each compared with its digest again when it is read."""

    archive: Archive
    index: Index

    def read(self, name: str) -> bytes:
        """Content of a member. Raises NotABundle for one that changed in the meantime."""
        content = self.archive.read(name)
        if digest(content) != self.index.files[name].sha256:
            raise NotABundle(f"{self.archive.path}: {name} changed while it was read: nothing more was imported")
        return content

    def records(self) -> Iterator[ResultRecord]:
        for name in sorted(self.index.files):
            if name.startswith("records/"):
                yield ResultRecord.model_validate_json(self.read(name))

    def spec(self, run_id: str) -> RunSpec | str:
        """The specification, or the reason why it cannot be used."""
        name = layout.spec(run_id)
        if name not in self.index.files:
            return "the bundle has no specification of its run"
        try:
            return RunSpec.model_validate_json(self.read(name))
        except ValidationError as error:
            return f"its specification cannot be read: {error.errors(include_url=False)[0]['msg']}"


@dataclass
class _Here:
    """Results by key, and the ids of all runs, including those to be imported."""

    by_key: dict[str, Result]
    taken: set[str]

    @classmethod
    def of(cls, workspace: Workspace, results: Sequence[Result]) -> _Here:
        by_key = {result.key: result for result in results}
        return cls(by_key, {folder.run_id for folder in workspace.run_folders()})

    def admit(self, result: Result) -> str:
        """Id under which the result is imported."""
        family = [name for name in self.taken if name.partition("-")[0] == result.key[:12]]
        run_id = new_run_id(result.key, family) if result.run_id in self.taken else result.run_id
        self.taken.add(run_id)
        self.by_key.setdefault(result.key, result)
        return run_id


def _fates(members: _Members, here: _Here, *, take_conflicting: bool) -> Iterator[BundledResult]:
    for record in members.records():
        result = record.result
        reason = _unusable(record, members.spec(result.run_id))
        other = here.by_key.get(result.key)
        if reason:
            yield BundledResult(result, "unusable", "", reason)
        elif other is None:
            run_id = here.admit(result)
            words = "" if run_id == result.run_id else f"its id belongs to another run here: imported as {run_id}"
            yield BundledResult(result, "new", run_id, words, taken=True)
        elif math.isclose(other.value, result.value, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            yield BundledResult(
                result, "here", other.run_id, f"the same measurement is already present as {other.run_id}"
            )
        else:
            run_id = here.admit(result) if take_conflicting else other.run_id
            words = (
                f"the same measurement (key {result.key[:12]}) gave {other.value:.2f} here ({other.run_id}) and "
                f"{result.value:.2f} there ({result.run_id})"
            )
            yield BundledResult(result, "conflict", run_id, words, taken=take_conflicting)


def _unusable(record: ResultRecord, spec: RunSpec | str) -> str:
    """Why a result cannot be imported; empty when it can."""
    result = record.result
    if record.version > RESULT_VERSION:
        return f"its record has version {record.version}, this program reads {RESULT_VERSION}: upgrade ssl-console"
    if result.source != "mine":
        return f"it declares its source as {result.source!r}, but a bundle only has measured results"
    if isinstance(spec, str):
        return spec
    named = (spec.run_id, spec.backbone.name, spec.task.name, spec.seed)
    if named != (result.run_id, result.backbone, result.task, result.seed):
        return f"its specification is of {spec.backbone.name} on {spec.task.name}, its record of another run"
    return ""


def _write(workspace: Workspace, members: _Members, imported: Imported) -> None:
    """Write run folders first, then their rows: a folder without a row is found by the supervisor or by `rebuild`."""
    workspace.create()
    taken = [one for one in imported.results if one.taken]
    rows = [_write_run(workspace.run(one.run_id), members, one, imported) for one in taken]
    ResultStore(workspace).add(rows)
    touch_runs_folder(workspace)


def _write_run(folder: RunFolder, members: _Members, one: BundledResult, imported: Imported) -> Result:
    """Write one run folder, which appears by one rename, and return its row. Raises OSError when the id was taken
    in the meantime.
    """
    there = one.result.run_id
    record = _with_origin(ResultRecord.model_validate_json(members.read(layout.record(there))), one, imported)
    spec = members.spec(there)
    assert isinstance(spec, RunSpec), "results without specification are unusable"
    hidden = make_private_folder(folder.path.with_name(f".{folder.run_id}.importing"))
    partial = RunFolder.at(hidden)
    renamed = spec.model_copy(update={"run_id": one.run_id})
    try:
        write_atomically(partial.spec, renamed.model_dump_json(indent=2).encode())
        if layout.predictions(there) in members.index.files:
            write_atomically(partial.predictions, members.read(layout.predictions(there)))
        write_atomically(partial.result, record.model_dump_json().encode())
        hidden.rename(folder.path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return record.result


def _with_origin(record: ResultRecord, one: BundledResult, imported: Imported) -> ResultRecord:
    """Record under its id in this workspace, with its bundle and a badge that travels with every score."""
    words = f"{imported.path.name}{f', measured on {record.host}' if record.host else ''}"
    origin = ImportOrigin(
        bundle=imported.path.name,
        sha256=imported.digest,
        run_id=one.result.run_id,
        made_by=imported.made_by,
        imported=time.time(),
    )
    advice = f"it was not measured here but imported from {words} (SHA-256 {imported.digest[:16]})"
    badge = Badge(name=IMPORTED, advice=advice)
    kept = tuple(badge for badge in record.badges if badge.name != IMPORTED)
    names = tuple(name for name in record.result.badges if name != IMPORTED)
    row = record.result.model_copy(update={"run_id": one.run_id, "origin": words, "badges": (*names, IMPORTED)})
    return record.model_copy(update={"result": row, "origin": origin, "badges": (*kept, badge)})
