"""The published tables yield the same ranks, ties and correlations as before (see golden/README.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ssl_console.analysis.statistics.golden.analysis import FILE, analysis

STEP = 0.0021
"""Two replicates of a thousand may differ on another machine."""


@pytest.fixture(scope="module")
def now() -> Any:
    return analysis()


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads(FILE.read_text())


def test_correlations_are_those_of_the_golden_file(now: Any, golden: Any) -> None:
    assert now["correlations"].keys() == golden["correlations"].keys()
    for name, association in golden["correlations"].items():
        for kind in ("pearson", "spearman"):
            assert now["correlations"][name][kind] == pytest.approx(association[kind], abs=0.002), name


def test_rank_intervals_are_those_of_the_golden_file(now: Any, golden: Any) -> None:
    assert now["ranks"].keys() == golden["ranks"].keys()
    for name, rows in golden["ranks"].items():
        for row, before in zip(now["ranks"][name], rows, strict=True):
            assert row == {**before, "first": pytest.approx(before["first"], abs=STEP)}, name


def test_critical_differences_are_those_of_the_golden_file(now: Any, golden: Any) -> None:
    assert now["critical_difference"] == pytest.approx(golden["critical_difference"], abs=0.002)


def test_the_first_place_is_settled_in_linear_and_shared_by_three_in_few_shot(golden: Any) -> None:
    best = golden["ranks"]["linear"][0]
    assert (best["backbone"], best["low"], best["high"]) == ("paper/deepcluster-v2", 1.0, 1.0)
    tied = {row["backbone"] for row in golden["ranks"]["few-shot"] if row["group"] == 1}
    assert tied == {"paper/deepcluster-v2", "paper/byol", "paper/supervised"}
