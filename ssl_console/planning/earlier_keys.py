"""Results whose keys identify the data by names and sizes of files: moved to content-based keys where safe, else
marked.

Earlier versions could not detect a changed file under the same name. Such a result is moved to the present key if no
file or folder of the dataset changed since the run began and its images are read as they were then, or if images that
were encoded again gave the features that the run used (`tasks.features.earlier_entries`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from backbones.io.file_digests import canonical
from backbones.io.files import write_atomically
from ssl_console.workspace.badges import Badge
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.records import with_values
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import ResultStore, StoreError
from tasks.datasets.manifest import Manifest
from tasks.features.manifest import DamagedEntryError, FeatureKey, read_manifest

MARK = "names only"
WORDS = (
    "measured when data were identified by the names and sizes of files, and files have changed or are read "
    "differently since: the same name may now refer to other images; measure again"
)


def settle_earlier_results(
    workspace: Workspace, manifests: Iterable[Manifest], dataset_of: Callable[[str], str]
) -> int:
    """Move or mark the results of earlier versions on these datasets; return their number.

    `dataset_of` gives a task's dataset by the task's name. What cannot be written now is left for the next call. A
    marked result is checked again: its features may have been compared since.
    """
    by_name: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        by_name.setdefault(manifest.name, []).append(manifest)
    try:
        changed = [
            record
            for row in ResultStore(workspace).results()
            if not row.identified_by and (found := by_name.get(dataset_of(row.task)))
            if (record := _settled(workspace, row, found)) is not None
        ]
        for record in changed:
            write_atomically(workspace.run(record.result.run_id).result, record.model_dump_json().encode())
        if changed:
            ResultStore(workspace).replace(record.result for record in changed)
    except (OSError, StoreError):
        return 0
    return len(changed)


def with_unsettled_marks(
    results: Sequence[Result], has_files: Callable[[str], bool], marked: dict[str, tuple[Result, Result]]
) -> list[Result]:
    """The results, with the mark on those of earlier versions that have not been compared with their data yet.

    `has_files` returns, for a task's name, whether its dataset consists of files. `marked` caches the marked results by
    run, so that an unchanged result is the same object each time.
    """
    shown = []
    for row in results:
        if row.source != "mine" or row.identified_by or MARK in row.badges:
            shown.append(row)
            continue
        if marked.get(row.run_id, (None, row))[0] is not row:
            changed = with_values(row, badges=(*row.badges, MARK)) if has_files(row.task) else row
            marked[row.run_id] = (row, changed)
        shown.append(marked[row.run_id][1])
    return shown


def settled_record(
    record: ResultRecord,
    manifests: Iterable[Manifest],
    same_features: Callable[[ResultRecord, Manifest], bool] = lambda _record, _manifest: False,
) -> ResultRecord:
    """The record with the content-based key, or with its mark. `manifests` are those of its dataset, in all readings.

    `same_features` returns whether the features that the record's run used match today's images.
    """
    data = cast("Mapping[str, Any]", record.identity.get("data", {}))
    digest = data.get("manifest")
    known = tuple(manifests)
    if any(digest == manifest.digest for manifest in known):
        return _with_result(record, identified_by="content")
    begun = record.result.finished - record.result.duration_s
    alike = [one for one in known if one.named_digest == digest]
    joined = next((one for one in alike if one.newest_change < begun or same_features(record, one)), None)
    if joined is None and any(badge.name == MARK for badge in record.badges):
        return record
    if joined is None:
        badges = (*record.badges, Badge(name=MARK, advice=WORDS))
        marked = record.model_copy(update={"badges": badges})
        return _with_result(marked, badges=tuple(badge.name for badge in badges))
    identity = {**record.identity, "data": {**data, "manifest": joined.digest}}
    column = {"data": identity["data"], "task": identity["task"]}
    badges = tuple(badge for badge in record.badges if badge.name != MARK)
    moved = record.model_copy(update={"identity": identity, "earlier_identity": record.identity, "badges": badges})
    return _with_result(
        moved,
        key=_digest(identity),
        column=_digest(column),
        identified_by="content",
        badges=tuple(badge.name for badge in badges),
    )


def same_features(features: Path, record: ResultRecord, manifest: Manifest) -> bool:
    """Whether the features of every split that the record's run used match today's images."""
    backbone, precision = record.identity.get("backbone"), record.identity.get("precision")
    if not isinstance(backbone, dict):
        return False
    for facts in manifest.splits.values():
        key = FeatureKey(backbone, facts.images_digest, str(precision))
        try:
            entry = read_manifest(features / key.digest)
        except (OSError, DamagedEntryError):
            return False
        if not entry.earlier_key or entry.created > record.result.finished:
            return False
    return True


def _settled(workspace: Workspace, row: Result, manifests: Iterable[Manifest]) -> ResultRecord | None:
    try:
        record = ResultRecord.model_validate_json(workspace.run(row.run_id).result.read_bytes())
    except (OSError, ValidationError):
        return None
    settled = settled_record(record, manifests, partial(same_features, workspace.features))
    return settled if settled != record else None


def _with_result(record: ResultRecord, **changes: object) -> ResultRecord:
    return record.model_copy(update={"result": record.result.model_copy(update=changes)})


def _digest(parts: object) -> str:
    return hashlib.sha256(canonical(parts)).hexdigest()
