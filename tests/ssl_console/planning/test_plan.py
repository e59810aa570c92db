from __future__ import annotations

from typing import Any

import pytest

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights
from ssl_console.planning.plan import Blocker, Candidate, Plan, make_plan, new_run_id
from ssl_console.workspace.result import Result, what_changed
from ssl_console.workspace.run import RunState
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard

KEY = "0123456789ab" + "0" * 52
OTHER = "ba9876543210" + "0" * 52
ID = KEY[:12]
TASK = TaskCatalog.load().resolve("linear/digits")
DATASET = DatasetCard(name="digits", title="Digits", reader="digits", classes=10, protocols=("*",))
IDENTITY: dict[str, Any] = {
    "backbone": {"weights": "w1", "preprocessing": {"crop": 32}},
    "data": {"manifest": "m1"},
    "task": {"version": 1, "parameters": {"strengths": 45}},
    "seed": 0,
}


def candidate(key: str | None = KEY, *folders: tuple[str, RunState], **other: Any) -> Candidate:
    card = BackboneCard(
        name="a", title="A", architecture="test_resnet", weights=RandomWeights(), facts=FactsCard(method="none")
    )
    given: dict[str, Any] = {"backbone": card, "task": TASK, "dataset": DATASET, "seed": 0, "identity": IDENTITY}
    return Candidate(**{**given, **other}, key=key, folders=folders)


def result(key: str, **other: Any) -> Result:
    given: dict[str, Any] = {
        "run_id": key[:12],
        "backbone": "a",
        "task": "linear/digits",
        "column": "c",
        "seed": 0,
        "metric": "accuracy",
        "value": 90,
        "ci_low": 89,
        "ci_high": 91,
        "n": 450,
        "finished": 1.0,
        "duration_s": 20.0,
    }
    return Result(**{**given, **other}, key=key)


def plan(*candidates: Candidate, results: tuple[Result, ...] = (), **other: Any) -> Plan:
    return make_plan(candidates, results, **{"slots": 1, **other})


def test_what_was_never_measured_is_new_and_its_id_is_the_beginning_of_its_key() -> None:
    run = plan(candidate()).runs[0]
    assert (run.status, run.run_id, run.to_run) == ("new", ID, True)


def test_what_has_a_result_is_done() -> None:
    run = plan(candidate(), results=(result(KEY),)).runs[0]
    assert (run.status, run.run_id, run.to_run) == ("done", ID, False)


def test_a_finished_folder_counts_before_the_database_knows_it() -> None:
    run = plan(candidate(KEY, (ID, RunState.DONE))).runs[0]
    assert (run.status, run.run_id) == ("done", ID)


def test_a_folder_whose_data_changed_before_it_ran_does_not_count_as_its_keys_result() -> None:
    run = plan(candidate(KEY, (ID, RunState.DONE)), results=(result(OTHER, run_id=ID, seed=5),)).runs[0]
    assert (run.status, run.run_id, run.to_run) == ("new", f"{ID}-2", True)


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.STARTING, RunState.RUNNING])
def test_what_is_queued_or_going_on_is_active_even_when_forced(state: RunState) -> None:
    run = plan(candidate(KEY, (ID, state)), force=True).runs[0]
    assert (run.status, run.run_id, run.to_run) == ("active", ID, False)


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_what_failed_is_run_again_in_its_folder(state: RunState) -> None:
    run = plan(candidate(KEY, (ID, state))).runs[0]
    assert (run.status, run.run_id, run.to_run) == ("new", ID, True)
    assert state in run.reason


def test_force_runs_what_is_done_in_a_folder_of_its_own() -> None:
    run = plan(candidate(KEY, (ID, RunState.DONE)), results=(result(KEY),), force=True).runs[0]
    assert (run.status, run.run_id, run.to_run) == ("new", f"{ID}-2", True)


def test_force_leaves_what_was_never_done_its_first_folder() -> None:
    assert plan(candidate(), force=True).runs[0].run_id == ID


