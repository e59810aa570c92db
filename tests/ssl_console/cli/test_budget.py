"""Runs that fit into a number of hours, and those most informative about the ranking."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from ssl_console.operations.budget import NOISE, SPREAD, Belief, BudgetCell, belief_of, plan_budget
from ssl_console.workspace.result import Result
from tests.ssl_console.cli.shell import Shell

EVEN = {"a": 0.0, "b": 0.0, "c": 0.0}


def fresh(**means: float) -> Belief:
    return Belief(dict(means), dict.fromkeys(means, SPREAD**2))


def score(backbone: str, task: str, value: float) -> Result:
    return Result(
        run_id=f"{backbone}{task}", key=f"{backbone}{task}", backbone=backbone, task=task, column=task, seed=0,
        metric="accuracy", value=value, ci_low=value - 1, ci_high=value + 1, n=1000, finished=1.0, duration_s=10.0,
    )  # fmt: skip


def test_without_any_result_every_pair_is_as_likely_wrong_as_right() -> None:
    assert fresh(**EVEN).doubt() == pytest.approx(3 * 0.5)


def test_measuring_lowers_the_doubt_and_less_each_time() -> None:
    belief = fresh(**EVEN)
    cells = [BudgetCell("a", f"t{number}", 1.0, "measured") for number in range(5)]
    gains = []
    for cell in cells:
        gains.append(belief.gain(cell))
        belief.measure(cell)
    assert gains[0] > 0
    assert all(later < earlier for earlier, later in pairwise(gains))


def test_the_expected_doubt_is_that_of_the_exact_formula() -> None:
    """For two equal means, the probability of a wrong order after one more observation is atan(s / r) / pi."""
    belief = fresh(a=0.0, b=0.0)
    cell = BudgetCell("a", "t", 1.0, "measured")
    noise = NOISE**2 * 3
    after = 1 / (1 / SPREAD**2 + 1 / noise)
    exact = math.atan(math.sqrt(after + SPREAD**2) / math.sqrt(SPREAD**2 - after)) / math.pi
    assert belief.doubt() - belief.gain(cell) == pytest.approx(exact, abs=5e-3)


def test_close_rivals_are_measured_before_one_that_is_far_ahead() -> None:
    belief = fresh(far=3.0, near=0.0, nearer=0.01)
    cells = [BudgetCell(name, "t", 60.0, "measured") for name in ("far", "near", "nearer")]
    found = plan_budget(cells, belief, 130.0)
    assert {choice.cell.backbone for choice in found.choices} == {"near", "nearer"}
    assert [cell.backbone for cell in found.left_out] == ["far"]
    assert found.doubt_after < found.doubt_before


def test_of_two_equally_telling_runs_the_shorter_one_comes_first_and_time_is_never_exceeded() -> None:
    cells = [BudgetCell("a", "slow", 100.0, "measured"), BudgetCell("a", "quick", 10.0, "measured")]
    found = plan_budget(cells, fresh(a=0.0, b=0.0), 105.0)
    assert [choice.cell.task for choice in found.choices] == ["quick"]
    assert found.choices[-1].ends_s <= 105.0


def test_no_slot_is_busy_for_longer_than_there_is_time() -> None:
    cells = [
        BudgetCell("a", "long", 100.0, "measured"),
        BudgetCell("b", "short", 40.0, "measured"),
        BudgetCell("c", "t", 40.0, "measured"),
    ]
    found = plan_budget(cells, fresh(**EVEN), 60.0, slots=2)
    assert [choice.ends_s for choice in found.choices] == [40.0, 40.0]
    assert [cell.task for cell in found.left_out] == ["long"]
    assert plan_budget(cells, fresh(**EVEN), 140.0, slots=2).ends_s == 140.0


def test_what_is_under_way_takes_its_time_first_and_is_counted_as_told() -> None:
    cells = [BudgetCell("b", "t", 40.0, "measured")]
    found = plan_budget(cells, fresh(**EVEN), 60.0, under_way=[BudgetCell("a", "t", 30.0, "measured")])
    assert not found.choices
    assert found.doubt_before < fresh(**EVEN).doubt()
    assert len(plan_budget(cells, fresh(**EVEN), 70.0, under_way=[BudgetCell("a", "t", 30.0, "measured")]).choices) == 1


def test_images_of_a_dataset_are_encoded_once_per_backbone() -> None:
    cells = [BudgetCell("a", task, 110.0, "profiled", None, "d", 100.0) for task in ("linear/d", "knn/d")]
    found = plan_budget(cells, fresh(a=0.0, b=0.0), 120.0)
    assert [(choice.seconds, choice.ends_s) for choice in found.choices] == [(110.0, 110.0), (10.0, 120.0)]


def test_results_decide_what_is_believed() -> None:
    results = [score(name, task, value) for name, value in (("a", 80.0), ("b", 50.0)) for task in ("t1", "t2", "t3")]
    belief = belief_of(["a", "b", "c"], results)
    assert belief.means["a"] > 0 > belief.means["b"]
    assert belief.means["c"] == 0
    assert belief.now["c"] == pytest.approx(SPREAD**2)
    assert belief.now["a"] < SPREAD**2
    assert belief.measured["t1"] == 2


def test_the_command_plans_from_history_and_runs_what_fits_in_that_order(shell: Shell) -> None:
    shell.workspace.config.write_text('devices = ["cpu"]\nslots_per_device = 1\n')
    assert shell("run", "-b", "own/first", "-t", "echo/things").code == 0
    asked = ("budget", "--hours", "1", "-b", "own/*", "--suite", "both")
    planned = shell(*asked, "--json")
    assert planned.code == 0, planned.err
    runs = planned.document["runs"]
    assert len(runs) == 3
    assert {run["basis"] for run in runs} == {"estimated"}
    assert [run["ends_s"] for run in runs] == sorted(run["ends_s"] for run in runs)
    assert planned.document["wrong_pairs_after"] < planned.document["wrong_pairs_before"]
    ran = shell(*asked, "--json", "--run")
    assert ran.code == 0, ran.err
    assert ran.lines[0]["event"] == "budget"
    assert ran.lines[0]["runs"] == runs
    order = [line.split()[:2] for line in (shell.workspace.features / "journal").read_text().splitlines()]
    assert order[1:] == [[run["backbone"], run["task"]] for run in runs]
    again = shell(*asked, "--run")
    assert again.code == 0
    assert "nothing is left to run; 4 already done" in again.out


def test_what_takes_longer_than_there_is_time_is_named_with_its_time(shell: Shell) -> None:
    assert shell("run", "-b", "own/first", "-t", "echo/things", "--set", "echo.seconds=5").code == 0
    short = shell("budget", "--hours", "0.001", "-b", "own/second", "-t", "echo/things", "--set", "echo.seconds=5")
    assert short.code == 0
    assert "0 of 1 runs fit into 0.001 h" in short.out
    assert "left out: echo/things, 1 run of" in short.out


def test_what_cannot_be_planned_is_said_with_the_reason(shell: Shell) -> None:
    nothing_known = shell("budget", "--hours", "1", "-b", "own/*", "-t", "echo/things")
    assert nothing_known.code == 0
    assert "2 runs of echo/things cannot be planned: no echo [default] was measured yet" in nothing_known.err
    absent = shell("budget", "--hours", "1", "-b", "own/first", "-t", "echo/absent", "--run")
    assert absent.code == 3
    assert absent.out == "nothing can be planned; 1 cannot run\n"
    assert "absent" in absent.err


@pytest.mark.slow
def test_a_backbone_without_history_is_profiled_once(shell: Shell) -> None:
    asked = ("budget", "--hours", "1", "-b", "demo/rotation", "-t", "knn/digits", "-t", "few-shot-5/digits", "--json")
    planned = shell(*asked)
    assert planned.code == 0, planned.err
    assert "measuring the speed of demo/rotation" in planned.err
    first, second = planned.document["runs"]
    assert (first["basis"], second["basis"]) == ("profiled", "profiled")
    assert second["seconds"] == pytest.approx(10)
    assert second["seconds"] < first["seconds"] < 3600
    again = shell(*asked)
    assert "measuring the speed" not in again.err
    assert again.document["runs"] == planned.document["runs"]
