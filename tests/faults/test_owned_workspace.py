"""A workspace that another user could change is refused in one sentence, with the command that fixes it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_console.system.errors import OperationFailed
from ssl_console.workspace.ownership import (
    OWNERS_VARIABLE,
    OwnershipProblem,
    check_ownership,
    is_shared,
    make_private,
    ownership_problems,
)
from ssl_console.workspace.paths import Workspace
from tests.faults.second_user import SecondUser, needs_second_user, second_user
from tests.faults.stage import Stage
from tests.faults.tally import Tally

GROUP = "another user of the machine"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace that other users cannot change, in a separate folder."""
    return Workspace(tmp_path / "folder" / "own").create()


@pytest.fixture(scope="module")
def other() -> Iterator[SecondUser]:
    """Another user."""
    with second_user() as found:
        yield found


def problem(workspace: Workspace) -> OwnershipProblem:
    """The only one."""
    (found,) = ownership_problems(workspace)
    return found


def mended(workspace: Workspace, found: OwnershipProblem) -> bool:
    """Whether the suggested command fixes the problem."""
    subprocess.run(found.command, shell=True, check=True)
    return not list(ownership_problems(workspace))


def test_a_private_workspace_has_no_problem(workspace: Workspace) -> None:
    assert list(ownership_problems(workspace)) == []


@pytest.mark.parametrize("place", ["", "runs", "supervisor", "backbones", "weights", ".."])
def test_a_folder_that_everyone_can_write_is_refused_and_chmod_mends_it(workspace: Workspace, place: str) -> None:
    folder = (workspace.root / place).resolve()
    folder.chmod(0o777)
    found = problem(workspace)
    assert str(found).startswith(f"{folder} can be written by every user of this machine")
    assert mended(workspace, found)


def test_a_folder_above_with_a_sticky_bit_is_trusted(workspace: Workspace) -> None:
    workspace.root.parent.chmod(0o1777)
    assert list(ownership_problems(workspace)) == []
    workspace.root.chmod(0o1777)
    assert problem(workspace).words.startswith(f"{workspace.root} can be written"), "others could add files to it"


def test_a_group_without_other_members_may_write(workspace: Workspace) -> None:
    workspace.root.chmod(0o2770)
    assert list(ownership_problems(workspace)) == []


@needs_second_user
def test_a_group_with_other_members_may_not_unless_the_settings_share_it(
    workspace: Workspace, other: SecondUser, tally: Tally
) -> None:
    os.chown(workspace.root, -1, other.gid)
    workspace.root.chmod(0o2770)
    found = problem(workspace)
    assert f"can be written by its group {other.name} ({other.name})" in found.words
    workspace.config.write_text('shared = "group"\n')
    assert is_shared(workspace)
    assert list(ownership_problems(workspace)) == []
    workspace.config.chmod(0o620)
    assert not is_shared(workspace), "others could have written that"
    workspace.config.unlink()
    assert mended(workspace, found)
    tally.add("workspaces that a group with other members can write", 2, "refused, or shared explicitly by their owner")


@needs_second_user
@pytest.mark.parametrize("name", ["config.toml", "backbones/lab/net.toml", "tasks/set.toml"])
def test_settings_and_cards_of_another_user_are_refused(
    workspace: Workspace, other: SecondUser, name: str, tally: Tally
) -> None:
    path = workspace.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    os.chown(path, other.uid, -1)
    with pytest.raises(OperationFailed, match=f"{name} belongs to {other.name}: check its content, then"):
        check_ownership(workspace)
    tally.add("settings and cards that belong to another user", 1, "refused with the owner's name")


@needs_second_user
def test_a_folder_of_another_user_on_the_way_is_refused_unless_that_user_is_trusted(
    workspace: Workspace, other: SecondUser, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    os.chown(workspace.root.parent, other.uid, -1)
    assert f"{workspace.root.parent} belongs to {other.name}, who can replace {workspace.root}" in str(
        problem(workspace)
    )
    for given in (other.name, str(other.uid), f"somebody,{other.name}"):
        monkeypatch.setenv(OWNERS_VARIABLE, given)
        assert list(ownership_problems(workspace)) == []
    tally.add("workspaces below a folder of another user", 1, "refused; accepted if the user trusts it by name")


@needs_second_user
def test_a_link_to_a_place_below_a_folder_of_another_user_is_refused(
    workspace: Workspace, other: SecondUser, tmp_path: Path
) -> None:
    os.chown(workspace.root.parent, other.uid, -1)
    (tmp_path / "link").symlink_to(workspace.root)
    assert any(
        f"{workspace.root.parent} belongs" in str(one) for one in ownership_problems(Workspace(tmp_path / "link"))
    )


@pytest.mark.parametrize(
    "name", ["results.json", "results.lock", "supervisor/log", "supervisor/lock", "supervisor/door"]
)
def test_a_link_in_place_of_a_file_that_is_written_is_refused(
    workspace: Workspace, tmp_path: Path, name: str, tally: Tally
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (workspace.root / name).symlink_to(victim)
    found = problem(workspace)
    assert found.words.startswith(f"{workspace.root / name} is a symbolic link")
    assert mended(workspace, found)
    tally.add("symbolic links named like a log, a lock or the database", 1, "refused; nothing is written through one")


def test_an_empty_root_that_was_open_becomes_private_and_a_full_one_keeps_its_mode(tmp_path: Path) -> None:
    empty, full = Workspace(tmp_path / "empty"), Workspace(tmp_path / "full")
    for workspace in (empty, full):
        workspace.root.mkdir()
        workspace.root.chmod(0o755)
    (full.root / "thesis.tex").touch()
    make_private(empty)
    make_private(full)
    assert oct(empty.root.stat().st_mode)[-3:] == "700"
    assert oct(full.root.stat().st_mode)[-3:] == "755"


@pytest.mark.slow
@needs_second_user
def test_verbs_refuse_a_workspace_that_others_can_change_and_doctor_lists_everything(
    stage: Stage, other: SecondUser, tally: Tally
) -> None:
    os.chown(stage.workspace.config, other.uid, -1)
    stage.workspace.runs.chmod(0o777)
    verbs = (["runs"], ["rank"], ["plan", "-b", "own", "-t", "misconduct/things"], stage.run_arguments([0]))
    for verb in verbs:
        done = stage(*verb)
        assert done.code == 1, done.out
        assert "1 more: `ssl-console doctor` lists them" in done.err
        assert len(done.err.splitlines()) == 1
    assert stage.reports(f"{stage.workspace.config} belongs to {other.name}", "doctor")
    assert stage.reports(f"chmod go-w {shlex.quote(str(stage.workspace.runs))}", "doctor")
    assert not list(stage.workspace.run_folders())
    tally.add("verbs on a workspace that others can change", len(verbs), "refused in one sentence; `doctor` lists all")


@pytest.mark.slow
def test_a_supervisor_writes_through_no_link(stage: Stage, tmp_path: Path, tally: Tally) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    stage.workspace.supervisor_log.symlink_to(victim)
    done = stage(*stage.run_arguments([0]))
    assert done.code == 1
    assert victim.read_text() == "kept"
    stage.workspace.supervisor_log.unlink()
    stage.run_to_the_end([0])
    tally.add("runs with a link in place of the supervisor's log", 1, "refused; the file it names is unchanged")
