"""Requests as files: their effects, their refusals, and merging of two simultaneous ones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from backbones.io.files import MODES
from ssl_console.workspace.requests import NotPossible, request_cancel, request_retry, set_priority, submit
from ssl_console.workspace.run import RunState
from tests.ssl_console.workspace_fixture import Bench, spec


def test_submitted_run_is_whole_and_private(bench: Bench) -> None:
    folder = bench.submit("one")
    assert bench.state("one") is RunState.QUEUED
    assert folder.path.stat().st_mode & 0o777 == MODES.folder == 0o700
    assert folder.spec.stat().st_mode & 0o777 == MODES.file == 0o600
    assert [entry.run_id for entry in bench.workspace.run_folders()] == ["one"]


def test_every_folder_of_a_workspace_is_private(bench: Bench) -> None:
    folders = [bench.workspace.root, *(path for path in bench.workspace.root.rglob("*") if path.is_dir())]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {MODES.folder}


def test_same_run_is_submitted_once(bench: Bench) -> None:
    bench.submit("one")
    with pytest.raises(FileExistsError, match="run one already exists"):
        submit(bench.workspace, "one", spec("one").model_dump_json().encode())
    assert [path.name for path in bench.workspace.runs.iterdir()] == ["one"]


@pytest.mark.parametrize(
    "request_it",
    [
        lambda bench: request_cancel(bench.workspace, "none"),
        lambda bench: request_retry(bench.workspace, "none"),
        lambda bench: set_priority(bench.workspace, "none", 1),
    ],
)
def test_request_for_an_unknown_run_is_refused(bench: Bench, request_it: Callable[[Bench], object]) -> None:
    with pytest.raises(NotPossible, match="no run none"):
        request_it(bench)


def test_queued_run_cannot_be_retried(bench: Bench) -> None:
    bench.submit("one")
    with pytest.raises(NotPossible, match="run one cannot be retried: it is queued"):
        request_retry(bench.workspace, "one")


def test_cancelled_run_cannot_be_cancelled_or_moved(bench: Bench) -> None:
    bench.submit("one")
    request_cancel(bench.workspace, "one")
    with pytest.raises(NotPossible, match="is already cancelled"):
        request_cancel(bench.workspace, "one")
    with pytest.raises(NotPossible, match="cannot be moved in the queue: it is cancelled"):
        set_priority(bench.workspace, "one", 1)


def test_cancelled_run_is_retried_without_any_supervisor(bench: Bench) -> None:
    bench.submit("one")
    request_cancel(bench.workspace, "one")
    assert request_retry(bench.workspace, "one") == 2
    assert (bench.state("one"), bench.status("one").attempt) == (RunState.QUEUED, 2)


def test_of_several_retries_at_once_one_counts(bench: Bench) -> None:
    bench.submit("one")
    request_cancel(bench.workspace, "one")

    def retry(_: int) -> bool:
        try:
            return request_retry(bench.workspace, "one") == 2
        except NotPossible:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(retry, range(8))) == 1
    assert bench.status("one").attempt == 2


def test_later_priority_counts(bench: Bench) -> None:
    bench.submit("one", priority=3)
    assert bench.status("one").priority is None
    set_priority(bench.workspace, "one", -2)
    assert bench.status("one").priority == -2
