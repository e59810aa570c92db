from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from backbones.catalog.catalog import BackboneCatalog
from ssl_console.analysis.export import to_json, to_text
from ssl_console.analysis.published import (
    PUBLISHED,
    all_published,
    column_of,
    differences,
    published,
    references,
    tables,
    with_published,
)
from ssl_console.analysis.published.agreement import against_published
from ssl_console.analysis.ranking import Ranking, rank, sort_rows
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import rebuild
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS
from tests.ssl_console.cli.shell import Shell

BACKBONES = 14


def measured(backbone: str, task: str, value: float, metric: str = "accuracy", variant: str = "default") -> Result:
    name = f"{backbone}-{task}-{variant}"
    return Result(
        run_id=name,
        key=name,
        backbone=backbone,
        task=task,
        variant=variant,
        column=f"{task}-{variant}",
        seed=0,
        metric=metric,
        value=value,
        ci_low=value - 1,
        ci_high=value + 1,
        n=100,
        finished=1.0,
        duration_s=1.0,
    )


def of_tasks(*names: str) -> Ranking:
    return rank([result for result in published() if result.task.startswith(names)])


def columns_of(ranking: Ranking) -> list[str]:
    return [column.label for column in ranking.columns]


def test_deepcluster_v2_has_the_best_published_mean_of_linear() -> None:
    best = sort_rows(of_tasks("linear/"), "mean").rows[0]
    assert best.backbone == "paper/deepcluster-v2"
    assert best.mean == pytest.approx(78.92, abs=0.005)


def test_simclr_v2_has_the_best_published_ap50_of_frozen_detection() -> None:
    best = sort_rows(of_tasks("detection-frozen/"), "detection-frozen/voc07 ap50").rows[0]
    assert (best.backbone, best.cells["detection-frozen/voc07 ap50"].value) == ("paper/simclr-v2", 82.34)


def test_every_published_column_has_all_fourteen_backbones() -> None:
    for table in tables():
        assert len(table.rows) == BACKBONES, table.title
        assert {len(numbers) for numbers in table.rows.values()} == {len(table.columns)}, table.title


def test_published_backbones_are_cards_of_the_catalogue(tmp_path: Path) -> None:
    catalog = BackboneCatalog.load([], tmp_path)
    assert {result.backbone for result in published()} <= set(catalog.cards)


def test_references_are_cards_and_name_their_protocols(tmp_path: Path) -> None:
    cards = BackboneCatalog.load([], tmp_path).cards
    columns = [column for table in references() for column in table.columns]
    assert all(column.protocol and column.variant != "paper" for column in columns)
    assert len({column.key for column in columns}) == len(columns)
    for table in references():
        assert set(table.rows) - set(table.others) <= set(cards), table.title
        assert set(table.others) <= set(table.rows) - set(cards), table.title
        assert {len(numbers) for numbers in table.rows.values()} == {len(table.columns)}, table.title
        assert all(any(number is not None for number in numbers) for numbers in table.rows.values()), table.title


def test_a_reference_that_a_preset_repeats_has_a_tolerance_and_no_other_names_a_preset() -> None:
    for table in references():
        for column in table.columns:
            protocol = PROTOCOLS.get(column.task.partition("/")[0])
            repeated = protocol is not None and column.variant in protocol.presets
            assert repeated == (column.tolerance is not None), column.key


@pytest.mark.parametrize("variant", ["default", "paper", "published-1a2b3c4d", "ep"])
def test_numbers_of_another_protocol_are_never_held_against_a_measurement(variant: str) -> None:
    own = [measured("timm/dinov2-vit-b14", "knn/imagenet", 81.0, variant=variant)]
    shown = [number for number in with_published(own, all_published()) if number.source == "paper"]
    assert {number.variant for number in shown} <= {variant} & {"ep"}


