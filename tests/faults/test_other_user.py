"""A workspace belongs to one user: others can neither read nor write it, and get the owner's name."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.stage import PATIENCE_S, ROOT, Stage
from tests.faults.tally import Tally
from tests.ssl_console.workspace_fixture import eventually

GROUP = "several at once"
NOBODY = 65_534
VERBS = (
    ["runs"],
    ["rank"],
    ["results", "--json"],
    ["run", "-b", "demo/random", "-t", "knn/digits"],
    ["pause"],
    ["rebuild"],
)
SHARED = (["runs"], ["resume"])
"""If the folders were opened by their owner: contents of files and the supervisor's lock are still private."""
AS_ANOTHER = """
import json, os, sys
from ssl_console.cli import run
scratch, other, user, verbs = json.loads(sys.argv[1])
for verb in verbs:  # as this user, on a workspace of its own: then everything that is imported late is there
    run(["--workspace", scratch, *verb, *(["--detach"] if verb[0] == "run" else [])])
os.setgroups([]), os.setresgid(user, user, user), os.setresuid(user, user, user)
print("and now as another user", file=sys.stderr)
print([int(run(["--workspace", other, *verb])) for verb in verbs])
"""
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.mark.slow
def test_everything_in_a_workspace_is_private_whatever_the_umask(stage: Stage, tally: Tally) -> None:
    shutil.rmtree(stage.workspace.cache)  # filled by the test
    given = {stage.workspace.root, *stage.workspace.root.rglob("*")}
    mask = os.umask(0)
    try:
        stage.workspace.create()
        stage.run_to_the_end([0, 1])
        stage("cancel", "--all")
        stage("pause")
    finally:
        os.umask(mask)
    found = [path for path in stage.workspace.root.rglob("*") if path not in given]
    modes = {path.relative_to(stage.workspace.root).as_posix(): stat.S_IMODE(path.lstat().st_mode) for path in found}
    journal = modes.pop("cache/features/journal")  # written by the test's protocol
    assert journal
    open_to_others = {name: oct(mode) for name, mode in modes.items() if mode & 0o077}
    assert open_to_others == {}
    tally.add(
        "files and folders of a workspace looked at for their permissions", len(modes), "0600 and 0700, with umask 0"
    )


@root_only
@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["private", "folders opened to everyone"])
def test_another_user_is_told_whose_workspace_it_is_and_breaks_no_lock(
    stage: Stage, tmp_path: Path, shared: bool, tally: Tally
) -> None:
    command = stage.start(*stage.run_arguments([0], wait=True))
    eventually(stage.workers, "a run is under way", PATIENCE_S)
    for folder in [*stage.workspace.root.parents][: len(stage.workspace.root.parents) - 1]:
        folder.chmod(folder.stat().st_mode | 0o055)
    if shared:
        for path in (stage.workspace.root, *stage.workspace.root.rglob("*")):
            path.chmod(0o777 if path.is_dir() else path.stat().st_mode)
    before, pid = snapshot(stage.workspace.root), stage.supervisor_pid()
    verbs = SHARED if shared else VERBS
    request = json.dumps([str(tmp_path / "scratch"), str(stage.workspace.root), NOBODY, verbs])
    done = subprocess.run(
        [sys.executable, "-P", "-c", AS_ANOTHER, request],
        capture_output=True,
        text=True,
        env={**stage.environment, "PYTHONPATH": str(ROOT)},
        timeout=PATIENCE_S,
        check=False,
    )
    _, _, messages = done.stderr.partition("and now as another user\n")
    codes = json.loads(done.stdout.splitlines()[-1])
    lines = messages.splitlines()
    assert len(lines) == len(verbs), messages
    assert all("it belongs to root, whose workspace this is" in line for line in lines), messages
    assert set(codes) <= {1, 2}, codes
    assert snapshot(stage.workspace.root) >= before
    assert stage.supervisor_pid() == pid
    (stage.workspace.features / "go").touch()
    assert stage.finish(command) == 0
    tally.add(
        "verbs of another user on a workspace that is supervised",
        len(verbs),
        "refused with the owner's name; nothing touched",
    )


def snapshot(root: Path) -> set[tuple[str, int]]:
    """All existing files and their owners; short-lived ones only need to be owned by this user."""
    found = {(str(path), path.lstat().st_uid) for path in root.rglob("*") if path.suffix != ".tmp"}
    assert {owner for _, owner in found} == {os.geteuid()}
    return found
