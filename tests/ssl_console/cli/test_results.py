"""`show`, `why` and `reproduce` on results measured by a worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell

RUN = ("run", "-b", "own/first", "-t", "echo/things")


@pytest.fixture
def run_id(measured_shell: Shell) -> str:
    """The run that was measured."""
    (folder,) = measured_shell.workspace.run_folders()
    return folder.run_id


def edit(workspace: Workspace, run_id: str, **parts: Any) -> None:
    """Another record, as written by an older version of a component."""
    path = workspace.run(run_id).result
    record: Mapping[str, Any] = json.loads(path.read_bytes())
    path.write_text(json.dumps({**record, **parts}))


def test_show_says_what_a_result_is_made_of(shell: Shell, run_id: str) -> None:
    document = shell("show", run_id[:6], "--json").document
    assert document["result"]["value"] == 50.0
    assert document["identity"]["seed"] == 0
    assert len(document["code"]["digest"]) == 64
    assert {"processor", "system"} <= set(document["machine"])
    assert (document["energy_j"], document["episode_intervals"], document["seeds"]) == (None, None, None)
    text = shell("show", run_id).out
    assert "own/first on echo/things [default], seed 0" in text
    assert "95 % interval   49.00 to 51.00 (wilson, n 100 images)" in text


def test_show_sets_the_seeds_apart_from_the_samples(shell: Shell, run_id: str) -> None:
    shell(*RUN, "--seed", "1", "2")
    document = shell("show", run_id, "--json").document
    assert document["seeds"] == {"values": {"0": 50.0, "1": 51.0, "2": 52.0}, "deviation": 1.0}


def test_reproduce_repeats_exactly_under_an_id_of_its_own(shell: Shell, run_id: str) -> None:
    finished = shell("reproduce", run_id, "--json")
    last = finished.lines[-1]
    assert finished.code == 0
    assert (last["event"], last["repeated"], last["exactly"]) == ("reproduced", True, True)
    assert (last["first"], last["second"]) == (run_id, f"{run_id}-2")
    again = shell("reproduce", run_id, "--fresh")
    assert (again.code, again.out.splitlines()[-1].split(":")[0]) == (0, "reproduced exactly")


def test_reproduce_fails_when_another_number_comes_out(shell: Shell, workspace: Workspace, run_id: str) -> None:
    record = json.loads(workspace.run(run_id).result.read_bytes())
    edit(workspace, run_id, result={**record["result"], "value": 53.0}, metrics={"accuracy": 53.0})
    finished = shell("reproduce", run_id)
    assert finished.code == 1
    assert "NOT reproduced: 53.0000 before, 50.0000 now." in finished.out
    assert "though it is the same measurement" in finished.out


def test_why_names_what_changed(shell: Shell, workspace: Workspace, run_id: str) -> None:
    shell("run", "-b", "own/second", "-t", "echo/things", "--set", "echo.value=55")
    other = next(row for row in shell("results", "--json").document["results"] if row["run_id"] != run_id)
    document = shell("why", run_id, other["run_id"], "--json").document
    parts = {change["part"]: change for change in document["changes"]}
    assert parts["task.parameters.value"]["group"] == "made of"
    assert (document["difference"], document["same_measurement"]) == (5.0, False)
    assert "the task's parameters changed" in document["sentence"]
    finished = shell("why", run_id, other["run_id"])
    assert "changes the number" in finished.out


def test_why_needs_two_results(shell: Shell, run_id: str) -> None:
    finished = shell("why", run_id, run_id)
    assert (finished.code, "name two" in finished.err) == (2, True)
    assert shell("why", run_id, "nothing").code == 2


def test_bundle_and_verify_say_what_agrees(shell: Shell, workspace: Workspace, run_id: str) -> None:
    path = workspace.root / "all.zip"
    made = shell("bundle", "-o", str(path), "--json").document
    assert (made["results"], made["left_out"], len(made["sha256"])) == (1, [], 64)
    finished = shell("verify", str(path), "--json")
    assert (finished.code, finished.document["agrees"]) == (0, True)
    assert finished.document["not_counted"] == [f"{run_id}: accuracy"], "this protocol keeps nothing per sample"
    again = shell("bundle", "-o", str(path))
    assert (again.code, "already exists" in again.err) == (2, True)


def test_verify_fails_and_names_file_and_number(shell: Shell, workspace: Workspace, run_id: str) -> None:
    path = workspace.root / "all.zip"
    shell("bundle", "-o", str(path), "-b", "own/*", "-t", "echo/*")
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"value":50.0', b'"value":51.0', 1))
    finished = shell("verify", str(path))
    assert finished.code == 1
    assert f"records/{run_id}.json: " in finished.out
    assert "do NOT agree" in finished.out


def test_verify_and_bundle_say_what_they_lack(shell: Shell, workspace: Workspace) -> None:
    assert shell("verify", "nothing.zip").code == 2
    finished = shell("bundle", "-o", "nothing.zip")
    assert (finished.code, "no results match" in finished.err) == (2, True)
    (workspace.root / "text.zip").write_text("no zip")
    broken = shell("verify", str(workspace.root / "text.zip"))
    assert (broken.code, "text.zip cannot be read as a zip file" in broken.err) == (1, True)


def test_a_picture_of_the_ranks_is_written_and_never_replaces_a_file(shell: Shell, workspace: Workspace) -> None:
    assert shell("run", "-b", "own/*", "-t", "echo/things", "-t", "echo/others").code == 0
    path = workspace.root / "cd.svg"
    assert shell("rank", "--figure", str(path)).code == 0
    assert path.read_text().startswith("<?xml")
    again = shell("rank", "--figure", str(path))
    assert (again.code, "never replaces" in again.err) == (2, True)


def test_rank_over_the_common_tasks_says_what_it_left_out(shell: Shell, run_id: str) -> None:
    shell("run", "-b", "own/second", "-t", "echo/things", "-t", "echo/others")
    finished = shell("rank", "--missing", "common", "--json")
    assert finished.document["columns"] == ["echo/things"]
    assert "common tasks only, 1 of 2; left out: echo/others" in finished.err
    refused = shell("rank", "--missing", "drawn")
    assert (refused.code, "with --intervals" in refused.err) == (2, True)


def test_rank_says_why_results_of_a_task_stand_in_other_columns(shell: Shell, run_id: str) -> None:
    assert shell("rank", "--json").document["kept_apart"] == []
    shell("run", "-b", "own/first", "-t", "echo/things", "--set", "echo.value=55")
    (told,) = shell("rank", "--json").document["kept_apart"]
    assert told["run_id"] == run_id
    assert [part["part"] for part in told["differs"]] == ["task.parameters.value"]
    assert told["sentence"] in shell("rank").err
