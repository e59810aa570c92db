"""State of a run, derived from its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssl_console.system.processes import own_start, this_host
from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.run import Attempt, End, Retry, RunState
from ssl_console.workspace.run_status import FolderFacts, judge, read_facts, read_status

NOW = 1_000_000.0


def owner(attempt: int = 1, *, host: str = "here", pid: int = 7) -> Attempt:
    return Attempt(attempt=attempt, host=host, pid=pid, pid_started=0.0, device="cpu", started=NOW - 5)


def failed(attempt: int, kind: str = "crash") -> End:
    return End.model_validate({"attempt": attempt, "state": "failed", "kind": kind, "message": "why", "ended": NOW})


def test_folder_with_a_specification_alone_is_queued() -> None:
    status = judge(FolderFacts(), NOW)
    assert (status.state, status.attempt) == (RunState.QUEUED, 1)


def test_result_wins_over_everything() -> None:
    facts = FolderFacts(finished=NOW, cancel=True, attempt=2, ended=1, retry=2, end=failed(1))
    status = judge(facts, NOW)
    assert (status.state, status.attempt, status.ended, status.end) == (RunState.DONE, 2, NOW, None)


def test_living_owner_is_starting_until_its_first_event() -> None:
    facts = FolderFacts(attempt=1, owner=owner(), owner_here=True, owner_lives=True, last_sign=NOW - 900)
    assert judge(facts, NOW).state is RunState.STARTING
    assert judge(FolderFacts(**{**vars(facts), "reported": True}), NOW).state is RunState.RUNNING


@pytest.mark.parametrize(
    ("here", "silent_s", "state"),
    [
        (True, 5.0, RunState.RUNNING),
        (True, 60.0, RunState.FAILED),
        (False, 60.0, RunState.RUNNING),
        (False, 130.0, RunState.FAILED),
    ],
)
def test_dead_or_unknown_owner_is_believed_as_long_as_its_events_are_fresh(
    here: bool, silent_s: float, state: RunState
) -> None:
    facts = FolderFacts(attempt=1, owner=owner(), owner_here=here, last_sign=NOW - silent_s, reported=True)
    status = judge(facts, NOW)
    assert status.state is state
    assert status.kind == ("lost" if state is RunState.FAILED else None)


def test_ended_attempt_says_how() -> None:
    status = judge(FolderFacts(attempt=1, ended=1, end=failed(1, "nan")), NOW)
    assert (status.state, status.kind, status.reason) == (RunState.FAILED, "nan", "why")


def test_retry_of_the_last_attempt_queues_again_with_its_batch_scale() -> None:
    facts = FolderFacts(attempt=1, ended=1, end=failed(1), retry=2, request=Retry(reason="again", batch_scale=0.5))
    status = judge(facts, NOW)
    assert (status.state, status.attempt, status.reason, status.batch_scale) == (RunState.QUEUED, 2, "again", 0.5)


def test_retry_of_an_earlier_attempt_is_over() -> None:
    facts = FolderFacts(attempt=2, ended=2, end=failed(2), retry=2, request=Retry())
    assert judge(facts, NOW).state is RunState.FAILED


def test_cancelled_before_it_began_is_cancelled_and_while_it_runs_is_cancelling() -> None:
    assert judge(FolderFacts(cancel=True), NOW).state is RunState.CANCELLED
    facts = FolderFacts(cancel=True, attempt=1, owner=owner(), owner_here=True, owner_lives=True, reported=True)
    status = judge(facts, NOW)
    assert (status.state, status.reason, status.cancel_requested) == (RunState.RUNNING, "cancelling", True)


def test_reading_recognises_this_process_and_not_another_with_its_pid(tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path)
    mine = owner(host=this_host(), pid=os.getpid()).model_copy(update={"pid_started": own_start()})
    folder.attempt(1).write_text(mine.model_dump_json())
    assert read_facts(folder).owner_lives
    folder.attempt(1).write_text(mine.model_copy(update={"pid_started": own_start() - 60}).model_dump_json())
    assert not read_facts(folder).owner_lives


def test_newest_numbers_count_and_strange_files_do_not(tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path)
    for number in (1, 2, 10):
        folder.end(number).write_text(failed(number).model_dump_json())
    for name in ("end.11.json.tmp", "end.x.json", "attempt.json", ".end.12.json.tmp"):
        (tmp_path / name).write_text("{}")
    assert read_facts(folder).ended == 10
    assert read_facts(folder).attempt == 0


def test_unreadable_end_is_a_failure_that_names_the_file(tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path)
    folder.end(1).write_bytes(b"\x00\x00")
    status = read_status(folder, NOW)
    assert status.state is RunState.FAILED
    assert str(folder.end(1)) in status.reason


def test_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_status(RunFolder(tmp_path, "nothing"), NOW)
