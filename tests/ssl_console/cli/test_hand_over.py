"""`table`, `model-page` and `report`: files for others hold every score with its interval, marks and origin."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from ssl_console.analysis.hand_over import NAMES
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave
from tests.ssl_console.tui.browser import Page, a_page, browser_command

yaml = pytest.importorskip("yaml")


@pytest.fixture
def measured(workspace: Workspace, shell: Shell) -> Shell:
    """Two backbones on a task, one with a further metric and a doubt."""
    run_id = leave(
        workspace,
        "own/a",
        "linear/cars",
        0.7,
        badges=["grid edge"],
        protocol="linear",
        dataset="cars",
        identified_by="content",
    )
    leave(workspace, "own/b", "linear/cars", 0.6, protocol="linear", dataset="cars", identified_by="content")
    path = workspace.run(run_id).result
    record = json.loads(path.read_text())
    record["metrics"]["ece"] = 3.5
    record["diagnostics"] = {"chosen_on_test": {"score": 71.0, "selected": 70.0, "choice": "C = 1", "candidates": 45}}
    path.write_text(json.dumps(record))
    return shell


def test_the_table_has_a_row_for_every_metric_and_intervals_of_headlines_alone(measured: Shell, tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    assert measured("table", "-o", str(file)).code == 0
    rows = list(csv.DictReader(file.open()))
    assert tuple(rows[0]) == NAMES
    by_metric = {(row["backbone"], row["metric"]): row for row in rows}
    assert set(by_metric) == {("own/a", "accuracy"), ("own/a", "ece"), ("own/b", "accuracy")}
    headline, other = by_metric["own/a", "accuracy"], by_metric["own/a", "ece"]
    assert (headline["value"], headline["ci_low"], headline["badges"]) == ("70.0", "68.0", "grid edge")
    assert (headline["chosen_on_test"], headline["headline"]) == ("71.0", "true")
    assert (other["value"], other["ci_low"], other["headline"]) == ("3.5", "", "false")
    assert headline["weights"] == "own/a"


def test_parquet_holds_the_same_rows_with_types(measured: Shell, tmp_path: Path) -> None:
    file = tmp_path / "results.parquet"
    document = measured("table", "-o", str(file), "-b", "own/a", "--json").document
    table = pyarrow.parquet.read_table(file)
    assert (document["rows"], table.num_rows, table.column_names) == (2, 2, list(NAMES))
    assert str(table.schema.field("value").type) == "double"
    assert table.to_pylist()[1]["ci_low"] is None


def test_nothing_is_replaced_and_unknown_endings_are_refused(measured: Shell, tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text("mine")
    for command in (("table", "-o", str(file)), ("table", "-o", str(tmp_path / "a.xlsx"))):
        assert measured(*command).code == 2
    assert file.read_text() == "mine"
    assert measured("report", "-o", str(tmp_path / "none" / "a.html")).code == 2
    assert measured("table", "-o", str(tmp_path / "b.csv"), "-b", "own/c").code == 2


def test_eval_results_are_valid_yaml_of_the_hub_with_interval_and_doubts(measured: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    url = "https://example.org/results"
    options = ("--benchmark", "cars=lab/cars:fine", "--source-url", url)
    finished = measured("model-page", "own/a", "-o", str(folder), *options)
    assert finished.code == 0
    (file,) = (folder / ".eval_results").iterdir()
    (entry,) = yaml.safe_load(file.read_text())
    assert entry["dataset"] == {"id": "lab/cars", "task_id": "fine"}
    assert (entry["value"], entry["source"]["url"]) == (70, url)
    assert "95 % interval 68.00 to 72.00" in entry["notes"]
    assert "doubts: grid edge" in entry["notes"]
    card = (folder / "evaluation.md").read_text()
    assert "| linear/cars | default | accuracy | 70.00! | 68.00 to 72.00 |" in card
    assert "! reason to doubt the score" in card
    assert measured("model-page", "own/a", "-o", str(folder), *options).code == 2


def test_a_dataset_without_a_named_benchmark_is_in_the_table_alone(measured: Shell, tmp_path: Path) -> None:
    finished = measured("model-page", "own/b", "-o", str(tmp_path / "page"))
    assert finished.code == 0
    assert not (tmp_path / "page" / ".eval_results").exists()
    assert "in the table alone" in finished.err
    for wrong in ("cars", "cars=lab", "pets=lab/pets"):
        assert measured("model-page", "own/b", "-o", str(tmp_path / "other"), "--benchmark", wrong).code == 2


@pytest.mark.skipif(browser_command() is None, reason="no chromium is installed: apt-get install chromium")
def test_a_browser_opens_the_report_from_disk_without_a_request_or_complaint(measured: Shell, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert measured("report", "-o", str(file), "--title", "Cars").code == 0

    async def opened() -> Page:
        async with a_page(file.as_uri(), tmp_path / "browser") as page:
            return page

    page = asyncio.run(opened())
    assert {one.partition(":")[0] for one in page.requested} <= {"file", "data"}
    assert page.requested.count(file.as_uri()) == 1
    assert page.complaints == []
