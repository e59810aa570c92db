from __future__ import annotations

from dataclasses import replace

import pytest

from ssl_console.analysis.published import PUBLISHED
from ssl_console.tui.data.catalog import Catalog, Suite
from ssl_console.tui.style.glyphs import UNICODE
from ssl_console.tui.style.text import Cell
from ssl_console.tui.views.ranking import NAME, PLACE, RankingTable
from ssl_console.tui.views.ranking_details import about_score, left_out_of_view, summary
from ssl_console.tui.views.ranking_query import RankingQuery
from ssl_console.workspace.result import Result
from tests.ssl_console.tui import filled


def score(backbone: str, task: str, value: float, half: float = 0.5) -> Result:
    changes = {"value": value, "ci_low": value - half, "ci_high": value + half}
    return filled.result(backbone, task).model_copy(update=changes)


RESULTS = (
    score("a", "knn/x", 90.0),
    score("b", "knn/x", 89.6),
    score("c", "knn/x", 80.0),
    score("a", "linear/x", 70.0),
    score("b", "linear/x", 70.04),
    score("c", "linear/x", 60.0),
    score("d", "linear/x", 99.0),
)


def table(view: RankingQuery = RankingQuery(), results: tuple[Result, ...] = RESULTS) -> RankingTable:  # noqa: B008 - frozen
    return RankingTable.of(results, view, Catalog(), UNICODE)


def cell(shown: RankingTable, row: str, column: str) -> Cell:
    rows = shown.rows(120)
    return rows.cell(row, rows.columns[rows.column_index[column]])


def test_the_best_is_bold_the_second_underlined_and_what_looks_alike_is_marked_alike() -> None:
    shown = table()
    assert (cell(shown, "a", "knn/x").bold, cell(shown, "b", "knn/x").underline) == (True, True)
    assert cell(shown, "d", "linear/x").bold
    assert cell(shown, "a", "linear/x").underline
    assert cell(shown, "b", "linear/x").underline


def test_overlapping_intervals_share_a_place() -> None:
    places = table(RankingQuery(sort="knn/x")).places
    assert places == {"a": "1=", "b": "1=", "c": "3 "}


def test_a_missing_score_is_shown_as_missing_and_takes_the_mean_away() -> None:
    shown = table()
    assert cell(shown, "d", "knn/x").text == UNICODE.none
    assert cell(shown, "d", "mean").text == UNICODE.none
    assert cell(shown, "a", "mean").text == "80.0"
    assert "incomplete" in "".join(span.text for line in about_score(shown, "d", "mean") for span in line)


def test_sorting_again_turns_the_order_round_and_keeps_what_is_missing_last() -> None:
    view = RankingQuery().sorted_by("knn/x")
    assert [row.backbone for row in table(view).ranking.rows] == ["a", "b", "c", "d"]
    assert [row.backbone for row in table(view.sorted_by("knn/x")).ranking.rows] == ["c", "b", "a", "d"]
    assert [row.backbone for row in table(view.sorted_by(NAME)).ranking.rows] == ["a", "b", "c", "d"]


def test_aggregates_are_over_what_is_shown() -> None:
    shown = table(RankingQuery(hidden=frozenset({"knn/x"})))
    assert cell(shown, "d", "mean_rank").text == "1.00"
    assert "knn/x" not in shown.rows(120).column_index


def test_sorting_by_a_column_that_is_hidden_falls_back_to_the_estimate() -> None:
    assert table(RankingQuery(sort="knn/x", hidden=frozenset({"knn/x"}))).query.sort == "estimate"


def test_a_filter_leaves_rows_or_columns_and_says_what_it_does_not_know() -> None:
    assert [row.backbone for row in table(RankingQuery(filter="name:a")).ranking.rows] == ["a"]
    assert [column.label for column in table(RankingQuery(filter="knn")).ranking.columns] == ["knn/x"]
    assert table(RankingQuery(filter="colour:red")).unknown == ("colour",)


@pytest.mark.parametrize("intervals", [False, True])
def test_a_hostile_name_stays_text(intervals: bool) -> None:
    name = "[/bold]\x1b]0;title\x07 evil"
    shown = table(RankingQuery(intervals=intervals), (*RESULTS, score(name, "knn/x", 50.0)))
    assert cell(shown, name, NAME).text.endswith(name)
    assert cell(shown, name, PLACE).text == "5 "


