"""The worker process alone: claims, signals, logs, and limited resource use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from subprocess import Popen

import numpy as np
import pytest

from backbones.io.files import create_exclusively
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.run import End, RunState
from tests.ssl_console.rehearsal_evaluation import journal
from tests.ssl_console.workspace_fixture import PATIENCE_S, ROOT, Bench, eventually, gone


def leaves(process: Popen[bytes]) -> int:
    """Its exit code, once it has exited."""
    process.communicate(timeout=PATIENCE_S)
    return process.returncode


def record(bench: Bench, run_id: str) -> ResultRecord:
    return ResultRecord.model_validate_json(bench.workspace.run(run_id).result.read_bytes())


def test_runs_of_the_command_line_come_first_then_those_of_standard_input(bench: Bench) -> None:
    for number in range(3):
        bench.submit(f"r{number}", seed=number)
    worker = bench.worker("r2")
    worker.communicate(b"r0\n\nr1\n", timeout=PATIENCE_S)
    assert worker.returncode == 0
    assert [note[3] for note in journal(bench.workspace.features) if note[0] == "finish"] == ["2", "0", "1"]


def test_run_that_was_given_by_a_supervisor_which_is_gone_is_left_to_the_next_one(bench: Bench) -> None:
    bench.submit("one")
    worker = bench.worker("--parent=1", "one")
    assert b"run one is left to the next supervisor" in worker.communicate(timeout=PATIENCE_S)[1]
    assert worker.returncode == 0
    assert bench.state("one") is RunState.QUEUED


def test_result_says_what_it_is_made_of(bench: Bench) -> None:
    bench.submit("one", value=61.0, seed=4)
    assert leaves(bench.worker("one")) == 0
    found = record(bench, "one")
    assert found.result.seed == found.identity["seed"] == 4
    assert len(found.result.key) == len(found.result.column) == 64
    assert {"python", "torch", "timm", "ssl-console"} <= found.versions.keys()
    assert found.result.memory_mb is not None
    assert 10 < found.result.memory_mb < 2000


def test_results_of_two_seeds_share_a_column_and_have_keys_of_their_own(bench: Bench) -> None:
    for number in range(2):
        bench.submit(f"r{number}", seed=number)
    bench.submit("other", value=1.0)
    assert leaves(bench.worker("r0", "r1", "other")) == 0
    results = [record(bench, run).result for run in ("r0", "r1", "other")]
    assert len({result.key for result in results}) == 3
    assert results[0].column == results[1].column != results[2].column


def test_predictions_are_stored_beside_the_result(bench: Bench) -> None:
    bench.submit("one", "predict")
    assert leaves(bench.worker("one")) == 0
    with np.load(bench.workspace.run("one").predictions) as arrays:
        assert arrays["classes"].tolist() == [0, 1, 2]


def test_of_workers_that_are_given_the_same_runs_one_carries_each_out(bench: Bench) -> None:
    runs = [f"r{number}" for number in range(20)]
    for number, run in enumerate(runs):
        bench.submit(run, seed=number)
    workers = [bench.worker(*runs) for _ in range(4)]
    assert [leaves(worker) for worker in workers] == [0, 0, 0, 0]
    assert [bench.noted("begin", run) for run in runs] == [1] * len(runs)


def test_sigterm_ends_the_worker_with_its_children(bench: Bench) -> None:
    bench.submit("one", "children")
    worker = bench.worker("one")
    bench.until_at_work("one")
    children = bench.workspace.features / "children"
    eventually(lambda: children.exists() and children.read_text().count(" "), "it has children")
    worker.terminate()
    leaves(worker)
    for pid in map(int, children.read_text().split()):
        eventually(gone(pid), f"child {pid} is gone")


def test_sigterm_without_a_cancel_request_makes_the_run_lost(bench: Bench) -> None:
    bench.submit("one", "wait")
    worker = bench.worker("one")
    bench.until_at_work("one")
    worker.terminate()
    assert leaves(worker) == 1
    status = bench.until("one", RunState.FAILED)
    assert status.kind == "lost"
    assert "terminated from outside (SIGTERM)" in status.reason


def test_sigterm_while_it_waits_for_work_ends_it_at_once(bench: Bench) -> None:
    bench.submit("one")
    worker = bench.worker("one")
    bench.until("one", RunState.DONE)
    worker.terminate()
    assert worker.wait(timeout=PATIENCE_S) == 143


def test_sigusr1_writes_the_stacks_of_all_threads_to_the_log(bench: Bench) -> None:
    bench.submit("one", "wait")
    worker = bench.worker("one")
    bench.until_at_work("one")
    worker.send_signal(signal.SIGUSR1)
    eventually(lambda: "in evaluate_task" in bench.log("one"), "the main thread's stack is there")
    assert "reporter.py" in bench.log("one")
    assert worker.poll() is None
    bench.go()


def test_what_the_evaluation_and_its_programs_print_goes_to_the_log_of_their_run(bench: Bench) -> None:
    bench.submit("one", "shout", seed=1)
    bench.submit("two", seed=2)
    assert leaves(bench.worker("one", "two")) == 0
    assert "shouted by another program" in bench.log("one")
    assert "shouted" not in bench.log("two")


def test_attempt_that_was_declared_ended_publishes_nothing(bench: Bench) -> None:
    folder = bench.submit("one", "wait")
    worker = bench.worker("one")
    bench.until_at_work("one")
    end = End(attempt=1, state="failed", kind="lost", message="declared")
    create_exclusively(folder.end(1), end.model_dump_json().encode())
    bench.go()
    assert leaves(worker) == 1
    assert not folder.result.exists()
    assert bench.status("one").reason == "declared"


def test_forked_children_end_with_a_worker_that_is_killed_without_any_supervisor(bench: Bench) -> None:
    bench.submit("one", "children")
    worker = bench.worker("one")
    bench.until_at_work("one")
    children = bench.workspace.features / "children"
    eventually(lambda: children.exists() and children.read_text().count(" "), "it has children")
    forked, program = map(int, children.read_text().split())
    worker.kill()
    eventually(gone(forked), "the forked child is gone")
    os.kill(program, signal.SIGKILL)


def test_full_disk_is_one_sentence_with_the_way_out(bench: Bench) -> None:
    bench.submit("one", "full-disk")
    assert leaves(bench.worker("one")) == 1
    assert bench.status("one").reason.startswith("the disk is full")
    assert "ssl-console cache prune" in bench.status("one").reason


def test_run_that_no_worker_understands_says_so(bench: Bench) -> None:
    folder = bench.submit("one")
    folder.spec.write_text("{}")
    assert leaves(bench.worker("one")) == 1
    assert f"{folder.spec} is not a run that this version supports" in bench.status("one").reason


def test_files_of_a_run_are_private(bench: Bench) -> None:
    folder = bench.submit("one", "predict")
    assert leaves(bench.worker("one")) == 0
    assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("ssl_console.worker.__main__", ("torch", "numpy", "textual", "tinydb")),
        ("ssl_console.supervisor.__main__", ("torch", "numpy", "textual", "timm")),
        ("ssl_console.workspace.run_observer", ("torch", "numpy", "textual", "tinydb")),
        ("ssl_console.workspace.requests", ("torch", "numpy", "textual", "tinydb")),
        ("ssl_console.supervisor.client", ("torch", "numpy", "textual", "tinydb")),
        ("ssl_console.workspace.results_db", ("torch", "numpy", "textual")),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(module: str, heavy: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*sorted(sys.modules.keys() & {set(heavy)!r}))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == []
