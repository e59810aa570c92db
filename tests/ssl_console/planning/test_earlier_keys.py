"""Results with name-based keys join the content-based keys if no file changed; otherwise they are marked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from backbones.io.file_digests import canonical
from ssl_console.planning.earlier_keys import MARK, settle_earlier_results
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import ResultStore, rebuild
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.spec import comparability_key, result_identity, result_key
from tasks.datasets.manifest import Manifest, manifest_of
from tasks.datasets.registry import open_dataset

TASKS = TaskCatalog.load()
BACKBONE = {"weights": "0" * 64}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Of a dataset of four images that changed 1,000 seconds after the epoch."""
    for kind in ("cat", "dog"):
        for number in range(2):
            path = tmp_path / "data" / kind / f"{number}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    card = TASKS.dataset(f"imagefolder:{tmp_path / 'data'}")
    return manifest_of(open_dataset(card, tmp_path), card, newest_change=1000.0)


def measured_earlier(workspace: Workspace, manifest: Manifest, *, begun: float) -> ResultRecord:
    """Files of a run by an earlier version on the dataset."""
    task = TASKS.resolve(f"linear/{manifest.name}")
    about = (BACKBONE, manifest.named_digest, task, 0)
    row = Result(
        run_id=result_key(*about)[:12],
        key=result_key(*about),
        backbone="some/backbone",
        task=task.name,
        column=comparability_key(manifest.named_digest, task),
        seed=0,
        metric="accuracy",
        value=80.0,
        ci_low=70.0,
        ci_high=90.0,
        n=4,
        finished=begun + 10,
        duration_s=10.0,
    )
    old = ResultRecord(
        result=row, metrics={"accuracy": 80.0}, interval_method="wilson", samples={}, identity=result_identity(*about)
    )
    folder = workspace.run(row.run_id)
    folder.path.mkdir(parents=True)
    folder.result.write_text(old.model_dump_json())
    ResultStore(workspace).add([row])
    return old


def settle(workspace: Workspace, manifest: Manifest) -> int:
    return settle_earlier_results(workspace, [manifest], lambda task: task.partition("/")[2])


def test_a_result_joins_the_key_of_content_where_every_file_is_older_than_its_run(
    workspace: Workspace, manifest: Manifest
) -> None:
    old = measured_earlier(workspace, manifest, begun=2000.0)
    assert settle(workspace, manifest) == 1
    task = TASKS.resolve(f"linear/{manifest.name}")
    (row,) = ResultStore(workspace).results()
    assert row.key == result_key(BACKBONE, manifest.digest, task, 0) != old.result.key
    assert row.column == comparability_key(manifest.digest, task)
    assert (row.value, row.badges, row.identified_by) == (old.result.value, (), "content")
    record = ResultRecord.model_validate_json(workspace.run(row.run_id).result.read_bytes())
    assert hashlib.sha256(canonical(record.identity)).hexdigest() == row.key
    assert record.earlier_identity == old.identity, "what it was measured as is kept"
    assert rebuild(workspace) == 1
    assert ResultStore(workspace).results() == [row], "also where the database is made again"
    assert settle(workspace, manifest) == 0, "once"


def test_a_result_is_marked_where_a_file_changed_after_its_run_began(workspace: Workspace, manifest: Manifest) -> None:
    old = measured_earlier(workspace, manifest, begun=995.0)
    assert settle(workspace, manifest) == 1
    (row,) = ResultStore(workspace).results()
    assert (row.key, row.column, row.badges) == (old.result.key, old.result.column, (MARK,))
    record = ResultRecord.model_validate_json(workspace.run(row.run_id).result.read_bytes())
    assert "measure again" in record.badges[0].advice
    assert settle(workspace, manifest) == 0, "once"


def test_a_result_is_marked_where_images_are_read_in_another_way_than_then(
    workspace: Workspace, manifest: Manifest
) -> None:
    measured_earlier(workspace, manifest, begun=2000.0)
    settle(workspace, manifest.model_copy(update={"named_digest": "another"}))
    assert ResultStore(workspace).results()[0].badges == (MARK,)


def test_a_result_on_data_without_files_keeps_its_key(workspace: Workspace, manifest: Manifest) -> None:
    arrays = manifest.model_copy(update={"digest": manifest.named_digest, "newest_change": 0.0})
    old = measured_earlier(workspace, arrays, begun=5.0)
    settle(workspace, arrays)
    (row,) = ResultStore(workspace).results()
    assert (row.key, row.column, row.badges) == (old.result.key, old.result.column, ())
