"""Layer-wise features end to end: each image is encoded once for any number of tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backbones.catalog.layer_info import LayerRequest
from tasks.features.cache_report import entries
from tasks.features.manifest import layer_request_of
from tests.tasks.evaluation.test_evaluation import DIGITS, Bench, bench, photos  # noqa: F401 - fixtures

QUICK = {"linear-heads": {"steps": 2}}
HEADS = LayerRequest()


def test_a_task_on_layers_serves_the_tasks_on_pooled_features(bench: Bench, photos: Path) -> None:  # noqa: F811
    names = ["linear-heads", "knn", "few-shot-5"]
    overrides = {**QUICK, "few-shot": {"ways": 2, "episodes": 5}}
    encoded = [bench.run(f"{name}/imagefolder:{photos}", overrides=overrides).provenance.encoded for name in names]
    assert encoded == [60, 0, 0]
    assert sum(bench.cache.batches) == 60


def test_a_pooled_task_stores_the_layers_that_its_launch_asks_for(bench: Bench, photos: Path) -> None:  # noqa: F811
    bench.paths = replace(bench.paths, store_layers=(HEADS,))
    first = bench.run(f"knn/imagefolder:{photos}").provenance.encoded
    second = bench.run(f"linear-heads/imagefolder:{photos}", overrides=QUICK).provenance.encoded
    assert (first, second, sum(bench.cache.batches)) == (60, 0, 60)


def test_features_that_were_stored_without_layers_stay_in_use(bench: Bench, photos: Path) -> None:  # noqa: F811
    bench.run(f"knn/imagefolder:{photos}")
    bench.run(f"linear-heads/imagefolder:{photos}", overrides=QUICK)
    stored = entries(bench.paths.features)
    kinds = [layer_request_of(entry.plan.parts) for entry in stored if entry.plan]
    assert sorted(map(str, kinds)) == sorted(map(str, [None, HEADS]))


def test_pooled_features_and_their_scores_are_the_same_with_and_without_layers(
    bench: Bench,  # noqa: F811
    tmp_path: Path,
    photos: Path,  # noqa: F811
) -> None:
    alone = bench.run(f"knn/imagefolder:{photos}").outcome
    bench.paths = replace(bench.paths, features=tmp_path / "other", store_layers=(HEADS,))
    together = bench.run(f"knn/imagefolder:{photos}").outcome
    assert alone.metrics == together.metrics


@pytest.mark.parametrize("count", [DIGITS])
def test_digits_are_encoded_once_for_all_tasks_that_need_no_second_encoding(bench: Bench, count: int) -> None:  # noqa: F811
    bench.paths = replace(bench.paths, store_layers=(HEADS,))
    for name in ("knn", "linear-heads", "few-shot-5"):
        bench.run(f"{name}/digits", overrides=QUICK)
    assert sum(bench.cache.batches) == count
