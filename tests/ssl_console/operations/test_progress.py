from __future__ import annotations

from typing import Any

import pytest

from ssl_console.cli.output.progress import PlainProgress, ProgressSnapshot
from ssl_console.operations.progress import RunProgress, activity_text, changes, outcome_text, overall, time_left
from ssl_console.planning.duration import History, Work
from ssl_console.workspace.events import Progress
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunState

NOW = 1000.0


def standing(run_id: str, state: RunState, **other: Any) -> RunProgress:
    work = Work(other.pop("backbone", "a"), other.pop("task", "linear/x"), "default", "linear")
    return RunProgress(run_id, work, other.pop("seed", 0), state, **other)


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


def words(*standings: RunProgress) -> str:
    return overall(standings, History.of([result()]), slots=1, now=NOW).words


def test_everything_together_is_one_sentence() -> None:
    said = words(
        standing("1", RunState.DONE),
        standing("2", RunState.FAILED),
        standing("3", RunState.RUNNING, progress=Progress(started=NOW - 5)),
        standing("4", RunState.QUEUED),
    )
    assert said == "2 of 4 finished (1 failed), 1 running, 1 queued, about 35 s left"


def test_nothing_is_said_of_the_time_left_while_nothing_comparable_is_known() -> None:
    assert overall([standing("1", RunState.QUEUED, task="linear/x")], History.of([]), 1, NOW).words.endswith("1 queued")


def test_a_run_that_is_like_nothing_before_counts_as_the_mean_of_the_others() -> None:
    unlike = RunProgress("2", Work("a", "new/x", "default", "new"), 0, RunState.QUEUED)
    assert time_left([standing("1", RunState.QUEUED), unlike], History.of([result()]), slots=1, now=NOW) == 40


def test_a_run_that_takes_longer_than_expected_leaves_no_negative_time() -> None:
    late = standing("1", RunState.RUNNING, progress=Progress(started=NOW - 500))
    assert time_left([late], History.of([result()]), slots=1, now=NOW) == 0


def test_all_ended_only_counts_as_success_when_all_are_done() -> None:
    done, failed = standing("1", RunState.DONE), standing("2", RunState.FAILED)
    both, one = overall([done, failed], History.of([]), 1, NOW), overall([done], History.of([]), 1, NOW)
    assert (both.ended, both.succeeded, one.ended, one.succeeded) == (True, False, True, True)


def test_runs_whose_folders_were_removed_end_the_following_but_not_well() -> None:
    found = overall([standing("1", RunState.DONE)], History.of([]), 1, NOW, followed=2)
    assert (found.ended, found.succeeded, found.words) == (True, False, "1 of 2 finished, 1 removed")


def test_only_what_is_another_than_before_has_changed() -> None:
    before = [standing("1", RunState.QUEUED), standing("2", RunState.QUEUED)]
    after = [standing("1", RunState.RUNNING), standing("2", RunState.QUEUED)]
    assert [one.run_id for one in changes(before, after)] == ["1"]
    assert changes(after, after) == []
    assert changes([], after) == after


def test_progress_alone_is_no_change_but_a_result_is() -> None:
    running = standing("1", RunState.RUNNING)
    assert changes([running], [standing("1", RunState.RUNNING, progress=Progress(done=5))]) == []
    assert changes([standing("1", RunState.DONE)], [standing("1", RunState.DONE, result=result())]) != []


def test_a_running_run_says_phase_counts_speed_and_time_left() -> None:
    progress = Progress(
        phase="encoding train", done=512, total=1024, unit="images", phase_started=NOW - 4, images_per_s=128.0
    )
    said = activity_text(standing("1", RunState.RUNNING, progress=progress), NOW)
    assert said == "encoding train 512/1,024 images, 128 images/s, 4 s left"


def test_a_waiting_run_says_why() -> None:
    assert activity_text(standing("1", RunState.QUEUED, reason="needs 18 GB"), NOW) == "needs 18 GB"
    assert activity_text(standing("1", RunState.QUEUED), NOW) == "queued"


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (standing("1", RunState.DONE, result=result()), "90.0 ±1.5 (20 s)"),
        (standing("1", RunState.DONE), "done"),
        (standing("1", RunState.FAILED, kind="oom", reason="no memory"), "failed (oom): no memory"),
        (standing("1", RunState.CANCELLED), "cancelled"),
    ],
)
def test_an_ended_run_says_how(one: RunProgress, said: str) -> None:
    assert outcome_text(one) == said


def test_a_title_names_the_seed_only_where_it_is_not_the_usual_one() -> None:
    assert standing("1", RunState.DONE).title == "a on linear/x"
    assert standing("1", RunState.DONE, seed=3).title == "a on linear/x, seed 3"


def test_plain_lines_become_rarer_so_that_a_long_run_floods_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    face, standings = PlainProgress(), [standing("1", RunState.RUNNING)]
    whole = overall(standings, History.of([]), 1, NOW)
    for tick in range(4 * 3600):
        face.show(ProgressSnapshot(NOW, tick / 4, [], standings, whole))
    lines = capsys.readouterr().err.splitlines()
    assert 50 < len(lines) / 2 < 120


def test_plain_lines_put_scores_on_standard_output_and_progress_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done, running = standing("1", RunState.DONE, result=result()), standing("2", RunState.RUNNING)
    whole = overall([done, running], History.of([]), 1, NOW)
    PlainProgress().show(ProgressSnapshot(NOW, 60.0, [done], [done, running], whole))
    written = capsys.readouterr()
    assert written.out == "a on linear/x: 90.0 ±1.5 (20 s)\n"
    assert written.err.startswith("1 of 2 finished, 1 running")
