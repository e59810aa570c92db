from __future__ import annotations

import hashlib

import numpy as np
import pytest

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import rebuild
from tests.ssl_console.cli.shell import Shell

IMAGES = 500


def leave(workspace: Workspace, backbone: str, task: str, share: float, manifest: str = "1", **given: object) -> str:
    """A finished run folder: the first `share` of the images is correct."""
    run_id = hashlib.sha256(f"{backbone} {task} {manifest}".encode()).hexdigest()[:12]
    labels = np.arange(IMAGES) % 10
    predicted = np.where(np.arange(IMAGES) < share * IMAGES, labels, (labels + 1) % 10)
    value = 100 * float(np.mean(predicted == labels))
    basic: dict[str, object] = {
        "run_id": run_id, "key": run_id, "backbone": backbone, "task": task, "column": f"{task}{manifest}", "seed": 0,
        "metric": "accuracy", "value": value, "ci_low": value - 2, "ci_high": value + 2, "n": IMAGES,
        "finished": 1.0, "duration_s": 1.0,
    }  # fmt: skip
    folder = workspace.run(run_id)
    folder.path.mkdir()
    record = ResultRecord(
        result=Result.model_validate({**basic, **given}),
        metrics={"accuracy": value},
        interval_method="wilson",
        samples={"test": IMAGES},
        identity={"data": {"manifest": manifest}, "backbone": {"weights": backbone}, "seed": 0},
    )
    folder.result.write_text(record.model_dump_json())
    np.savez(folder.predictions, index=np.arange(IMAGES), label=labels, predicted=predicted)
    rebuild(workspace)
    return run_id


@pytest.fixture
def measured(workspace: Workspace, shell: Shell) -> Shell:
    for task, ours, theirs in (("echo/things", 0.9, 0.8), ("echo/others", 0.7, 0.7)):
        leave(workspace, "own/first", task, ours)
        leave(workspace, "own/second", task, theirs)
    return shell


def test_compare_gives_a_test_for_every_task_and_a_sentence(measured: Shell) -> None:
    document = measured("compare", "own/first", "own/second", "--json").document
    others, things = document["tasks"]
    assert (things["task"], things["difference"], things["verdict"]) == ("echo/things", pytest.approx(10), "better")
    assert things["ci_low"] < 10 < things["ci_high"]
    assert (things["method"], things["n"]) == ("McNemar, mid-p", IMAGES)
    assert (others["verdict"], others["p_holm"]) == ("alike", 1.0)
    assert document["across"]["tasks"] == 2
    assert document["sentence"].startswith("own/first is better than own/second on 1 of 2 tasks")


def test_compare_prints_a_table_and_the_sentence(measured: Shell) -> None:
    finished = measured("compare", "own/first", "own/second")
    assert finished.code == 0
    assert "+10.00" in finished.out
    assert "cannot tell" in finished.out or "equal within" in finished.out
    assert "own/first is better than own/second on 1 of 2 tasks" in finished.out


def test_compare_keeps_to_the_tasks_of_a_suite(measured: Shell, workspace: Workspace) -> None:
    leave(workspace, "own/first", "linear/digits", 0.9)
    leave(workspace, "own/second", "linear/digits", 0.8)
    document = measured("compare", "own/first", "own/second", "--suite", "both", "--json").document
    assert {task["task"] for task in document["tasks"]} == {"echo/things", "echo/others"}


def test_compare_refuses_results_on_different_data_and_says_so(shell: Shell, workspace: Workspace) -> None:
    leave(workspace, "own/first", "echo/things", 0.9, manifest="1")
    leave(workspace, "own/second", "echo/things", 0.8, manifest="2")
    finished = shell("compare", "own/first", "own/second")
    assert (finished.code, finished.out) == (2, "")
    assert "the dataset changed" in finished.err


def test_compare_suggests_the_backbone_that_was_meant(measured: Shell) -> None:
    finished = measured("compare", "own/first", "own/secnd")
    assert finished.code == 2
    assert "own/second" in finished.err


def test_compare_refuses_a_backbone_and_itself(measured: Shell) -> None:
    finished = measured("compare", "own/first", "own/first")
    assert (finished.code, finished.out) == (2, "")
    assert "with itself" in finished.err