@pytest.mark.parametrize(
    ("taken", "expected"), [((), ID), ((ID,), f"{ID}-2"), ((ID, f"{ID}-2"), f"{ID}-3"), ((f"{ID}-7",), f"{ID}-8")]
)
def test_ids_of_repeated_runs_count_up(taken: tuple[str, ...], expected: str) -> None:
    assert new_run_id(KEY, taken) == expected


def test_a_result_under_another_key_makes_a_run_stale_and_says_what_changed() -> None:
    old = {**IDENTITY, "data": {"manifest": "m0"}}
    run = plan(candidate(), results=(result(OTHER),), old_identity={OTHER[:12]: old}.get).runs[0]
    assert (run.status, run.run_id, run.to_run, run.reason) == ("stale", ID, True, "the dataset changed")


def test_a_stale_run_whose_past_is_unknown_says_so() -> None:
    assert "changed" in plan(candidate(), results=(result(OTHER),)).runs[0].reason


@pytest.mark.parametrize("different", [{"seed": 1}, {"variant": "paper"}, {"backbone": "b"}, {"task": "knn/digits"}])
def test_another_seed_variant_backbone_or_task_makes_nothing_stale(different: dict[str, Any]) -> None:
    assert plan(candidate(), results=(result(OTHER, **different),)).runs[0].status == "new"


def test_equal_content_under_another_name_is_done_and_says_where() -> None:
    run = plan(candidate(), results=(result(KEY, backbone="twin"),)).runs[0]
    assert (run.status, run.reason) == ("done", "the same measurement is listed as twin on linear/digits")


def test_what_lacks_weights_has_no_id_and_is_not_run() -> None:
    lacking = Blocker("weights", "a", "fetch them")
    found = plan(candidate(None, missing=(lacking,)), candidate(None, missing=(lacking,), seed=1))
    assert [(run.status, run.run_id, run.to_run) for run in found.runs] == [("new", None, False)] * 2
    assert found.missing == (lacking,)
    assert (found.counts["missing"], found.counts["to_run"]) == (2, 0)


def test_counts_add_up() -> None:
    found = plan(candidate(), candidate(OTHER, (OTHER[:12], RunState.QUEUED)), results=(result(KEY),))
    assert found.counts == {"done": 1, "stale": 0, "active": 1, "new": 0, "missing": 0, "to_run": 0, "total": 2}


def test_the_time_left_counts_what_is_to_run_and_what_is_going_on() -> None:
    active = candidate(OTHER, (OTHER[:12], RunState.RUNNING), seed=2)
    assert plan(candidate(seed=1), active, results=(result("f" * 64),)).eta_s == 40


def test_the_time_left_is_unknown_without_history_and_nothing_when_all_is_done() -> None:
    assert plan(candidate()).eta_s is None
    assert plan(candidate(), results=(result(KEY),)).eta_s == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbone": {"weights": "w2", "preprocessing": {"crop": 32}}}, "the weights changed"),
        ({"backbone": {"weights": "w1", "preprocessing": {"crop": 64}}}, "the preprocessing changed"),
        ({"backbone": {"weights": "w1", "preprocessing": {"crop": 32}, "x": 1}}, "the backbone's card changed"),
        ({"data": {"manifest": "m2"}}, "the dataset changed"),
        ({"task": {"version": 2, "parameters": {"strengths": 45}}}, "the protocol has a new version"),
        ({"task": {"version": 1, "parameters": {"strengths": 9}}}, "the task's parameters changed"),
        ({"surprise": 1}, "surprise changed"),
        (
            {"data": {"manifest": "m2"}, "task": {"version": 2, "parameters": {"strengths": 45}}},
            "the dataset changed, the protocol has a new version",
        ),
        ({}, ""),
    ],
)
def test_changes_are_said_in_words(change: dict[str, Any], words: str) -> None:
    assert what_changed(IDENTITY, {**IDENTITY, **change}) == words
