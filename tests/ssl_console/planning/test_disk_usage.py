"""Disk usage of a launch is estimated from that of earlier runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from backbones.catalog.layer_info import LayerRequest
from ssl_console.planning.disk_usage import StoredFeatures, disk_for
from ssl_console.planning.plan import Candidate
from ssl_console.workspace.paths import Workspace
from tasks.features.cache_report import CacheEntry
from tasks.features.manifest import ExtractionPlan, FeatureKey
from tests.ssl_console.tui.filled import finish, spec


def entry(backbone: str, dataset: str, split: str, rows: int, size: int) -> CacheEntry:
    plan = ExtractionPlan(key="k", parts={}, backbone=backbone, dataset=dataset, split=split, rows=rows, created=0.0)
    return CacheEntry(Path("k"), "complete", plan, size, 0.0)


STORED = StoredFeatures.of(
    [
        entry("small", "digits", "train", 900, 900 * 100),
        entry("small", "digits", "test", 100, 100 * 100),
        entry("large", "digits", "train", 900, 900 * 400),
        entry("large", "shapes", "train", 50, 50 * 400),
    ]
)


def test_features_that_are_there_take_nothing_more() -> None:
    assert STORED.bytes_for("small", "digits") == 0


def test_features_take_the_backbones_bytes_for_every_image_of_the_dataset() -> None:
    assert STORED.bytes_for("small", "shapes") == 50 * 100


def test_a_backbone_that_is_new_here_is_taken_for_a_usual_one() -> None:
    assert STORED.bytes_for("new", "digits") == 1000 * 250


def test_a_dataset_that_is_new_here_is_unknown_not_nothing() -> None:
    assert STORED.bytes_for("small", "birds") is None


def candidate(backbone: str, task: str) -> Candidate:
    made = spec("r", backbone, task)
    return Candidate(made.backbone, made.task, made.dataset, 0, "key")


def test_run_folders_count_as_those_of_the_protocol_did(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w").create()
    left = finish(workspace, "aaaaaaaaaaaa", "demo/mae", "detection-frozen/voc07")
    size = sum(path.stat().st_size for path in (workspace.runs / left.run_id).iterdir())
    disk = disk_for(workspace, [candidate("demo/random", "detection-frozen/voc07")] * 3, [left])
    assert disk.needed == 3 * size
    assert disk.enough
    assert abs(disk.free - shutil.disk_usage(tmp_path).free) < 1e9


def test_what_was_never_measured_here_is_unknown(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "not-there-yet")
    assert disk_for(workspace, [candidate("demo/mae", "linear/digits")], []).needed is None


def test_nothing_to_run_needs_nothing(tmp_path: Path) -> None:
    assert disk_for(Workspace(tmp_path), [], []).needed == 0


HALF = LayerRequest()


def layered(backbone: str, task: str) -> Candidate:
    return replace(candidate(backbone, task), layers=HALF, layer_bytes=5_000)


def test_layer_wise_features_are_stated_before_anything_was_measured_and_once_for_all_tasks(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "not-there-yet")
    disk = disk_for(workspace, [layered("demo/mae", "linear-heads/digits")] * 2, [])
    assert (disk.needed, disk.layers) == (None, 5_000)


def test_layer_wise_features_that_are_stored_take_nothing_more_and_no_pooled_ones_stand_for_them() -> None:
    parts = FeatureKey({}, "1" * 64, conditions=HALF.conditions).parts
    plan = ExtractionPlan(key="k", parts=parts, backbone="small", dataset="digits", split="train", rows=900)
    stored = StoredFeatures.of([CacheEntry(Path("k"), "complete", plan, 9_000, 0.0)])
    assert stored.layers == {("small", "digits", HALF)}
    assert stored.bytes_for("small", "digits") is None