def test_compare_says_when_nothing_was_measured(shell: Shell) -> None:
    finished = shell("compare", "own/first", "own/second")
    assert finished.code == 2
    assert "no results to compare" in finished.err


def test_compare_says_when_predictions_are_damaged_and_goes_on(measured: Shell, workspace: Workspace) -> None:
    run_id = leave(workspace, "own/first", "linear/digits", 0.9)
    leave(workspace, "own/second", "linear/digits", 0.8)
    workspace.run(run_id).predictions.write_bytes(b"not a zip file")
    finished = measured("compare", "own/first", "own/second")
    assert finished.code == 0
    assert f"the predictions of run {run_id} are missing" in finished.err


def test_compare_with_the_paper_gives_a_verdict_on_every_published_number(shell: Shell, workspace: Workspace) -> None:
    leave(workspace, "paper/swav", "linear/cars", 0.54, metric="accuracy")
    leave(workspace, "paper/swav", "linear/food", 0.5, metric="accuracy")
    leave(workspace, "paper/swav", "few-shot-20/cars", 0.678, metric="accuracy")
    document = shell("compare", "paper/swav", "paper", "--json").document
    found = {task["task"]: task for task in document["tasks"]}
    assert (found["linear/cars"]["agrees"], found["linear/food"]["agrees"]) == (True, False)
    assert found["linear/cars"]["table"] == "Table 1"
    assert "tolerance" in found["linear/cars"]["basis"]
    assert "intervals" in found["few-shot-20/cars"]["basis"]
    assert document["sentence"] == "paper/swav reproduces 2 of 3 published scores."


def test_compare_with_the_paper_needs_a_published_backbone(measured: Shell) -> None:
    finished = measured("compare", "own/first", "paper")
    assert finished.code == 2
    assert "no published scores for own/first" in finished.err


def test_rank_intervals_say_who_is_tied(measured: Shell) -> None:
    document = measured("rank", "--intervals", "--json").document
    assert [row["backbone"] for row in document["rows"]] == ["own/first", "own/second"]
    assert sum(row["first"] for row in document["rows"]) == pytest.approx(1)
    assert document["by_intervals"] == []


def test_rank_intervals_say_what_was_done_about_missing_cells(measured: Shell, workspace: Workspace) -> None:
    leave(workspace, "demo/third", "echo/things", 0.5)
    assert measured("rank", "--intervals", "--json").document["left_out"] == ["demo/third"]
    common = measured("rank", "--intervals", "--missing", "common", "--json").document
    assert (len(common["rows"]), common["tasks"], common["missing"]) == (3, 1, "common tasks")


def test_rank_intervals_refuse_a_format_without_such_a_table(measured: Shell) -> None:
    finished = measured("rank", "--intervals", "--latex")
    assert finished.code == 2
    assert "not --latex" in finished.err


def test_a_margin_of_a_metric_that_nothing_is_compared_by_is_refused(measured: Shell) -> None:
    finished = measured("compare", "own/first", "own/second", "--margin", "acuracy=5")
    assert (finished.code, finished.out) == (2, "")
    assert "--margin acuracy: no compared task has this metric; the metrics are accuracy" in finished.err


def test_a_margin_of_the_settings_that_no_result_has_is_named_with_the_nearest_metric(
    measured: Shell, workspace: Workspace
) -> None:
    workspace.config.write_text("[margins]\nacuracy = 5.0\nmiou = 2.0\n")
    finished = measured("compare", "own/first", "own/second")
    assert finished.code == 0
    assert "margins.acuracy: no result here has this metric; did you mean 'accuracy'?" in finished.err
    assert "margins.miou: no result here has this metric" in finished.err


def test_the_margins_of_the_settings_hold_unless_an_option_has_others(measured: Shell, workspace: Workspace) -> None:
    workspace.config.write_text("[margins]\naccuracy = 77.0\n")
    for options, size in (((), 77.0), (("--margin", "accuracy=5"), 5.0)):
        document = measured("compare", "own/first", "own/second", *options, "--json").document
        assert {task["margin"]["size"] for task in document["tasks"]} == {size}
