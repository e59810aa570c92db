"""Listing, explaining and pruning the feature store, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones.io.file_locks import exclusive
from backbones.io.files import write_durably
from tasks.features.cache_report import Pruning, entries, prune, to_prune, why
from tasks.features.manifest import ARRAY, MANIFEST, PLAN, SHARDS, USED, ExtractionPlan, FeatureKey, FeatureManifest
from tasks.features.shards import join, write_shard

DAY = 86400.0


def key(**changed: Any) -> FeatureKey:
    backbone = {"weights": "a" * 64, "pooling": "avg", "preprocessing": {"name": "paper", "size": 224}}
    parts: dict[str, Any] = {"backbone": backbone, "images": "1" * 64, "precision": "float32"}
    return FeatureKey(**{**parts, **changed})


def backbone(**changed: Any) -> dict[str, Any]:
    return {**key().backbone, **changed}


def plan(wanted: FeatureKey, dataset: str) -> ExtractionPlan:
    return ExtractionPlan(
        key=wanted.digest,
        parts=wanted.parts,
        backbone="paper/simclr",
        dataset=dataset,
        split="train",
        rows=4,
        created=1.0,
    )


def store(root: Path, wanted: FeatureKey, dataset: str = "digits") -> Path:
    """A complete entry of 4 rows, written by the store's functions."""
    folder = root / wanted.digest
    (folder / SHARDS).mkdir(parents=True)
    shard = write_shard(folder / SHARDS, 0, np.ones((4, 8), np.float32))
    size = join(folder / SHARDS, [shard], folder / ARRAY, 8)
    made = plan(wanted, dataset).model_dump()
    manifest = FeatureManifest(**made, dimension=8, shards=(shard,), images_per_s=10.0, array_bytes=size)
    write_durably(folder / MANIFEST, [manifest.model_dump_json().encode()])
    return folder


def begin(root: Path, wanted: FeatureKey) -> Path:
    folder = root / f"{wanted.digest}.partial"
    (folder / SHARDS).mkdir(parents=True)
    write_durably(folder / PLAN, [plan(wanted, "digits").model_dump_json().encode()])
    return folder


def test_the_catalog_needs_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, tasks.features.cache_report, tasks.catalog.spec; print({'torch', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"


def test_an_absent_store_is_empty(tmp_path: Path) -> None:
    assert entries(tmp_path / "features") == []
    assert "never been encoded" in why(tmp_path / "features", key()).sentence


def test_entries_say_what_they_hold_and_how_large_they_are(tmp_path: Path) -> None:
    folder = store(tmp_path, key())
    begin(tmp_path, key(images="2" * 64))
    by_state = {entry.state: entry for entry in entries(tmp_path)}
    assert set(by_state) == {"complete", "partial"}
    assert by_state["complete"].title == "paper/simclr on digits/train"
    assert by_state["complete"].size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_an_entry_without_a_readable_manifest_is_damaged(tmp_path: Path) -> None:
    folder = store(tmp_path, key())
    (folder / MANIFEST).write_text("{")
    assert [entry.state for entry in entries(tmp_path)] == ["damaged"]


def test_a_stored_key_is_explained_as_stored(tmp_path: Path) -> None:
    store(tmp_path, key())
    explanation = why(tmp_path, key())
    assert explanation.stored
    assert explanation.sentence.startswith("stored: paper/simclr on digits/train")


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        (key(backbone=backbone(weights="b" * 64)), "backbone.weights"),
        (key(backbone=backbone(pooling="cls")), "backbone.pooling"),
        (key(backbone=backbone(preprocessing={"name": "own", "size": 224})), "backbone.preprocessing.name"),
        (key(images="3" * 64), "images"),
        (key(precision="bfloat16"), "precision"),
    ],
)
def test_a_miss_names_exactly_the_part_that_changed(tmp_path: Path, wanted: FeatureKey, part: str) -> None:
    store(tmp_path, key())
    explanation = why(tmp_path, wanted)
    assert not explanation.stored
    assert [difference.part for difference in explanation.differences] == [part]
    assert part in explanation.sentence


def test_the_nearest_of_several_entries_is_compared(tmp_path: Path) -> None:
    store(tmp_path, key(backbone=backbone(weights="b" * 64, pooling="cls")))
    near = store(tmp_path, key(precision="bfloat16"))
    assert why(tmp_path, key()).nearest == next(entry for entry in entries(tmp_path) if entry.path == near)


def test_a_part_that_one_side_lacks_is_a_difference(tmp_path: Path) -> None:
    store(tmp_path, key())
    (difference,) = why(tmp_path, key(backbone=backbone(padding="same"))).differences
    assert (difference.part, difference.wanted, difference.stored) == ("backbone.padding", "same", None)


def test_an_unfinished_entry_is_explained_as_such(tmp_path: Path) -> None:
    begin(tmp_path, key())
    explanation = why(tmp_path, key())
    assert not explanation.stored
    assert "begun but not finished" in explanation.sentence


def test_unrelated_entries_explain_nothing(tmp_path: Path) -> None:
    store(tmp_path, key(backbone=backbone(weights="b" * 64), images="9" * 64))
    assert why(tmp_path, key()).nearest is None


def test_pruning_by_age_goes_by_the_last_use(tmp_path: Path) -> None:
    folder = store(tmp_path, key())
    (folder / USED).touch()
    used = entries(tmp_path)[0].last_used
    assert prune(tmp_path, Pruning(unused_for_s=3 * DAY), now=used + 2 * DAY) == []
    (removal,) = prune(tmp_path, Pruning(unused_for_s=3 * DAY), now=used + 4 * DAY)
    assert removal.reason == "not used for 4 days"
    assert entries(tmp_path) == []


def test_pruning_by_size_keeps_the_last_used_entries_within_the_limit(tmp_path: Path) -> None:
    for number in range(4):
        store(tmp_path, key(images=f"{number}" * 64))
    newest_first = entries(tmp_path)
    limit = newest_first[0].size + newest_first[1].size
    prune(tmp_path, Pruning(keep_bytes=limit), now=0.0)
    assert {entry.key for entry in entries(tmp_path)} == {entry.key for entry in newest_first[:2]}


def test_orphans_and_partials_go_only_when_asked_and_damaged_ones_always(tmp_path: Path) -> None:
    kept = store(tmp_path, key())
    orphan = store(tmp_path, key(images="2" * 64), dataset="gone")
    partial = begin(tmp_path, key(images="3" * 64))
    damaged = store(tmp_path, key(images="4" * 64))
    (damaged / MANIFEST).unlink()
    assert {r.entry.path for r in to_prune(entries(tmp_path), Pruning(), now=0.0)} == {damaged}
    policy = Pruning(partials=True, orphan=lambda plan: plan.dataset == "gone")
    assert {removal.entry.path for removal in prune(tmp_path, policy, now=0.0)} == {orphan, partial, damaged}
    assert [entry.path for entry in entries(tmp_path)] == [kept]


def test_an_entry_that_a_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    partial = begin(tmp_path, key())
    with exclusive(tmp_path / f"{key().digest}.lock", lambda: None):
        assert prune(tmp_path, Pruning(partials=True), now=0.0) == []
    assert partial.exists()
    assert len(prune(tmp_path, Pruning(partials=True), now=0.0)) == 1
