from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssl_console.analysis.ranking_cell import seed_spread
from ssl_console.analysis.result_diff import difference, flips
from ssl_console.workspace.result import Code, Result, ResultRecord


def record(run_id: str = "one", value: float = 60.0, task: str = "linear/x", **given: Any) -> ResultRecord:
    result = Result(
        run_id=run_id, key="k", backbone="b", task=task, column="c", seed=given.pop("seed", 0), metric="accuracy",
        value=value, ci_low=value - 3, ci_high=value + 3, n=100, finished=1.0, duration_s=1.0,
    )  # fmt: skip
    basic: dict[str, Any] = {
        "metrics": {"accuracy": value},
        "interval_method": "wilson",
        "samples": {"test": 100},
        "identity": {"backbone": {"weights": "a", "preprocessing": {"size": 224}}, "data": {"manifest": "m"}},
        "versions": {"torch": "1"},
        "code": Code(digest="d", commit="c", dirty=False),
    }
    return ResultRecord.model_validate({"result": result, **basic, **given})


def test_a_change_of_weights_is_named_and_counted_among_what_changes_the_number() -> None:
    other = record("two", 62.0, identity={**record().identity, "backbone": {"weights": "z"}})
    found = difference(record(), other)
    assert {change.name for change in found.of("made of")} == {"backbone.weights", "backbone.preprocessing.size"}
    assert found.sentence.startswith("From one to two the score changes by +2.00 points: ")
    assert "the weights changed" in found.sentence


def test_the_same_measurement_with_another_number_blames_what_ran_it() -> None:
    found = difference(record(), record("two", 60.5, versions={"torch": "2"}))
    assert found.same_key
    assert "though it is the same measurement" in found.sentence
    assert found.sentence.endswith("Other differences: versions.torch.")


def test_changed_code_is_named() -> None:
    found = difference(record(), record("two", code=Code(digest="e", commit="c", dirty=True)))
    assert [change.name for change in found.of("run by")] == ["code.digest", "code.dirty"]


def test_equal_results_differ_in_nothing() -> None:
    found = difference(record(), record("two"))
    assert found.changes == ()
    assert "the same measurement gave the same scores" in found.sentence


def test_other_tasks_are_other_measurements() -> None:
    assert (
        "the measurement differs: linear/x against knn/x" in difference(record(), record("two", task="knn/x")).sentence
    )


def test_flips_are_counted_over_the_same_samples_only() -> None:
    label, predicted = np.arange(6), np.array([0, 1, 2, 0, 0, 0])
    one = {"index": np.arange(6), "label": label, "predicted": predicted}
    other = {**one, "predicted": np.array([0, 1, 2, 3, 0, 0])}
    found = flips(one, other)
    assert found is not None
    assert (found.differing, found.samples) == (1, 6)
    assert flips(one, {**other, "index": np.arange(6) + 1}) is None
    assert flips(one, None) is None


def test_flips_of_several_labels_count_images() -> None:
    one = {"label": np.zeros((3, 2)), "scores": np.zeros((3, 2))}
    other = {**one, "scores": np.array([[0, 0], [1, 1], [0, 2.0]])}
    found = flips(one, other)
    assert found is not None
    assert found.differing == 2


def test_the_spread_over_seeds_stands_apart() -> None:
    results = [record(str(seed), value, seed=seed).result for seed, value in enumerate((60.0, 62.0, 64.0))]
    found = seed_spread(results[0], results)
    assert found is not None
    assert (found.mean, len(found.values)) == (62.0, 3)
    assert found.deviation == pytest.approx(2.0)
    assert seed_spread(results[0], results[:1]) is None
