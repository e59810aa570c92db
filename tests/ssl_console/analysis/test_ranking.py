from __future__ import annotations

import itertools
import math
import random
from statistics import fmean

import pytest

from backbones.io.card_files import UnknownName
from ssl_console.analysis.ranking import Ranking, average_ranks, pick_rows, rank, sort_rows
from ssl_console.analysis.ranking_cell import average_seeds, log_odds
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore
from tests.ssl_console.cli.shell import Shell

_clock = itertools.count(1)


def result(backbone: str, task: str, value: float, **other: object) -> Result:
    variant = str(other.get("variant", "default"))
    given: dict[str, object] = {
        "run_id": f"{backbone}-{task}-{next(_clock)}",
        "key": f"{backbone}{task}{other.get('seed', 0)}",
        "column": f"{task}|{variant}",
        "seed": 0,
        "metric": "accuracy",
        "ci_low": value - 1,
        "ci_high": value + 1,
        "n": 100,
        "finished": float(next(_clock)),
        "duration_s": 1.0,
    }
    return Result.model_validate({**given, **other, "backbone": backbone, "task": task, "value": value})


def names(ranking: Ranking) -> list[str]:
    return [row.backbone for row in ranking.rows]


def labels(ranking: Ranking) -> list[str]:
    return [column.label for column in ranking.columns]


def table() -> Ranking:
    """Three tasks; by hand: a is 1st, 2nd, 2nd; b is 2nd, 1st, 2nd (a tie); c is 3rd, 3rd, 1st."""
    scores = {"a": (90, 70, 50), "b": (80, 75, 50), "c": (60, 60, 60)}
    return rank(result(name, f"t{i}", value) for name, values in scores.items() for i, value in enumerate(values))


def test_a_complete_row_has_the_mean_of_its_scores() -> None:
    assert {row.backbone: row.mean for row in table().rows} == {"a": 70, "b": pytest.approx(205 / 3), "c": 60}


def test_mean_rank_gives_ties_the_average_of_their_places() -> None:
    ranks = {row.backbone: row.mean_rank for row in table().rows}
    assert ranks == pytest.approx({"a": (1 + 2 + 2.5) / 3, "b": (2 + 1 + 2.5) / 3, "c": (3 + 3 + 1) / 3})


def test_a_tie_is_half_a_win() -> None:
    rates = {row.backbone: row.win_rate for row in table().rows}
    assert rates == pytest.approx({"a": (2 + 1 + 0.5) / 6, "b": (1 + 2 + 0.5) / 6, "c": 2 / 6})


def test_mean_log_odds_is_the_mean_of_the_logits() -> None:
    row = next(row for row in table().rows if row.backbone == "a")
    expected = fmean(math.log(p / (1 - p)) for p in (0.9, 0.7, 0.5))
    assert row.mean_log_odds == pytest.approx(expected)


def test_log_odds_of_a_perfect_score_are_finite_and_half_a_sample_from_it() -> None:
    assert log_odds(100, n=50) == pytest.approx(math.log(0.99 / 0.01))
    assert log_odds(0, n=50) == pytest.approx(-math.log(0.99 / 0.01))


def test_rows_come_best_estimate_first() -> None:
    assert names(table()) == ["a", "b", "c"]


def test_a_row_with_a_missing_cell_is_incomplete_and_has_no_mean() -> None:
    ranking = rank([result("a", "t0", 90), result("a", "t1", 80), result("b", "t0", 99)])
    row = ranking.rows[0]
    assert (row.backbone, row.complete, row.mean, row.mean_log_odds, row.mean_rank) == ("b", False, None, None, None)
    assert set(row.cells) == {"t0"}
    assert ranking.incomplete == 1


def test_an_incomplete_row_does_not_change_the_ranks_of_complete_ones() -> None:
    ranking = rank([result("a", "t0", 90), result("a", "t1", 80), result("b", "t0", 99)])
    assert ranking.rows[1].mean_rank == 1


def test_win_rate_of_an_incomplete_row_counts_only_what_both_have() -> None:
    ranking = rank([result("a", "t0", 90), result("a", "t1", 80), result("b", "t0", 99)])
    assert {row.backbone: row.win_rate for row in ranking.rows} == {"a": 0, "b": 1}


