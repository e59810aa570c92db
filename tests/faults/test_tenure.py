"""Locks that do not exclude, and workspaces moved while they are supervised."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backbones.io.files import create_exclusively
from ssl_console.supervisor.tenure import Epoch, PlaceLost, Tenure, TenureLost
from ssl_console.system.processes import this_host, this_machine
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import RunState
from tests.faults.conftest import MakeStage
from tests.faults.scale import full
from tests.faults.stage import PATIENCE_S, Stage
from tests.faults.tally import Tally
from tests.faults.test_file_systems import broken_stage, needs_compiler, shim
from tests.ssl_console.workspace_fixture import eventually

__all__ = ["shim"]
GROUP = "file systems that lack something"
ANOTHER_HOST = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]


def other_hosts_work() -> bool:
    """Whether this user may simulate another machine."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ANOTHER_HOST, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace").create()


def epoch(pid: int, started: float, host: str | None = None) -> bytes:
    return (
        Epoch(host=host or this_host(), machine=this_machine(), pid=pid, pid_started=started).model_dump_json().encode()
    )


def test_the_younger_of_two_supervisors_leaves_and_the_older_stays(workspace: Workspace) -> None:
    older, younger = Tenure(workspace), Tenure(workspace)
    older.begin()
    with pytest.raises(TenureLost, match="although its lock was free"):
        younger.begin()
    older.check()
    older.end()
    younger.begin()
    younger.check()


def test_what_a_dead_supervisor_left_is_removed(workspace: Workspace) -> None:
    create_exclusively(workspace.supervisor / "epoch.3.json", epoch(2**22 - 1, 1.0))
    create_exclusively(workspace.supervisor / "epoch.4.json", b"{")
    tenure = Tenure(workspace)
    tenure.begin()
    assert [path.name for path in workspace.supervisor.glob("epoch.*")] == ["epoch.5.json"]
    tenure.end()
    assert not list(workspace.supervisor.glob("epoch.*"))


def test_a_supervisor_whose_number_was_taken_away_leaves(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_console.supervisor.tenure.RENEW_S", 0.0)
    tenure = Tenure(workspace)
    tenure.begin()
    (workspace.supervisor / "epoch.1.json").unlink()
    with pytest.raises(TenureLost, match="another process has taken"):
        tenure.check()


def test_a_removed_workspace_ends_the_tenure(workspace: Workspace) -> None:
    tenure = Tenure(workspace)
    tenure.begin()
    shutil.rmtree(workspace.root)
    with pytest.raises(PlaceLost, match="was removed"):
        tenure.check()
    tenure.end()
    assert not workspace.root.exists()


def test_an_older_one_that_appears_later_is_seen(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_console.supervisor.tenure.LOOK_S", 0.0)
    create_exclusively(workspace.supervisor / "epoch.6.json", b"{")
    tenure = Tenure(workspace)
    tenure.begin()
    create_exclusively(workspace.supervisor / "epoch.2.json", epoch(1, own_start_of_first()))
    with pytest.raises(TenureLost, match="as well, and is older"):
        tenure.check()


def own_start_of_first() -> float:
    """Start time of process 1."""
    import psutil  # noqa: PLC0415

    return float(psutil.Process(1).create_time())


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(not other_hosts_work(), reason="UTS namespaces are not allowed here (unshare)")
def test_one_supervisor_stays_where_locks_exclude_nobody_and_every_run_is_done_once(
    make_stage: MakeStage, shim: Path, tmp_path: Path, tally: Tally
) -> None:
    stage = broken_stage(make_stage, shim, tmp_path, FLOCK=-1)
    seeds = list(range(12 if full() else 4))
    commands = []
    for seed in seeds:
        words = [sys.executable, "-P", "-m", "ssl_console", *stage.run_arguments([seed], seconds=0.5)]
        elsewhere = ANOTHER_HOST if seed % 2 else []
        commands.append(subprocess.Popen([*elsewhere, *words], env=stage.environment, stderr=subprocess.DEVNULL))
    codes = [command.wait(timeout=PATIENCE_S) for command in commands]
    if any(codes):
        stage.run_to_the_end(seeds)
    stage.check_now()
    assert {status.state for status in stage.statuses().values()} == {RunState.DONE}
    log = stage.workspace.supervisor_log.read_text()
    supervisors = re.findall(r"supervising .* as process (\d+)", log)
    left = log.count("exiting")
    tally.add(
        "runs from two host names with locks that do not exclude",
        len(seeds),
        "each done once; every younger supervisor left by itself",
    )
    assert len(supervisors) <= len(seeds)
    assert left or len(supervisors) == 1, log


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(not other_hosts_work(), reason="UTS namespaces are not allowed here (unshare)")
def test_of_many_supervisors_that_no_lock_keeps_apart_one_is_left(
    make_stage: MakeStage, shim: Path, tmp_path: Path, tally: Tally
) -> None:
    stage = broken_stage(make_stage, shim, tmp_path, FLOCK=-1)
    many = 14 if full() else 4
    words = [sys.executable, "-P", "-m", "ssl_console.supervisor", "--workspace", str(stage.workspace.root)]
    started = [
        subprocess.Popen(
            [*(ANOTHER_HOST if number % 2 else []), *words, "--linger-s=600"],
            env=stage.environment,
            stderr=subprocess.DEVNULL,
            cwd=stage.workspace.root,
        )
        for number in range(many)
    ]
    try:
        eventually(lambda: sum(one.poll() is None for one in started) == 1, "one is left", PATIENCE_S)
        eventually(
            lambda: len(list(stage.workspace.supervisor.glob("epoch.*.json"))) == 1, "so is its file", PATIENCE_S
        )
        (left,) = (one for one in started if one.poll() is None)
        assert [one.returncode for one in started if one is not left] == [0] * (many - 1)
        stage.run_to_the_end([0, 1])
        assert left.poll() is None, "the one that was left did the runs"
    finally:
        for one in started:
            one.terminate()
            one.wait()
    stage.check_now()
    tally.add(
        "supervisors started at once from two host names, with locks that do not exclude",
        many,
        "one is left, and works",
    )


@pytest.mark.slow
def test_a_workspace_that_is_moved_leaves_no_husk_and_its_runs_say_so(stage: Stage, tally: Tally) -> None:
    old = stage.workspace.root
    command = stage.start(*stage.run_arguments([0], wait=True))
    eventually(lambda: [s.state for s in stage.statuses().values()] == [RunState.RUNNING], "it runs", PATIENCE_S)
    new = old.with_name("moved elsewhere")
    old.rename(new)
    moved = Workspace(new)
    (folder,) = moved.run_folders()
    eventually(folder.end(1).exists, "the run says so", PATIENCE_S)
    assert f"the workspace {old} was moved to {new} while it ran" in folder.end(1).read_text()
    eventually(lambda: not [pid for pid in stage.processes() if pid not in stage.started], "all have left", PATIENCE_S)
    command.kill()
    command.wait()
    assert f"was moved to {new}: exiting" in moved.supervisor_log.read_text()
    assert not old.exists(), [str(path) for path in old.rglob("*")]
    tally.add(
        "workspaces moved while a run was under way", 1, "the run reports the new path; nothing is left at the old one"
    )