def test_published_numbers_stand_in_rows_of_their_own_with_the_difference() -> None:
    own = score("paper/moco-v2", "linear/cifar10", 92.0).model_copy(update={"variant": "paper", "metric": "accuracy"})
    shown = table(RankingQuery(), (own,))
    assert f"paper/moco-v2{PUBLISHED}" in shown.row
    told = "".join(span.text for line in about_score(shown, "paper/moco-v2", "linear/cifar10") for span in line)
    assert "published" in told
    assert table(replace(RankingQuery(), published="off"), (own,)).row.keys() == {"paper/moco-v2"}


def test_own_scores_say_how_far_they_are_from_the_published_ones() -> None:
    own = score("paper/moco-v2", "linear/cifar10", 92.5).model_copy(update={"variant": "paper"})
    shown = table(replace(RankingQuery(), differences=True), (own,))
    label = next(iter(shown.facts))
    twin = shown.row[f"paper/moco-v2{PUBLISHED}"].cells[label]
    assert cell(shown, "paper/moco-v2", label).text == f"92.5 {92.5 - twin.value:+.1f}"
    assert cell(shown, f"paper/moco-v2{PUBLISHED}", label).text == f"{twin.value:.1f}"


def words_of(shown: RankingTable, row: str, column: str) -> str:
    return "".join(span.text for line in about_score(shown, row, column) for span in line)


def test_the_estimate_is_shown_with_its_interval() -> None:
    estimate = table().row["a"].estimate
    assert estimate is not None
    assert estimate.half_width is not None
    assert cell(table(RankingQuery(intervals=True)), "a", "estimate").text == (
        f"{estimate.value:+.2f} ±{estimate.half_width:.2f}"
    )
    assert f"[{estimate.value - estimate.half_width:+.2f}, " in words_of(table(), "a", "estimate")


def test_rows_that_are_ahead_of_one_another_in_a_circle_say_so() -> None:
    pairs = {("a", "knn/x"): 90, ("b", "knn/x"): 80, ("b", "knn/y"): 90, ("c", "knn/y"): 80}
    pairs |= {("c", "knn/z"): 90, ("a", "knn/z"): 80}
    circle = table(results=tuple(score(*pair, value) for pair, value in pairs.items()))
    assert all(cell(circle, row, "estimate").text.endswith("~") for row in "abc")
    assert "in a cycle" in words_of(circle, "a", "estimate")
    assert "in a cycle" not in words_of(table(), "a", "estimate")


def test_a_few_shot_score_counts_episodes_of_the_runs_seed() -> None:
    shown = table(results=(score("a", "few-shot-5/x", 90.0),))
    assert "episodes, the run's seed 0 of episodes" in words_of(shown, "a", "few-shot-5/x")


def head_of(shown: RankingTable) -> str:
    return "".join(span.text for span in summary(shown, None))


def test_hidden_columns_are_named_and_it_is_said_when_they_would_change_the_order() -> None:
    pairs = {("a", "knn/x"): 90, ("b", "knn/x"): 80, ("a", "knn/y"): 50, ("b", "knn/y"): 95}
    results = tuple(score(*pair, value) for pair, value in pairs.items())
    other, same = (table(RankingQuery(hidden=frozenset({name})), results) for name in ("knn/y", "knn/x"))
    assert "hidden knn/y, neither used nor exported" in head_of(other)
    assert "all columns would give a different order" in head_of(other)
    assert "another order" not in head_of(same)
    assert "hidden" not in head_of(table(results=results))


def test_columns_in_which_no_row_has_a_score_take_no_space_and_are_counted() -> None:
    suite = Suite("s", "", ("knn/x", "knn/y"), (), (("knn/x", "default"), ("knn/y", "default")))
    catalogue = Catalog(suites=(suite,))
    shown = RankingTable.of(RESULTS, RankingQuery(suite="s"), catalogue, UNICODE)
    assert [column.key for column in shown.rows(120).columns if "/" in column.key] == ["knn/x"]
    words = "".join(span.text for span in summary(shown, "s"))
    assert "1 columns  1 more without scores" in words
    assert [column.label for column in shown.as_shown.columns] == ["knn/x"]
    assert "1 columns without a score" in left_out_of_view(shown)
    assert not any(row.complete for row in shown.ranking.rows), "what is missing still counts"
    nothing = RankingTable.of((), RankingQuery(suite="s"), catalogue, UNICODE)
    assert len(nothing.measured) == 2