def test_a_lone_backbone_has_no_win_rate() -> None:
    assert rank([result("a", "t0", 90)]).rows[0].win_rate is None


def test_results_of_different_comparability_keys_never_share_a_column() -> None:
    ranking = rank([result("a", "t", 90, column="old"), result("b", "t", 80, column="new")])
    assert len(ranking.columns) == 2
    assert len(set(labels(ranking))) == 2
    assert all("default #" in label for label in labels(ranking))


def test_variants_of_a_task_become_columns_named_by_their_variant() -> None:
    ranking = rank([result("a", "t", 90), result("a", "t", 80, variant="paper"), result("a", "u", 70)])
    assert labels(ranking) == ["t [default]", "t [paper]", "u"]


def test_where_lower_is_better_the_lowest_wins_and_there_is_no_mean() -> None:
    ranking = rank(
        [
            result("a", "acc", 90),
            result("b", "acc", 80),
            result("a", "error", 10, higher_is_better=False),
            result("b", "error", 20, higher_is_better=False),
        ]
    )
    assert [(row.backbone, row.mean_rank, row.mean) for row in ranking.rows] == [("a", 1, None), ("b", 2, None)]
    assert names(sort_rows(ranking, "error")) == ["a", "b"]


def test_the_command_says_why_complete_rows_have_no_mean(shell: Shell) -> None:
    angles = {"higher_is_better": False, "metric": "mean-angle"}
    ResultStore(shell.workspace).add([result("a", "accuracy", 90), result("a", "angles", 20, **angles)])
    assert "no mean and no log-odds: not a percentage: angles" in shell("rank").err
    assert "no mean" not in shell("rank", "-t", "accuracy").err


def test_the_newest_result_of_a_seed_is_shown() -> None:
    ranking = rank([result("a", "t", 10, finished=2.0), result("a", "t", 20, finished=1.0)])
    assert ranking.rows[0].cells["t"].value == 10


def test_seeds_are_averaged() -> None:
    ranking = rank([result("a", "t", 90, seed=0), result("a", "t", 80, seed=1)])
    cell = ranking.rows[0].cells["t"]
    assert (cell.value, cell.seeds) == (85, (0, 1))


def test_the_interval_over_seeds_adds_their_spread_to_their_own_width() -> None:
    cell = average_seeds([result("a", "t", 90, seed=0), result("a", "t", 80, seed=1)])
    standard_error = math.sqrt(((90 - 85) ** 2 + (80 - 85) ** 2) / 1) / math.sqrt(2)
    of_one_degree = 12.706
    assert cell.half_width == pytest.approx(of_one_degree * math.hypot(1 / 1.96, standard_error), rel=1e-3)


def test_many_seeds_that_hardly_differ_add_little() -> None:
    cell = average_seeds([result("a", "t", 90 + 0.2 * (seed % 2), seed=seed) for seed in range(10)])
    assert cell.half_width == pytest.approx(math.hypot(1, 1.96 * (cell.seed_deviation or 0) / math.sqrt(10)), rel=1e-2)


def test_equal_seeds_keep_the_width_of_one_interval() -> None:
    assert average_seeds([result("a", "t", 90, seed=s) for s in range(5)]).half_width == pytest.approx(1)


def test_wanted_columns_are_shown_in_order_even_without_results() -> None:
    ranking = rank([result("a", "t", 90), result("a", "u", 80)], wanted=[("v", "default"), ("u", "default")])
    assert labels(ranking) == ["v", "u"]
    assert [row.complete for row in ranking.rows] == [False]


def test_a_wanted_column_holds_only_the_newest_state_of_its_data() -> None:
    old, new = result("a", "t", 90, column="old", finished=1.0), result("b", "t", 80, column="new", finished=2.0)
    assert names(rank([old, new], wanted=[("t", "default")])) == ["b"]


@pytest.mark.parametrize(("by", "expected"), [("t0", "abc"), ("t2", "cab"), ("mean", "abc"), ("mean_rank", "abc")])
def test_sorting_puts_the_best_first_and_keeps_the_order_of_equal_rows(by: str, expected: str) -> None:
    assert names(sort_rows(table(), by)) == list(expected)