def test_the_number_of_the_very_protocol_is_held_against_a_measurement() -> None:
    own = [measured("timm/dinov2-vit-b14", "knn/imagenet", 81.8, variant="published")]
    (found,) = against_published("timm/dinov2-vit-b14", own)
    assert (found.published.value, found.agrees) == (82.1, True)
    assert found.column.protocol.startswith("DINOv2's k-NN: shorter side 256")
    ranking = rank(with_published(own, all_published()))
    assert columns_of(ranking) == ["knn/imagenet"]
    assert {"timm/dinov2-vit-s14 †", "timm/dinov2-reg-vit-g14 †"} < {row.backbone for row in ranking.rows}
    assert not any(row.backbone.startswith("timm/dinov3") for row in ranking.rows)


def test_published_metrics_are_those_of_the_dataset_cards() -> None:
    """A published number is only compared with a result of the same metric."""
    datasets = TaskCatalog.load().datasets
    compared = 0
    for result in published():
        protocol, _, dataset = result.task.partition("/")
        if protocol in {"linear", "finetune"}:
            assert result.metric == datasets[dataset].metric, result.task
            compared += 1
    assert compared == 2 * 11 * BACKBONES


def test_imagenet_accuracies_are_those_of_the_backbone_cards(tmp_path: Path) -> None:
    cards = BackboneCatalog.load([], tmp_path).cards
    quoted = {result.backbone: result.value for result in published() if result.task == "imagenet/top-1"}
    assert quoted == {name: cards[name].facts.imagenet_top1 for name in quoted}


def test_more_shots_are_better_in_every_published_cell() -> None:
    """Guards against transcription errors."""
    values = {(r.backbone, r.task): r.value for r in published()}
    compared = 0
    for (backbone, task), value in values.items():
        for shots, more in (("few-shot-5/", "few-shot-20/"), ("few-shot-20/", "few-shot-50/")):
            if task.startswith(shots) and (backbone, task.replace(shots, more)) in values:
                assert value < values[backbone, task.replace(shots, more)], (backbone, task)
                compared += 1
    assert compared == (14 + 11) * BACKBONES


def test_printed_half_widths_are_intervals_and_others_have_none() -> None:
    ranking = of_tasks("few-shot-20/aircraft", "linear/aircraft")
    row = next(row for row in ranking.rows if row.backbone == "paper/insdis")
    assert row.cells["few-shot-20/aircraft"].half_width == pytest.approx(0.93)
    assert row.cells["linear/aircraft"].half_width is None


def test_a_number_without_interval_is_shown_bare() -> None:
    ranking = of_tasks("few-shot-20/aircraft", "linear/aircraft")
    line = next(line for line in to_text(ranking).splitlines() if line.startswith("paper/insdis"))
    assert line.split()[1:4] == ["48.7", "±0.9", "36.9"]
    assert '"ci_low": null' in to_json(ranking)


def test_columns_of_one_task_are_told_apart_by_their_metric() -> None:
    assert columns_of(of_tasks("segmentation/")) == ["segmentation/ade20k miou", "segmentation/ade20k pixel-accuracy"]


def test_angles_are_better_when_smaller() -> None:
    ranking = sort_rows(of_tasks("normals/"), "normals/nyuv2 mean-angle")
    assert ranking.rows[0].backbone == "paper/simclr-v2"
    assert ranking.rows[0].mean is None


def test_published_rows_stand_in_the_own_column_of_the_same_task() -> None:
    own = [measured("paper/byol", "linear/cars", 55.0)]
    ranking = rank(with_published(own, published()))
    assert columns_of(ranking) == ["linear/cars"]
    assert len(ranking.rows) == BACKBONES + 1
    assert differences(ranking) == {("paper/byol", "linear/cars"): pytest.approx(55.0 - 56.40)}


def test_the_difference_to_the_published_number_is_shown() -> None:
    ranking = rank(with_published([measured("paper/byol", "linear/cars", 55.0)], published()))
    line = next(line for line in to_text(ranking).splitlines() if line.startswith("paper/byol  "))
    assert "55.0 ±1.0 (-1.4)" in line
    assert f"paper/byol{PUBLISHED}" in to_text(ranking)


