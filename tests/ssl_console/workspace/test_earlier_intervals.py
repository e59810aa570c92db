"""A workspace of an earlier version: its records are unchanged, and displayed intervals are valid or marked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ssl_console.operations.bundle.verify import check_record
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import ResultStore
from tasks.metrics.confidence_intervals import bootstrap_mean_per_class

Arrays = dict[str, npt.NDArray[np.generic]]


def earlier(
    workspace: Workspace, task: str, metric: str, method: str, arrays: Arrays | None, **given: object
) -> Result:
    """A result written by earlier versions: the row has no method."""
    row: dict[str, object] = {
        "run_id": f"run-{task.replace('/', '-')}", "key": "k", "backbone": "b", "task": task, "column": "c", "seed": 0,
        "metric": metric, "value": 100.0, "ci_low": 100.0, "ci_high": 100.0, "n": 20, "finished": 1.0,
        "duration_s": 1.0, **given,
    }  # fmt: skip
    record = ResultRecord.model_validate(
        {
            "result": row,
            "metrics": {metric: row["value"]},
            "interval_method": method,
            "samples": {"pool": 900, "episodes": 600},
            "diagnostics": {"episode_deviation": 8.0},
            "parameters": {"ways": 5, "shots": 5, "queries": 15},
        }
    )
    folder = workspace.run(record.result.run_id)
    folder.path.mkdir(parents=True)
    folder.result.write_text(record.model_dump_json(exclude={"result": {"interval_method"}}))
    if arrays is not None:
        np.savez(folder.predictions, **arrays)  # type: ignore[arg-type]
    ResultStore(workspace).add([record.result])
    return record.result


def all_right() -> Arrays:
    label = np.repeat(np.arange(5), 4)
    return {"index": np.arange(20), "label": label, "predicted": label}


def test_intervals_of_mean_per_class_accuracy_are_counted_again(workspace: Workspace) -> None:
    earlier(workspace, "linear/pets", "mean-per-class", "bootstrap", all_right())
    (shown,) = ResultStore(workspace).results()
    assert shown.ci_low < 90
    assert shown.ci_high == 100
    assert shown.interval_method == "wilson, effective size"
    assert shown.badges == ()


def test_intervals_of_mean_average_precision_of_few_images_are_counted_again(workspace: Workspace) -> None:
    generator = np.random.default_rng(0)
    label = (generator.random((40, 3)) < 0.3).astype(np.int64)
    arrays: Arrays = {"index": np.arange(40), "label": label, "scores": label + generator.standard_normal(label.shape)}
    earlier(workspace, "linear/few", "map11", "halves, extrapolated", arrays, n=40)
    earlier(workspace, "linear/many", "map11", "halves, extrapolated", arrays, n=4000, value=70.0)
    few, many = ResultStore(workspace).results()
    assert few.interval_method == "halves, log-odds"
    assert (many.ci_low, many.interval_method) == (100.0, "")


def test_without_predictions_the_old_interval_is_marked(workspace: Workspace) -> None:
    earlier(workspace, "linear/pets", "mean-per-class", "bootstrap", None)
    (shown,) = ResultStore(workspace).results()
    assert shown.badges == ("old interval",)


def test_episodes_that_share_images_are_not_counted_as_samples(workspace: Workspace) -> None:
    episodes: Arrays = {"accuracy": np.full(600, 70.0), "classes": np.zeros((600, 5), np.int32)}
    given = {"value": 70.0, "ci_low": 69.4, "ci_high": 70.6, "n": 600}
    earlier(workspace, "few-shot-5/things", "accuracy", "normal over episodes", episodes, **given)
    (shown,) = ResultStore(workspace).results()
    assert shown.ci_high - shown.value == pytest.approx(1.96 * 8 / np.sqrt(9), abs=1e-3)
    assert shown.interval_method == "normal over episodes without a common image"


def test_the_record_and_the_database_keep_what_was_measured(workspace: Workspace) -> None:
    measured = earlier(workspace, "linear/pets", "mean-per-class", "bootstrap", all_right())
    ResultStore(workspace).results()
    assert ResultStore(workspace).rows() == [measured]
    record = ResultRecord.model_validate_json(workspace.run(measured.run_id).result.read_bytes())
    assert record.result == measured


def test_other_results_are_as_they_were(workspace: Workspace) -> None:
    measured = earlier(workspace, "linear/dtd", "accuracy", "wilson", all_right())
    assert ResultStore(workspace).results() == [measured]


@pytest.mark.parametrize("off", [0.0, 3.0])
def test_verify_counts_an_earlier_interval_by_its_own_method(workspace: Workspace, off: float) -> None:
    label = np.repeat(np.arange(5), 100)
    predicted = np.where(np.arange(500) % 10 == 0, (label + 1) % 5, label)
    arrays: Arrays = {"index": np.arange(500), "label": label, "predicted": predicted}
    then = bootstrap_mean_per_class(predicted, label, 5)
    given = {"value": 90.0, "ci_low": then.low - off, "ci_high": then.high, "n": 500}
    measured = earlier(workspace, "linear/pets", "mean-per-class", "bootstrap", arrays, **given)
    record = ResultRecord.model_validate_json(workspace.run(measured.run_id).result.read_bytes())
    complaints = [one for one in check_record(record, arrays).problems if one.startswith("ci_")]
    assert len(complaints) == (off > 0)
