"""A lab's shared workspace: permissions of its owner, members of its group and all others (`ssl_console/README.md`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from ssl_console.workspace.ownership import check_owner
from ssl_console.workspace.results_db import ResultStore, rebuild
from ssl_console.workspace.run import RunState
from tests.faults.conftest import MakeStage
from tests.faults.second_user import SecondUser, needs_second_user, open_parents, second_user
from tests.faults.stage import PATIENCE_S, ROOT, Stage
from tests.faults.tally import Tally
from tests.ssl_console.cli.shell import Finished
from tests.ssl_console.workspace_fixture import eventually

GROUP = "another user of the machine"
MARK = "the next command, as the other user"
AS_MEMBER = f"""
import json, os, sys, tomllib
import ssl_console.launchers.registry, ssl_console.supervisor.client, ssl_console.workspace.requests
from ssl_console.cli import run
scratch, place, user, groups, commands = json.loads(sys.argv[1])
for words in commands:  # as this user, on a workspace of its own: then everything that is imported late is there
    run(["--workspace", scratch, *words])
os.setgroups(groups), os.setresgid(user, user, user), os.setresuid(user, user, user)
for words in commands:
    for stream in (sys.stdout, sys.stderr):
        print("{MARK}", file=stream, flush=True)
    print(int(run(["--workspace", place, *words])), flush=True)
"""
PLANT = """
place, spec, record = given
os.umask(0)
os.mkdir(place)
for name, content in (("run.json", spec), ("result.json", record)):
    open(os.path.join(place, name), "w").write(content)
print(json.dumps(os.stat(place).st_uid))
"""


@pytest.fixture
def stage(make_stage: MakeStage) -> Iterator[Stage]:
    """A workspace in a folder that others may traverse, and that no other pytest of this user closes meanwhile."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        open_parents(Path(folder, "workspace"))
        made = make_stage(Path(folder, "workspace"))
        yield made
        made.clean_up()


@pytest.fixture
def member() -> Iterator[SecondUser]:
    """A user whose group the workspace belongs to."""
    with second_user() as found:
        yield found


def as_user(
    stage: Stage, scratch: Path, user: SecondUser, groups: Sequence[int], commands: Sequence[Sequence[str]]
) -> list[Finished]:
    """Commands of another user on the stage's workspace."""
    request = json.dumps([str(scratch), str(stage.workspace.root), user.uid, groups, commands])
    done = subprocess.run(
        [sys.executable, "-P", "-c", AS_MEMBER, request],
        capture_output=True,
        text=True,
        env={**stage.environment, "PYTHONPATH": str(ROOT)},
        timeout=PATIENCE_S,
        check=False,
    )
    parts = zip(done.stdout.split(f"{MARK}\n")[1:], done.stderr.split(f"{MARK}\n")[1:], strict=True)
    answers = [Finished(int(out.splitlines()[-1]), "\n".join(out.splitlines()[:-1]), err) for out, err in parts]
    assert len(answers) == len(commands), done.stderr
    return answers


def share(stage: Stage, group: int) -> None:
    """As described for an owner in `ssl_console/README.md`, with a folder of runs that the group may also write."""
    root = stage.workspace.root
    stage.workspace.config.write_text(f'{stage.workspace.config.read_text()}shared = "group"\n')
    for path in (root, *root.rglob("*")):
        os.chown(path, -1, group)
        path.chmod(path.stat().st_mode | (0o2050 if path.is_dir() else 0o040))
    stage.workspace.runs.chmod(0o2770)


@pytest.mark.slow
@needs_second_user
def test_members_of_the_group_look_and_the_owner_alone_starts_and_cancels(
    stage: Stage, member: SecondUser, tmp_path: Path, tally: Tally
) -> None:
    stage.run_to_the_end([1])
    stage.check_all_gone()
    share(stage, member.gid)
    command = stage.start(*stage.run_arguments([0], wait=True))
    eventually(lambda: RunState.RUNNING in [one.state for one in stage.statuses().values()], "it runs", PATIENCE_S)
    going = next(run_id for run_id, seed in stage.seeds().items() if seed == 0)
    looks = [["runs", "--json"], ["rank", "--json"], ["show", going]]
    changes = [["cancel", going], ["pause"], stage.run_arguments([7]), ["clean", "--older", "0h"]]
    found = as_user(stage, tmp_path / "own", member, [member.gid], [*looks, *changes])
    listed, ranked, _ = found[: len(looks)]
    assert {row["seed"]: row["state"] for row in listed.document["runs"]} == {0: "running", 1: "done"}, listed.err
    assert ranked.code == 0, ranked.err
    for answer in found[len(looks) :]:
        assert answer.code == 1, answer
        assert "belongs to root: only the owner can start, cancel and remove its runs" in answer.err
        assert "Traceback" not in answer.err
    nobody = SecondUser("nobody", 65_534, 65_534)
    strange = as_user(stage, tmp_path / "strange", nobody, [], [["runs"], ["cancel", going]])
    assert [answer.code for answer in strange] == [1, 1], "a user who is not in the group"
    (stage.workspace.features / "go").touch()
    assert stage.finish(command) == 0
    assert set(stage.seeds().values()) == {0, 1}
    stage.check_now()
    tally.add(
        "commands of a group's member on a shared workspace that change it", len(changes), "refused in a sentence"
    )
    tally.add("commands of a group's member on a shared workspace that look at it", len(looks), "answered")
    tally.add("commands of a user outside of the group on a shared workspace", len(strange), "refused")


@pytest.mark.slow
@needs_second_user
def test_a_run_and_a_result_that_a_member_plants_are_named_and_not_taken(
    stage: Stage, member: SecondUser, tally: Tally
) -> None:
    stage.run_to_the_end([0])
    share(stage, member.gid)
    (own,) = stage.workspace.run_folders()
    fake = own.path.with_name("f" * 12)
    spec = {**orjson.loads(own.spec.read_bytes()), "run_id": fake.name}
    record = orjson.loads(own.result.read_bytes())
    record["result"] |= {"run_id": fake.name, "value": 99.9}
    given = [str(fake), *(orjson.dumps(one).decode() for one in (spec, record))]
    owner = SecondUser(member.name, member.uid, member.gid)(PLANT, given, imports="import os")
    assert owner == member.uid
    listed = stage("runs", "--json")
    assert [row["run_id"] for row in listed.document["runs"]] == [own.run_id]
    assert f"{fake} was created by {member.name}: not executed" in listed.err
    (fake / "result.json").unlink()
    stage.run_to_the_end([0, 1])
    assert not list(fake.glob("attempt*"))
    assert rebuild(stage.workspace) == 2
    assert 99.9 not in {row.value for row in ResultStore(stage.workspace).results()}
    tally.add("runs with results that a member of the group puts among those of the owner", 1, "named; not taken")


def test_the_owner_is_no_guest(stage: Stage) -> None:
    check_owner(stage.workspace)