def test_published_numbers_of_another_metric_stay_apart() -> None:
    own = [measured("paper/byol", "linear/aircraft", 50.0, metric="accuracy")]
    assert with_published(own, published()) == own


def test_published_numbers_prefer_the_variant_with_the_parameters_of_the_paper() -> None:
    own = [measured("a", "linear/cars", 50.0, variant=variant) for variant in ("default", "paper")]
    moved = [result for result in with_published(own, published()) if result.source == "paper"]
    assert {result.column for result in moved} == {"linear/cars-paper"}


def test_a_wanted_task_that_was_never_measured_shows_what_is_published() -> None:
    ranking = rank(with_published([], published(), [("linear/cars", "default")]), [("linear/cars", "default")])
    assert len(ranking.rows) == BACKBONES


def test_a_tolerance_or_an_interval_is_stated_for_every_published_number() -> None:
    for result in published():
        column = column_of(result.task, result.metric)
        assert column is not None
        assert (column.tolerance is None) == (result.ci_low < result.ci_high), result.run_id


def test_rank_says_for_every_score_where_it_comes_from(shell: Shell) -> None:
    document = shell("rank", "--source", "paper", "-t", "linear/*", "--sort", "mean", "--json").document
    assert document["rows"][0]["backbone"] == "paper/deepcluster-v2"
    assert {score["source"] for row in document["rows"] for score in row["scores"].values()} == {"paper"}


def test_rank_both_puts_published_rows_beside_own_ones(shell: Shell, workspace: Workspace) -> None:
    keep(workspace, measured("paper/byol", "linear/cars", 55.0))
    rows = shell("rank", "--source", "both", "--json").document["rows"]
    own = next(row for row in rows if row["backbone"] == "paper/byol")
    assert own["scores"]["linear/cars"]["difference"] == pytest.approx(-1.4)
    assert len(rows) == BACKBONES + 1


def test_rank_shows_own_results_alone_unless_asked(shell: Shell, workspace: Workspace) -> None:
    keep(workspace, measured("paper/byol", "linear/cars", 55.0))
    assert [row["backbone"] for row in shell("rank", "--json").document["rows"]] == ["paper/byol"]


def test_rank_both_says_when_nothing_is_published_for_what_was_measured(shell: Shell, workspace: Workspace) -> None:
    keep(workspace, measured("paper/byol", "linear/digits", 55.0))
    finished = shell("rank", "--source", "both")
    assert PUBLISHED not in finished.out
    assert "no published scores for these" in finished.err


def test_a_chosen_backbone_comes_with_its_published_row(shell: Shell, workspace: Workspace) -> None:
    keep(workspace, measured("paper/byol", "linear/cars", 55.0))
    rows = shell("rank", "--source", "both", "-b", "paper/byol", "--json").document["rows"]
    assert {row["backbone"] for row in rows} == {"paper/byol", f"paper/byol{PUBLISHED}"}


def test_rank_refuses_a_source_that_does_not_exist(shell: Shell) -> None:
    finished = shell("rank", "--source", "elsewhere")
    assert finished.code == 2
    assert "mine, paper, both" in finished.err


def test_a_published_suite_shows_one_column_per_task(shell: Shell) -> None:
    document = shell("rank", "--source", "paper", "--suite", "paper-linear", "--json").document
    assert len(document["columns"]) == 11
    means = [fmean(s["value"] for s in row["scores"].values()) for row in document["rows"]]
    assert max(means) == pytest.approx(78.92, abs=0.005)


def keep(workspace: Workspace, result: Result) -> None:
    """Write the result like a finished run."""
    folder = workspace.run(result.run_id.replace("/", "-"))
    folder.path.mkdir()
    record = ResultRecord(result=result, metrics={}, interval_method="wilson", samples={"test": result.n})
    folder.result.write_text(record.model_dump_json())
    rebuild(workspace)
