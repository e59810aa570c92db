"""Efficient tracking of all runs of a workspace."""

from __future__ import annotations

import time

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import request_cancel, request_retry, submit
from ssl_console.workspace.run import Attempt, RunState
from ssl_console.workspace.run_index import LONGEST_REST_S, MANY, Changes, RunIndex
from tests.ssl_console.workspace_fixture import Bench, eventually, spec


def names(changes: Changes) -> set[str]:
    return {entry.run_id for entry in changes.changed}


def test_new_runs_are_found_once(bench: Bench) -> None:
    index = RunIndex(bench.workspace)
    assert index.refresh(time.time()) == Changes()
    bench.submit("a", backbone="demo/b", priority=2, seed=7)
    assert names(index.refresh(time.time())) == {"a"}
    run = index.entries["a"]
    assert (run.backbone, run.task, run.seed, run.priority) == ("demo/b", "rehearsal/none", 7, 2)
    assert names(index.refresh(time.time())) == set()
    bench.submit("b")
    assert names(index.refresh(time.time())) == {"b"}


def test_request_is_seen_however_soon_it_follows(bench: Bench) -> None:
    index = RunIndex(bench.workspace)
    for number in range(30):
        bench.submit(f"r{number}")
        assert names(index.refresh(time.time())) == {f"r{number}"}
        request_cancel(bench.workspace, f"r{number}")
        assert names(index.refresh(time.time())) == {f"r{number}"}
        request_retry(bench.workspace, f"r{number}")
        assert index.refresh(time.time()).changed[0].status.state is RunState.QUEUED


def test_request_is_seen_after_everything_had_been_quiet(bench: Bench) -> None:
    bench.submit("one")
    index = RunIndex(bench.workspace)
    index.refresh(time.time() + 10)
    index.refresh(time.time() + 11)
    request_cancel(bench.workspace, "one")
    assert index.refresh(time.time() + 12).changed[0].status.state is RunState.CANCELLED


def test_run_under_way_is_followed_without_reading_it_at_every_look(bench: Bench) -> None:
    bench.submit("one", "wait")
    index = RunIndex(bench.workspace)
    worker = bench.worker("one")
    bench.until_at_work("one")
    seen = index.refresh(time.time() + 5).changed
    assert [entry.status.state for entry in seen] == [RunState.RUNNING]
    begun = time.process_time()
    for tick in range(100):
        index.refresh(time.time() + 5 + tick / 1000)
    assert time.process_time() - begun < 0.05
    bench.go()
    worker.communicate(b"")
    eventually(lambda: any(entry.status.state is RunState.DONE for entry in index.refresh(time.time()).changed), "done")


def test_removed_run_is_told(bench: Bench) -> None:
    folder = bench.submit("one")
    index = RunIndex(bench.workspace)
    index.refresh(time.time())
    folder.spec.unlink()
    folder.path.rmdir()
    assert index.refresh(time.time()).removed == ("one",)
    assert index.entries == {}


def test_folder_that_is_no_run_is_named_and_harms_no_other(bench: Bench) -> None:
    bench.submit("good")
    (bench.workspace.runs / "empty").mkdir()
    (bench.workspace.runs / "bad").mkdir()
    (bench.workspace.runs / "bad" / "run.json").write_text('{"task": 3}')
    (bench.workspace.runs / "stray.txt").write_text("")
    index = RunIndex(bench.workspace)
    index.refresh(time.time())
    assert set(index.entries) == {"good"}
    assert {"empty", "bad"} <= set(index.unreadable)


def test_thousands_of_ended_runs_cost_nothing_once_they_are_known(bench: Bench) -> None:
    count = 2_000
    _ended_runs(bench.workspace, count)
    index = RunIndex(bench.workspace)
    later = time.time() + 10
    assert len(index.refresh(later).changed) == count
    begun = time.process_time()
    for tick in range(20):
        assert index.refresh(later + 1 + tick / 10) == Changes()
    assert time.process_time() - begun < 0.05


def test_who_can_wait_looks_at_many_runs_less_often_and_misses_nothing(bench: Bench) -> None:
    _ended_runs(bench.workspace, MANY + 1)
    index, now = RunIndex(bench.workspace), time.time()
    index.refresh(now, at_once=False)
    bench.submit("one")
    assert index.refresh(now, at_once=False) == Changes()
    assert names(index.refresh(now)) == {"one"}
    request_cancel(bench.workspace, "one")
    assert names(index.refresh(now + LONGEST_REST_S, at_once=False)) == {"one"}


def test_run_that_was_handed_out_is_seen_to_begin_without_looking_at_the_others(bench: Bench) -> None:
    _ended_runs(bench.workspace, MANY + 1)
    bench.submit("one", "wait")
    index, now = RunIndex(bench.workspace), time.time()
    index.refresh(now)
    index.expect("one")
    assert index.refresh(now, at_once=False) == Changes()
    worker = bench.worker("one")
    bench.until_at_work("one")
    assert names(index.refresh(now, at_once=False)) == {"one"}
    bench.go()
    worker.communicate(b"")
    eventually(lambda: "one" in names(index.refresh(now, at_once=False)), "done")
    assert index.entries["one"].status.state is RunState.DONE


def test_folder_that_is_no_run_is_no_problem_once_it_is_away(bench: Bench) -> None:
    (bench.workspace.runs / "empty").mkdir()
    index = RunIndex(bench.workspace)
    index.refresh(time.time())
    assert set(index.unreadable) == {"empty"}
    (bench.workspace.runs / "empty").rmdir()
    index.refresh(time.time())
    assert not index.unreadable


def _ended_runs(workspace: Workspace, count: int) -> None:
    text = spec("x").model_dump_json().encode()
    for number in range(count):
        folder = workspace.run(f"r{number}")
        folder.path.mkdir()
        folder.spec.write_bytes(text)
        folder.result.write_bytes(b"{}")
    submit(workspace, "last", text)
    (workspace.run("last").path / "run.json").unlink()
    workspace.run("last").path.rmdir()


def test_an_ended_run_is_remembered_without_its_worker_unless_a_cluster_job_is_shown(workspace: Workspace) -> None:
    for name, job in (("here", ""), ("on-a-cluster", "j1")):
        folder = submit(workspace, name, spec(name).model_dump_json().encode())
        owner = Attempt(attempt=1, host="elsewhere", pid=4_000_000, pid_started=1.0, device="cpu", started=2.0, job=job)
        folder.attempt(1).write_text(owner.model_dump_json())
        folder.result.write_text("{}")
    index = RunIndex(workspace)
    index.refresh(time.time())
    assert index.entries["here"].status.owner is None
    shown = index.entries["on-a-cluster"].status.owner
    assert shown is not None
    assert shown.job == "j1"
