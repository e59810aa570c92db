"""Remaining time of the whole run and the whole queue, from the durations of similar runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssl_console.tui.data.state import AppState, SupervisorStatus
from ssl_console.tui.views.live import history_of, queue_left_s, queue_text, run_left_s, run_share
from ssl_console.workspace.events import Progress
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView
from tests.ssl_console.run_views import run_view
from tests.ssl_console.tui import filled

NOW = filled.NOW


def finished(seconds: float) -> AppState:
    """A state in which `demo/mae` on `knn/digits` took this long."""
    return AppState(results=(filled.result("demo/mae", "knn/digits").model_copy(update={"duration_s": seconds}),))


@pytest.fixture
def used_runs() -> tuple[RunView, RunView]:
    """One run that began 40 s ago, and one that waits."""
    progress = Progress(started=NOW - 40.0)
    running = run_view("a", RunState.RUNNING, progress=progress, backbone="demo/mae", task="knn/digits")
    return running, run_view("b", RunState.QUEUED, backbone="demo/mae", task="knn/digits")


def test_a_run_is_as_far_as_the_time_that_such_a_run_takes(used_runs: tuple[RunView, RunView]) -> None:
    running, _ = used_runs
    history = history_of(finished(100.0).results)
    left = run_left_s(running, history, NOW)
    assert left == 60.0
    assert run_share(running, left, NOW) == 0.4


def test_a_phase_that_alone_takes_longer_counts(used_runs: tuple[RunView, RunView]) -> None:
    running, _ = used_runs
    progress = replace(running.progress, phase_started=NOW - 10.0, last_event=NOW, done=10, total=100)
    assert run_left_s(replace(running, progress=progress), history_of(finished(50.0).results), NOW) == 90.0


def test_nothing_is_said_of_a_run_like_which_none_has_finished(used_runs: tuple[RunView, RunView]) -> None:
    running, _ = used_runs
    assert run_left_s(running, history_of(()), NOW) is None


def test_the_queue_ends_when_its_last_run_does(used_runs: tuple[RunView, RunView]) -> None:
    state = replace(finished(100.0), runs={run.run_id: run for run in used_runs})
    assert queue_left_s(state, NOW) == 160.0, "one after the other: 60 s of the first, then 100 s"
    assert queue_text(state, NOW) == "0 of 2 ended, about 3 min left"
    paused = replace(state, supervisor=SupervisorStatus(alive=True, paused=True))
    assert queue_text(paused, NOW) == "0 of 2 ended", "a paused queue ends at no time"
    assert queue_text(finished(100.0), NOW) == ""
