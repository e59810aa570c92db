from __future__ import annotations

import random
from statistics import fmean

import pytest

from ssl_console.analysis.additive_estimate import (
    _by_backbone,
    _by_task,
    circles,
    estimates,
    on_one_scale,
    ordered,
    sweeps,
)
from ssl_console.analysis.ranking import Ranking, RankingRow, rank, sort_rows
from ssl_console.analysis.statistics.distributions import t_quantile
from tasks.metrics.outcome import student_95
from tests.ssl_console.analysis.test_ranking import result


def table(scores: dict[str, dict[str, float]]) -> Ranking:
    return rank(result(name, task, value) for name, cells in scores.items() for task, value in cells.items())


def is_swept(high: RankingRow, low: RankingRow) -> bool:
    pairs = [(high.cells[label].value, cell.value) for label, cell in low.cells.items() if label in high.cells]
    return bool(pairs) and all(one >= other for one, other in pairs) and any(one > other for one, other in pairs)


def test_effects_of_backbones_and_tasks_are_recovered_in_spite_of_holes() -> None:
    truth = {"a": 1.0, "b": 0.2, "c": -1.2}
    scores = {f"t{place}": {name: value + place for name, value in truth.items()} for place in range(4)}
    del scores["t0"]["a"], scores["t3"]["c"]
    found = estimates(scores)
    assert {name: one.value for name, one in found.items()} == pytest.approx(truth)


def test_what_is_missing_widens_the_interval() -> None:
    generator = random.Random(0)
    scores = {f"t{task}": {f"b{name}": generator.gauss(0, 1) for name in range(5)} for task in range(8)}
    for task in range(6):
        del scores[f"t{task}"]["b0"]
    found = estimates(scores)
    widths = {name: one.half_width or 0.0 for name, one in found.items()}
    assert widths["b0"] > 1.5 * max(width for name, width in widths.items() if name != "b0")


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 30, 1000])
def test_intervals_use_students_quantile(degrees: int) -> None:
    assert student_95(degrees) == pytest.approx(t_quantile(degrees), rel=0.003)


def test_one_task_says_nothing_of_its_own_certainty() -> None:
    assert estimates({"t": {"a": 1.0, "b": 0.0}})["a"].half_width is None


def test_backbones_without_a_common_task_are_estimated_apart() -> None:
    found = estimates({"t": {"a": 5.0, "b": 3.0}, "u": {"c": 90.0, "d": 80.0}})
    assert {name: one.value for name, one in found.items()} == {"a": 1, "b": -1, "c": 5, "d": -5}


def test_errors_weigh_as_much_as_percentages_whatever_their_unit() -> None:
    small, large = ({"t": {"a": 0.1 * unit, "b": 0.3 * unit, "c": 0.2 * unit}} for unit in (1.0, 1000.0))
    shares = {"u": {"a": 1.0, "b": 0.0, "c": 0.4}}
    assert on_one_scale(shares, small)["t"] == pytest.approx(on_one_scale(shares, large)["t"])


def test_no_sweep_over_shared_tasks_is_inverted_by_completeness() -> None:
    """Random tables: a backbone ahead on every shared task is ranked higher, unless both are in a cycle."""
    generator, swept = random.Random(1), 0
    for _ in range(200):
        backbones, tasks = generator.randint(2, 7), generator.randint(1, 6)
        scores = {
            f"b{name}": {f"t{task}": generator.uniform(5, 95) for task in range(tasks) if generator.random() < 0.7}
            for name in range(backbones)
        }
        rows = table(scores).rows
        for place, low in enumerate(rows):
            for high in rows[:place]:
                swept += is_swept(high, low)
                assert not is_swept(low, high) or (low.circle and high.circle)
    assert swept > 500


def test_a_winner_with_a_hole_stands_above_the_complete_loser() -> None:
    tasks = [f"t{place}" for place in range(6)]
    ranking = table({"complete": dict.fromkeys(tasks, 60.0), "winner": dict.fromkeys(tasks[:5], 80.0)})
    assert [row.backbone for row in ranking.rows] == ["winner", "complete"]


def test_a_circle_is_named_and_no_other_row_is() -> None:
    scores: dict[str, dict[str, float]] = {
        "a": {"t": 3, "v": 1},
        "b": {"t": 2, "u": 3},
        "c": {"u": 2, "v": 2},
        "d": {"t": 1, "u": 1, "v": 0.5},
    }
    by_task: dict[str, dict[str, float]] = {}
    for name, cells in scores.items():
        for task, value in cells.items():
            by_task.setdefault(task, {})[name] = value
    assert circles(sweeps(by_task)) == {"a", "b", "c"}
    assert {row.backbone for row in table(scores).rows if row.circle} == {"a", "b", "c"}


@pytest.mark.parametrize("seed", range(20))
def test_ahead_on_every_shared_task_is_what_a_pairwise_comparison_finds(seed: int) -> None:
    chance = random.Random(seed)
    names, tasks = [f"b{number}" for number in range(9)], ["t", "u", "v"]
    scores = {task: {name: float(chance.randrange(4)) for name in chance.sample(names, 6)} for task in tasks}

    def ahead(one: str, other: str) -> bool:
        shared = [(cells[one], cells[other]) for cells in scores.values() if one in cells and other in cells]
        return all(own >= rival for own, rival in shared) and any(own > rival for own, rival in shared)

    present = {name for cells in scores.values() for name in cells}
    assert sweeps(scores) == {one: frozenset(other for other in present if ahead(one, other)) for one in present}


def test_of_two_that_stand_the_wrong_way_round_the_one_with_fewer_cells_moves() -> None:
    edges = {"few": frozenset({"many"}), "many": frozenset[str](), "other": frozenset[str]()}
    values = {"many": 2.0, "other": 1.0, "few": 0.0}
    assert ordered(values, {"few": 1, "many": 9, "other": 9}, edges) == ["few", "many", "other"]
    assert ordered(values, {"few": 9, "many": 1, "other": 9}, edges) == ["other", "few", "many"]


def test_sorting_by_the_estimate_is_the_default_order() -> None:
    ranking = table({"a": {"t": 50, "u": 50}, "b": {"t": 60, "u": 70}})
    assert sort_rows(sort_rows(ranking, "backbone"), "estimate") == ranking


def test_equations_of_the_tasks_and_of_the_backbones_have_the_same_solution() -> None:
    for seed in range(20):
        drawn = random.Random(seed)
        names = [f"b{number}" for number in range(drawn.randint(2, 12))]
        tasks = range(drawn.randint(1, 8))
        scores = {
            f"t{task}": {name: drawn.gauss(0, 1) for name in names if task == 0 or drawn.random() < 0.6}
            for task in tasks
        }
        scores = {task: cells for task, cells in scores.items() if cells}
        right = {
            name: sum(cells[name] - fmean(cells.values()) for cells in scores.values() if name in cells)
            for name in names
        }
        for one, other in zip(_by_backbone(names, scores, right), _by_task(names, scores, right), strict=True):
            assert one == pytest.approx(other, abs=1e-9)