def test_sorting_in_reverse_still_puts_missing_scores_last() -> None:
    ranking = rank([result("a", "t0", 90), result("a", "t1", 80), result("b", "t0", 99), result("c", "t1", 85)])
    assert names(sort_rows(ranking, "t0")) == ["b", "a", "c"]
    assert names(sort_rows(ranking, "t0", reverse=True)) == ["a", "b", "c"]


def test_sorting_in_reverse_keeps_the_order_of_equal_rows() -> None:
    assert names(sort_rows(table(), "t2", reverse=True)) == ["a", "b", "c"]


def test_sorting_by_an_unknown_column_suggests_a_known_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'mean_rank'"):
        sort_rows(table(), "mean_rnk")


def test_picked_rows_are_ranked_among_themselves() -> None:
    picked = pick_rows(table(), ["b", "c"])
    assert {row.backbone: row.mean_rank for row in picked.rows} == {"b": (1 + 1 + 2) / 3, "c": (2 + 2 + 1) / 3}


def test_what_describes_under_a_name_of_its_own_is_not_ranked() -> None:
    own = [result(name, "mine/spread", value, protocol="attention") for name, value in (("a", 10), ("b", 90))]
    ranking = rank([*own, result("a", "linear/x", 90), result("b", "linear/x", 80)])
    assert {column.task: column.describes for column in ranking.columns} == {"mine/spread": True, "linear/x": False}
    assert [(row.backbone, row.mean) for row in ranking.rows] == [("a", 90), ("b", 80)]


def test_no_results_make_an_empty_table() -> None:
    assert rank([]) == Ranking((), ())


@pytest.mark.parametrize("seed", range(20))
def test_ranks_always_sum_to_what_places_sum_to(seed: int) -> None:
    draw = random.Random(seed)
    values = [float(draw.randint(0, 5)) for _ in range(draw.randint(1, 30))]
    ranks = average_ranks(values)
    assert sum(ranks) == len(values) * (len(values) + 1) / 2
    assert all((ranks[i] < ranks[j]) == (values[i] > values[j]) for i in range(len(ranks)) for j in range(len(ranks)))
    assert average_ranks([-value for value in values], higher_is_better=False) == ranks


@pytest.mark.parametrize("seed", range(10))
def test_win_rates_equal_a_count_over_all_pairs(seed: int) -> None:
    draw = random.Random(seed)
    scores = {
        (f"b{b}", f"t{t}"): float(draw.randint(40, 50)) for b in range(6) for t in range(5) if draw.random() < 0.7
    }
    ranking = rank(result(backbone, task, value) for (backbone, task), value in scores.items())
    for row in ranking.rows:
        mine = {task: value for (backbone, task), value in scores.items() if backbone == row.backbone}
        duels = [
            (mine[task] > value) + 0.5 * (mine[task] == value)
            for (backbone, task), value in scores.items()
            if backbone != row.backbone and task in mine
        ]
        assert row.win_rate == (pytest.approx(fmean(duels)) if duels else None)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_results_come_does_not_matter(seed: int) -> None:
    draw = random.Random(seed)
    results = [result(f"b{b}", f"t{t}", draw.uniform(0, 100)) for b in range(5) for t in range(4)]
    shuffled = draw.sample(results, len(results))
    assert rank(shuffled) == rank(results)


def test_250_backbones_on_40_tasks_are_ranked_at_once() -> None:
    draw = random.Random(0)
    ranking = rank(result(f"b{b}", f"t{t}", draw.uniform(0, 100)) for b in range(250) for t in range(40))
    assert (len(ranking.rows), len(ranking.columns)) == (250, 40)
    assert sum(row.mean_rank or 0 for row in ranking.rows) == pytest.approx(250 * 251 / 2)


def test_seeds_measured_before_the_weights_changed_have_no_part_in_the_average() -> None:
    old = [result("a", "t", value, seed=seed, made_of="old") for seed, value in enumerate((10.0, 20.0))]
    new = [result("a", "t", value, seed=seed, made_of="new") for seed, value in enumerate((80.0,))]
    [row] = rank([*new, *old]).rows
    assert row.cells["t"].value == 80
    assert row.cells["t"].seeds == (0,)


def test_seeds_of_one_state_of_a_backbone_are_averaged() -> None:
    [row] = rank(result("a", "t", value, seed=seed, made_of="x") for seed, value in enumerate((80.0, 90.0))).rows
    assert (row.cells["t"].value, row.cells["t"].seeds) == (85, (0, 1))
