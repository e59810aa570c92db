"""Summaries of ended runs save reading, and never change the displayed state of a run."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from ssl_console.workspace import run_index, run_summaries
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.requests import request_cancel, request_retry, submit
from ssl_console.workspace.run import Attempt, End, RunState
from ssl_console.workspace.run_index import RunIndex, RunInfo
from ssl_console.workspace.run_summaries import SETTLED_S, read_summaries, summaries_file
from tests.ssl_console.workspace_fixture import spec

LATER_S = SETTLED_S + 60.0


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Ended runs of every kind, whose summaries are stored however few they are."""
    monkeypatch.setattr(run_index, "MANY_UNKNOWN", 1)
    workspace = Workspace(tmp_path / "workspace").create()
    for name in ("done", "failed", "cancelled", "cut"):
        folder = submit(workspace, name, spec(name, priority=3, seed=7).model_dump_json().encode())
        owner = Attempt(attempt=1, host="elsewhere", pid=4_000_000, pid_started=1.0, device="cpu", started=2.0)
        folder.attempt(1).write_text(owner.model_dump_json())
    workspace.run("done").result.write_text("{}")
    _end(workspace.run("failed"), "failed", "oom")
    _end(workspace.run("cancelled"), "cancelled", None)
    submit(workspace, "queued", spec("queued").model_dump_json().encode())
    submit(workspace, "withdrawn", spec("withdrawn").model_dump_json().encode())
    request_cancel(workspace, "withdrawn")
    return workspace


def _end(folder: RunFolder, state: str, kind: str | None) -> None:
    end = {
        "attempt": 1,
        "state": state,
        "kind": kind,
        "message": "memory ran out",
        "log_tail": ["a", "b"],
        "ended": 5.0,
    }
    folder.end(1).write_text(End.model_validate(end).model_dump_json())


def seen(workspace: Workspace, after_s: float = LATER_S) -> dict[str, RunInfo]:
    """State seen by a process that has just started."""
    index = RunIndex(workspace)
    index.refresh(time.time() + after_s)
    return index.entries


def summarized(workspace: Workspace) -> set[str]:
    times = {folder.run_id: folder.path.stat().st_mtime_ns for folder in workspace.run_folders()}
    return {one.run_id for one in read_summaries(workspace, times)}


def test_runs_from_summaries_are_equal_to_those_that_their_folders_give(workspace: Workspace) -> None:
    first = seen(workspace)
    assert summarized(workspace) == {"done", "failed", "cancelled"}
    for name in summarized(workspace):
        workspace.run(name).spec.write_text("nobody reads this again")
    assert seen(workspace) == first


def test_a_run_that_changed_after_its_summary_is_read_from_its_folder(workspace: Workspace) -> None:
    seen(workspace)
    request_retry(workspace, "failed")
    again = seen(workspace)["failed"].status
    assert (again.state, again.attempt) == (RunState.QUEUED, 2)


def test_a_run_that_was_removed_does_not_come_back(workspace: Workspace) -> None:
    seen(workspace)
    folder = workspace.run("done").path
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert "done" not in seen(workspace)


def test_a_run_that_ended_a_moment_ago_has_no_summary(workspace: Workspace) -> None:
    seen(workspace, after_s=SETTLED_S / 2)
    assert not summaries_file(workspace).exists()


def test_a_damaged_file_of_summaries_is_not_read(workspace: Workspace) -> None:
    path, whole = summaries_file(workspace), seen(workspace)
    content, chance = path.read_bytes(), random.Random(1)
    for _ in range(200):
        place = chance.randrange(len(content))
        damaged = content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]
        path.write_bytes(chance.choice([damaged, content[:place]]))
        assert seen(workspace) == whole


def test_summaries_of_another_version_are_not_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen(workspace)
    monkeypatch.setattr(run_summaries, "__version__", "9.9.9")
    assert summarized(workspace) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_summaries_that_another_user_wrote_are_not_read(workspace: Workspace) -> None:
    seen(workspace)
    os.chown(summaries_file(workspace), 54_321, -1)
    assert summarized(workspace) == set()


def test_summaries_behind_a_symbolic_link_are_not_read(workspace: Workspace, tmp_path: Path) -> None:
    seen(workspace)
    summaries_file(workspace).rename(tmp_path / "elsewhere")
    summaries_file(workspace).symlink_to(tmp_path / "elsewhere")
    assert summarized(workspace) == set()


def test_a_workspace_that_cannot_be_written_is_read_without_them(workspace: Workspace) -> None:
    workspace.features.rmdir()
    workspace.cache.rmdir()
    workspace.cache.write_text("a file in the way")
    assert set(seen(workspace)) == {"done", "failed", "cancelled", "cut", "queued", "withdrawn"}
