"""Own scores against published ones of the same protocol: outliers of a column, split of selection, the scatter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssl_console.analysis.export import to_json, to_text
from ssl_console.analysis.figures import save_published_scatter
from ssl_console.analysis.published import all_published, references, tables
from ssl_console.analysis.published.agreement import ledger, ledger_document
from ssl_console.analysis.published.tables import reference_numbers, source_of
from ssl_console.analysis.ranking import rank
from ssl_console.workspace.badges import ADVICE, CHOSEN_ON_TEST
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from tests.ssl_console.analysis.test_published import measured
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave

KNN = "knn/imagenet"
PUBLISHED = {one.backbone: one.value for one in reference_numbers() if (one.task, one.variant) == (KNN, "published")}


def own(shifts: dict[str, float]) -> list[Result]:
    """Results by the published protocol, so much above the published numbers."""
    return [measured(name, KNN, PUBLISHED[name] + shift, variant="published") for name, shift in shifts.items()]


def test_a_backbone_unlike_the_others_is_an_outlier_and_a_common_shift_is_not() -> None:
    shifts = dict(zip(PUBLISHED, (0.5, 0.6, 0.4, 0.55, -3.0), strict=False))
    (column,) = ledger(list(shifts), own(shifts)).columns
    assert [one.backbone for one in column.outliers] == [list(shifts)[4]]
    assert column.shift == pytest.approx(0.5)
    common = dict.fromkeys(shifts, 2.0)
    (shifted,) = ledger(list(common), own(common)).columns
    assert not shifted.outliers
    assert shifted.shift == pytest.approx(2.0)
    assert shifted.correlation == pytest.approx(1.0)


def test_of_few_backbones_those_that_differ_by_more_than_allowed_are_outliers() -> None:
    shifts = dict(zip(PUBLISHED, (0.1, 4.0), strict=False))
    (column,) = ledger(list(shifts), own(shifts)).columns
    assert [one.backbone for one in column.outliers] == [list(shifts)[1]]
    assert column.correlation is None


def test_numbers_of_other_protocols_are_listed_and_never_compared() -> None:
    name = next(iter(PUBLISHED))
    found = ledger([name], [measured(name, KNN, 79.0, variant="default")])
    assert found.columns == ()
    assert KNN in {one.column.task for one in found.others}
    document = ledger_document(found)
    assert all(one["source"] and one["chosen_on"] for one in document["other_protocols"])  # type: ignore[attr-defined]


def test_every_published_column_states_source_and_split_of_selection() -> None:
    for table in (*tables(), *references()):
        for column in table.columns:
            assert source_of(column)
            assert column.chosen_on in {"validation", "test", "fixed", "unknown"}
    by_key = {(column.task, column.variant): column.chosen_on for table in references() for column in table.columns}
    assert by_key[KNN, "published"] == by_key["attentive/imagenet", "ep"] == "test"
    assert {
        column.chosen_on for table in tables() for column in table.columns if column.task.startswith("linear/")
    } == {"validation"}


def test_scores_chosen_on_test_images_are_marked_in_every_table_and_export() -> None:
    numbers = [one for one in all_published() if one.task == KNN]
    assert {one.badges for one in numbers} == {(CHOSEN_ON_TEST,)}
    ranking = rank(numbers)
    assert "!" in to_text(ranking)
    assert CHOSEN_ON_TEST in to_json(ranking)
    assert "too high" in ADVICE[CHOSEN_ON_TEST]


def test_the_scatter_names_outliers_and_the_split_of_selection(tmp_path: Path) -> None:
    shifts = dict(zip(PUBLISHED, (0.5, 0.6, 0.4, 0.55, -3.0), strict=False))
    path = tmp_path / "scatter.svg"
    save_published_scatter(ledger(list(shifts), own(shifts)).columns, path)
    text = path.read_text()
    assert list(shifts)[4].rpartition("/")[2] in text
    assert "chosen on the test images" in text


def test_the_command_prints_split_source_and_verdict(shell: Shell, workspace: Workspace, tmp_path: Path) -> None:
    name = next(iter(PUBLISHED))
    leave(workspace, name, KNN, 0.79, variant="published", protocol="knn", dataset="imagenet")
    figure = tmp_path / "scatter.svg"
    printed = shell("compare", "timm/*", "--published", "--figure", str(figure))
    assert (printed.code, figure.exists()) == (0, True)
    assert "TEST" in printed.out
    assert "facebookresearch/dinov2" in printed.out
    assert "published settings were chosen on the test images" in printed.err
    assert "not comparable" in printed.err
    document = json.loads(shell("compare", name, "--published", "--json").out)
    assert document["columns"][0]["chosen_on"] == "test"
    assert document["columns"][0]["backbones"][0]["agrees"]
    assert shell("compare", name).code == 2
    assert shell("compare", name, "own/b", "--published").code == 2
    assert shell("compare", name, "own/b", "--figure", str(tmp_path / "b.svg")).code == 2
