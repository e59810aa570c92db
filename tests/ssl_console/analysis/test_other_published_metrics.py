"""Published numbers that are not headline scores: other metrics, and means over datasets."""

from __future__ import annotations

import json

import pytest

from ssl_console.analysis.correlations import correlated_value
from ssl_console.analysis.published.tables import ONE_LABEL, RECOGNITION, further_numbers, tables
from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave


def result(task: str, metric: str = "accuracy", *, finished: float = 1.0, backbone: str = "paper/byol") -> Result:
    name = f"{backbone} {task} {finished}"
    return Result(
        run_id=name, key=name, backbone=backbone, task=task, variant="paper", column=task, seed=0, metric=metric,
        value=50, ci_low=49, ci_high=51, n=10, finished=finished, duration_s=1,
    )  # fmt: skip


def test_other_metrics_of_a_result_have_published_columns() -> None:
    found = further_numbers(
        [result("detection-frozen/voc07", "ap50")], lambda _run: {"ap": 51.0, "ap50": 80.0, "ap75": 56.0, "own": 1.0}
    )
    assert {(one.metric, one.value) for one in found} == {("ap", 51.0), ("ap75", 56.0)}
    assert {(one.ci_low, one.ci_high) for one in found} == {(51.0, 51.0), (56.0, 56.0)}


def test_means_of_table_9_are_over_all_of_their_datasets_or_are_not_made() -> None:
    attention = [result(f"attention/{name}", "diffusion") for name in RECOGNITION]
    values = {one.run_id: {"diffusion": float(place)} for place, one in enumerate(attention)}
    (mean,) = further_numbers(attention, values.__getitem__)
    assert (mean.task, mean.metric, mean.value) == ("attention/recognition", "diffusion", 7.0)
    assert further_numbers(attention[1:], values.__getitem__) == []


def test_the_newest_result_of_a_dataset_counts_and_a_metric_that_one_lacks_has_no_mean() -> None:
    linear = [result(f"linear/{name}") for name in ONE_LABEL]
    newer = result("linear/cars", finished=2.0)
    values = {one.run_id: {"ece": 10.0, "ece_scaled": 2.0} for one in linear} | {newer.run_id: {"ece": 20.0}}
    found = {one.metric: one.value for one in further_numbers([newer, *linear], values.__getitem__)}
    assert found == {"ece-linear": pytest.approx(11.0)}


def test_means_of_two_backbones_are_kept_apart() -> None:
    of_two = [result(f"attention/{n}", "diffusion", backbone=b) for n in RECOGNITION for b in ("paper/byol", "x")]
    found = further_numbers(of_two, lambda run_id: {"diffusion": 40.0 if "byol" in run_id else 50.0})
    assert {one.backbone: one.value for one in found} == {"paper/byol": 40, "x": 50}


def test_every_column_of_table_9_has_its_mean() -> None:
    printed = {(c.task, c.metric) for t in tables() for c in t.columns if c.table == "Table 9"}
    measured = {"ece": 1.0, "ece_scaled": 1.0, "diffusion": 1.0}
    measured |= {f"mse-{c}": 1.0 for c in ("red", "green", "blue")}
    measured |= {f"lpips-{n}": 1.0 for n in ("alex", "vgg", "squeeze")}
    everything = [
        result(f"{protocol}/{name}", "none")
        for protocol in ("linear", "finetune", "attention", "inversion")
        for name in RECOGNITION
    ]
    assert {(one.task, one.metric) for one in further_numbers(everything, lambda _run: measured)} == printed


def test_a_suite_with_every_part_of_a_published_mean_shows_it(shell: Shell) -> None:
    columns = shell("rank", "--source", "paper", "--suite", "paper-analysis", "--json").document["columns"]
    assert {name.partition(" ")[0] for name in columns} == {"attention/recognition", "inversion/recognition"}


def test_compare_gives_a_verdict_on_further_numbers(shell: Shell, workspace: Workspace) -> None:
    run_id = leave(workspace, "paper/swav", "detection-frozen/voc07", 0.8, metric="ap50", variant="paper")
    path = workspace.run(run_id).result
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps({**record, "metrics": {"ap": 49.0, "ap50": 80.0, "ap75": 10.0}}))
    document = shell("compare", "paper/swav", "paper", "--json").document
    found = {task["metric"]: task["agrees"] for task in document["tasks"]}
    assert set(found) == {"ap", "ap50", "ap75"}
    assert not found["ap75"]


def test_squared_errors_are_correlated_as_they_are() -> None:
    cell = RankingCell(value=4000.0, ci_low=0, ci_high=0, n=4, run_id="x", source="mine", seeds=(0,))
    assert correlated_value("mse", cell) == 4000.0
