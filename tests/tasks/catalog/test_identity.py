"""Names, suites and result keys of the built-in catalog, unchanged since the first results were stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.spec import TaskSpec, result_key

BUILT_IN = TaskCatalog.load()
RECORDED: Any = json.loads((Path(__file__).parent / "data" / "built_in_tasks.json").read_text())
"""By task, in the order of the catalog, and preset: the first 16 digits of the key of `key_of`."""
SUITES: Any = json.loads((Path(__file__).parent / "data" / "built_in_suites.json").read_text())
"""By suite, in the order of the suite: task and variant."""
BACKBONE = {"weights": "0" * 64, "architecture": "resnet18", "pooling": "avg"}
MANIFEST = "1" * 64
DIGITS = 16
ADDED = {
    f"{protocol}/shapes-{factor}" for protocol in ("attention", "inversion") for factor in ("count", "digit", "texture")
}
"""Not in the recorded catalog, whose cards listed protocols by name: labelled images are all that these two need, and
the other datasets of rendered scenes had them already."""
DATASETS_ADDED = set(BUILT_IN.datasets) - {name.partition("/")[2] for name in RECORDED}
"""Datasets that came later have no recorded keys."""
PROTOCOLS_RECORDED = {name.partition("/")[0] for name in RECORDED}
"""Later protocols have no recorded keys."""


def key_of(task: TaskSpec) -> str:
    """Result key of an invented backbone on invented data of the dataset."""
    metric = BUILT_IN.dataset(task.dataset).metric
    return result_key(BACKBONE, MANIFEST, task, 0, metric=metric)[:DIGITS]


def test_the_built_in_tasks_are_the_recorded_ones_in_the_recorded_order_and_what_fits_besides() -> None:
    known = [name for name in BUILT_IN.task_names if name.partition("/")[2] not in DATASETS_ADDED]
    earlier = [name for name in known if name.partition("/")[0] in PROTOCOLS_RECORDED]
    assert [name for name in earlier if name not in ADDED] == list(RECORDED)
    assert set(BUILT_IN.task_names) >= ADDED


@pytest.mark.parametrize("name", RECORDED)
def test_a_built_in_task_keeps_its_result_keys_with_every_preset_that_was_recorded(name: str) -> None:
    assert {preset: key_of(BUILT_IN.resolve(name, preset)) for preset in RECORDED[name]} == RECORDED[name]


def test_the_suites_pick_the_recorded_tasks_in_the_recorded_variants() -> None:
    picked = {name: [[spec.name, spec.variant] for spec in BUILT_IN.select(suite=name)] for name in SUITES}
    assert picked == SUITES
