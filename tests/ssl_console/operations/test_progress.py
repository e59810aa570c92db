from __future__ import annotations

from collections.abc import Sequence

import pytest

from ssl_console.cli.output.progress import PlainProgress, activity_text, outcome_text, summary_text, title
from ssl_console.operations.progress import (
    ProgressSnapshot,
    ProgressSummary,
    Results,
    RunReader,
    changes,
    fingerprints,
    summarize,
    time_left,
)
from ssl_console.planning.duration import History
from ssl_console.workspace.events import Progress
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView
from tests.ssl_console.run_views import run_view
from tests.ssl_console.workspace_fixture import Bench

NOW = 1000.0


def result(value: float = 90.0, seconds: float = 20.0) -> Result:
    return Result(
        run_id="r",
        key="k",
        backbone="a",
        task="linear/x",
        column="c",
        seed=0,
        metric="accuracy",
        value=value,
        ci_low=value - 1,
        ci_high=value + 2,
        n=100,
        finished=1.0,
        duration_s=seconds,
    )


def summary(*runs: RunView, history: Sequence[Result] = (), total: int | None = None) -> ProgressSummary:
    return summarize(runs, History.of(history), 1, NOW, len(runs) if total is None else total)


def test_everything_together_is_one_sentence() -> None:
    runs = (
        run_view("1", RunState.DONE),
        run_view("2", RunState.FAILED),
        run_view("3", RunState.RUNNING, progress=Progress(started=NOW - 5)),
        run_view("4", RunState.QUEUED),
    )
    text = summary_text(summary(*runs, history=[result()]))
    assert text == "2 of 4 finished (1 failed), 1 running, 1 queued, about 35 s left"


def test_nothing_is_said_of_the_time_left_while_nothing_comparable_is_known() -> None:
    assert summary_text(summary(run_view("1", RunState.QUEUED))).endswith("1 queued")


def test_a_run_that_is_like_nothing_before_counts_as_the_mean_of_the_others() -> None:
    runs = [run_view("1", RunState.QUEUED), run_view("2", RunState.QUEUED, task="new/x")]
    assert time_left(runs, History.of([result()]), slots=1, now=NOW) == 40


def test_a_run_that_takes_longer_than_expected_leaves_no_negative_time() -> None:
    late = run_view("1", RunState.RUNNING, progress=Progress(started=NOW - 500))
    assert time_left([late], History.of([result()]), slots=1, now=NOW) == 0


def test_active_runs_take_their_slots_before_queued_ones() -> None:
    runs = [run_view("1", RunState.QUEUED), run_view("2", RunState.RUNNING, progress=Progress(started=NOW - 15))]
    assert time_left(runs, History.of([result()]), slots=2, now=NOW) == 20
    assert time_left(runs, History.of([result()]), slots=1, now=NOW) == 25


def test_all_ended_only_counts_as_success_when_all_are_done() -> None:
    done, failed = run_view("1", RunState.DONE), run_view("2", RunState.FAILED)
    both, one = summary(done, failed), summary(done)
    assert (both.ended, both.succeeded, one.ended, one.succeeded) == (True, False, True, True)


def test_runs_whose_folders_were_removed_end_the_following_but_not_well() -> None:
    found = summary(run_view("1", RunState.DONE), total=2)
    assert (found.ended, found.succeeded, summary_text(found)) == (True, False, "1 of 2 finished, 1 removed")


def changed(before: Sequence[RunView], after: Sequence[RunView], *results: Results) -> list[RunView]:
    earlier, later = results or ({}, {})
    return changes(fingerprints(before, earlier), after, later)


def test_only_what_is_another_than_before_has_changed() -> None:
    before = [run_view("1", RunState.QUEUED), run_view("2", RunState.QUEUED)]
    after = [run_view("1", RunState.RUNNING), run_view("2", RunState.QUEUED)]
    assert [run.run_id for run in changed(before, after)] == ["1"]
    assert changed(after, after) == []
    assert changed([], after) == after


def test_progress_alone_is_no_change_but_a_result_is() -> None:
    running, done = run_view("1", RunState.RUNNING), run_view("1", RunState.DONE)
    assert changed([running], [run_view("1", RunState.RUNNING, progress=Progress(done=5))]) == []
    assert changed([done], [done], {}, {"1": result()}) == [done]


def test_a_done_run_is_shown_as_ended_once_its_result_can_be_read() -> None:
    done, failed = run_view("1", RunState.DONE), run_view("2", RunState.FAILED)
    both = summary(done, failed)
    assert ProgressSnapshot(NOW, 1.0, [done, failed], {}, [done, failed], both).ended == [failed]
    assert ProgressSnapshot(NOW, 1.0, [done, failed], {"1": result()}, [done, failed], both).ended == [done, failed]


def test_known_results_are_not_read_from_their_folders_and_unreadable_ones_are_left_out(bench: Bench) -> None:
    for name in ("a", "b"):
        bench.submit(name).result.write_text("{}")
    reader = RunReader(bench.workspace, {"a": result()})
    reader.poll()
    runs = reader.runs(["b", "gone", "a"])
    assert [run.run_id for run in runs] == ["b", "a"]
    assert reader.results_of(runs) == {"a": result()}


def test_a_running_run_says_phase_counts_speed_and_time_left() -> None:
    progress = Progress(
        phase="encoding train", done=512, total=1024, unit="images", phase_started=NOW - 4, images_per_s=128.0
    )
    said = activity_text(run_view("1", RunState.RUNNING, progress=progress), NOW)
    assert said == "encoding train 512/1,024 images, 128 images/s, 4 s left"


def test_a_waiting_run_says_why() -> None:
    assert activity_text(run_view("1", RunState.QUEUED, reason="needs 18 GB"), NOW) == "needs 18 GB"
    assert activity_text(run_view("1", RunState.QUEUED), NOW) == "queued"


@pytest.mark.parametrize(
    ("run", "outcome", "text"),
    [
        (run_view("1", RunState.DONE), result(), "90.0 -1.0+2.0 (20 s)"),
        (run_view("1", RunState.DONE), None, "done"),
        (run_view("1", RunState.FAILED, kind="oom", reason="no memory"), None, "failed (oom): no memory"),
        (run_view("1", RunState.CANCELLED), None, "cancelled"),
    ],
)
def test_an_ended_run_says_how(run: RunView, outcome: Result | None, text: str) -> None:
    assert outcome_text(run, outcome) == text


def test_a_title_names_the_seed_only_where_it_is_not_the_usual_one() -> None:
    assert title(run_view("1", RunState.DONE)) == "a on linear/x"
    assert title(run_view("1", RunState.DONE, seed=3)) == "a on linear/x, seed 3"


def test_plain_lines_become_rarer_so_that_a_long_run_floods_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    view, run = PlainProgress(), run_view("1", RunState.RUNNING)
    for tick in range(4 * 3600):
        view.show(ProgressSnapshot(NOW, tick / 4, [run], {}, [], summary(run)))
    lines = capsys.readouterr().err.splitlines()
    assert 50 < len(lines) / 2 < 120


def test_plain_lines_put_scores_on_standard_output_and_progress_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done, running = run_view("1", RunState.DONE), run_view("2", RunState.RUNNING)
    PlainProgress().show(ProgressSnapshot(NOW, 60.0, [done, running], {"1": result()}, [done], summary(done, running)))
    written = capsys.readouterr()
    assert written.out == "a on linear/x: 90.0 -1.0+2.0 (20 s)\n"
    assert written.err.startswith("1 of 2 finished, 1 running")
