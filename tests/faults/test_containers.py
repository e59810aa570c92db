"""Properties of containers: separate process ids, users without account or home, closed streams."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_console.system import processes
from ssl_console.system.processes import is_here, this_host, this_machine
from ssl_console.workspace.run import RunState
from tests.faults.scale import full
from tests.faults.stage import PATIENCE_S, ROOT, Stage
from tests.faults.tally import Tally
from tests.ssl_console.workspace_fixture import eventually

GROUP = "containers"
IN_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]
STRANGER = 54_321
HOMELESS = """
import json, os, sys
from ssl_console.cli import run
import ssl_console.workspace.ownership, ssl_console.cli.command_group, ssl_console.cli.handlers.runs, platformdirs
import backbones.catalog.weights_folder, backbones.catalog.catalog
import tasks.catalog.catalog, ssl_console.planning.candidates
user, place, *words = json.loads(sys.argv[1])
os.chdir("/")
os.setgroups([]), os.setresgid(user, user, user), os.setresuid(user, user, user)
for name in ("HOME", "USER", "LOGNAME", "XDG_DATA_HOME", "SSL_CONSOLE_WORKSPACE"):
    os.environ.pop(name, None)
sys.exit(int(run(words)))
"""
CLOSINGS = ("<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-")
VERBS = ("backbones", "runs", "plan -b own -t misconduct/things", "")


def namespaces_work() -> bool:
    """Whether this user may create PID namespaces."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(not namespaces_work(), reason="PID namespaces are not allowed here (unshare)")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.mark.slow
@needs_namespaces
def test_a_run_is_living_when_seen_from_a_container_with_the_same_host_name(stage: Stage, tally: Tally) -> None:
    command = stage.start(*stage.run_arguments([0], wait=True))
    eventually(lambda: states(stage) == [RunState.RUNNING], "a run is under way", PATIENCE_S)
    (run_id,) = stage.statuses()
    seen = from_container(stage, "runs", "--json")
    (row,) = json.loads(seen.stdout)["runs"]
    assert row["state"] == "running", row
    refused = from_container(stage, "retry", run_id)
    assert refused.returncode != 0, refused.stderr
    assert "running" in refused.stderr
    again = from_container(stage, *stage.run_arguments([0], wait=True), "--detach")
    assert "does not disappear" not in again.stderr
    (stage.workspace.features / "go").touch()
    assert stage.finish(command) == 0
    (status,) = stage.statuses().values()
    assert (status.state, status.attempt) == (RunState.DONE, 1)
    tally.add(
        "verbs of a container with the same host name on a run that is under way", 3, "seen as running; not taken"
    )


def from_container(stage: Stage, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate PID namespace."""
    return subprocess.run(
        [*IN_NAMESPACE, sys.executable, "-P", "-m", "ssl_console", *words],
        env=stage.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def states(stage: Stage) -> list[RunState]:
    """Of all runs."""
    return [status.state for status in stage.statuses().values()]


def test_process_numbers_of_another_boot_or_namespace_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    host = this_host()
    assert is_here(host, this_machine())
    assert is_here(host, ""), "as earlier versions wrote it"
    assert not is_here("elsewhere", this_machine())
    monkeypatch.setattr(processes, "this_machine", lambda: "boot-1 pid:[7]")
    assert not is_here(host, "boot-1 pid:[8]"), "another container"
    assert not is_here(host, "boot-2 pid:[7]"), "a container of another machine"
    monkeypatch.setattr(processes, "this_machine", lambda: "boot-2 pid:[4026531836]")
    assert is_here(host, "boot-1 pid:[4026531836]"), "this machine, before it was started again"
    assert not is_here(host, "boot-2 pid:[8]")


@pytest.mark.slow
@needs_root
def test_a_user_without_account_and_home_gets_a_sentence_or_the_workspace_that_is_named(
    tmp_path: Path, tally: Tally
) -> None:
    place = Path("/tmp") / f"ssl-console-homeless-{os.getpid()}"
    done = homeless("runs")
    assert done.returncode == 2, done.stderr
    assert f"user {STRANGER} has no home folder for a workspace: name one by --workspace" in done.stderr
    assert "Traceback" not in done.stderr
    place.mkdir(mode=0o700)
    os.chown(place, STRANGER, STRANGER)
    try:
        named = homeless("--workspace", str(place), "runs")
    finally:
        shutil.rmtree(place)
    assert named.returncode == 0, named.stderr
    tally.add("verbs of a user without account and home", 2, "one sentence; works where a workspace is named")


def homeless(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without an account on the machine."""
    environment = {name: value for name, value in os.environ.items() if name not in {"HOME", "XDG_DATA_HOME"}}
    request = json.dumps([STRANGER, "", *words])
    return subprocess.run(
        [sys.executable, "-P", "-c", HOMELESS, request],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.slow
def test_closed_streams_never_give_a_traceback(stage: Stage, tmp_path: Path, tally: Tally) -> None:
    errors = tmp_path / "errors"
    pairs = [(verb, closing) for verb in VERBS for closing in CLOSINGS if full() or verb == VERBS[0] or "2" in closing]
    for verb, closing in pairs:
        kept = "" if "2>&-" in closing else f"2>{errors}"
        line = f'"{sys.executable}" -P -m ssl_console {verb} >/dev/null {kept} {closing}'
        done = subprocess.run(["sh", "-c", line], env=stage.environment, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, (line, errors.read_text())
        assert "Traceback" not in errors.read_text() if errors.exists() else True
    line = f'"{sys.executable}" -P -m ssl_console {" ".join(stage.run_arguments([0]))} <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", line], env=stage.environment, timeout=PATIENCE_S, check=False).returncode == 0
    stage.check_at_rest()
    tally.add("commands with closed standard streams", len(pairs) + 1, "carried out")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_standard_output_without_room_is_named_and_no_pruning_is_advised(stage: Stage, tally: Tally) -> None:
    for verb in ("backbones", "tasks --json"):
        line = f'"{sys.executable}" -P -m ssl_console {verb} >/dev/full'
        done = subprocess.run(
            ["sh", "-c", line], env=stage.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 1
        assert done.stderr == (
            "ssl-console: standard output cannot be written: No space left on device; redirect it elsewhere\n"
        )
    tally.add("commands whose output goes to `/dev/full`", 2, "named, in one sentence")
