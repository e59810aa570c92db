from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell


def test_backbones_are_listed_with_what_is_missing_and_how_to_get_it(shell: Shell) -> None:
    rows = {row["backbone"]: row for row in shell("backbones", "--json").document["backbones"]}
    assert rows["own/first"]["weights"] == "present"
    assert (rows["far"]["weights"], rows["far"]["fetch"]) == ("missing", "ssl-console weights fetch far")
    chosen = shell("backbones", "own/*", "far", "--json").document["backbones"]
    assert {row["backbone"] for row in chosen} == {name for name in rows if name.startswith("own/")} | {"far"}
    assert shell("backbones", "onw/*").code == 2


def test_tasks_are_listed_with_what_is_missing(shell: Shell) -> None:
    rows = {row["task"]: row for row in shell("tasks", "--json").document["tasks"]}
    assert rows["echo/things"]["data"] == "present"
    assert (rows["echo/absent"]["data"], rows["echo/absent"]["dataset"]) == ("missing", "absent")


def test_suites_are_listed_with_their_tasks(shell: Shell) -> None:
    rows = {row["suite"]: row for row in shell("suites", "--json").document["suites"]}
    assert (rows["both"]["tasks"], rows["both"]["missing_data"]) == (["echo/things", "echo/others"], [])
    assert "demo" in rows


@pytest.mark.parametrize("verb", ["backbones", "tasks", "suites", "weights list", "data list", "cache list", "runs"])
def test_a_listing_is_a_table_for_people_and_one_document_for_programs(shell: Shell, verb: str) -> None:
    for_people, for_programs = shell(*verb.split()), shell(*verb.split(), "--json")
    assert (for_people.code, for_programs.code, for_programs.err) == (0, 0, "")
    assert isinstance(for_programs.document, dict)
    assert for_people.out


def test_a_broken_card_is_reported_by_file_and_key_while_the_others_are_listed(shell: Shell) -> None:
    broken = shell.workspace.backbones / "broken.toml"
    broken.write_text('title = "x"\narchitecture = 5\nweights = { kind = "random" }\nfacts = { method = "none" }\n')
    listed = shell("backbones", "--json")
    assert f"{broken}: architecture" in listed.err
    assert {"own/first", "demo/random"} <= {row["backbone"] for row in listed.document["backbones"]}
    assert len(listed.document["problems"]) == 1


def test_cards_of_another_folder_join_the_workspaces(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    (folder / "backbones").mkdir(parents=True)
    (folder / "backbones" / "extra.toml").write_text((shell.workspace.backbones / "far.toml").read_text())
    listed = shell("--cards", str(folder), "backbones", "--json").document["backbones"]
    assert {"extra", "far"} <= {row["backbone"] for row in listed}


def test_a_cards_folder_without_cards_is_refused(shell: Shell, tmp_path: Path) -> None:
    refused = shell("--cards", str(tmp_path / "nothing"), "backbones")
    assert refused.code == 2
    assert "expected a folder backbones or tasks" in refused.err


def test_control_characters_of_a_card_never_reach_the_terminal(shell: Shell) -> None:
    card = (shell.workspace.backbones / "far.toml").read_text().replace('method = "none"', 'method = "a\\u001b[31mb"')
    (shell.workspace.backbones / "hostile.toml").write_text(card)
    assert "\x1b" not in shell("backbones").out


def test_listing_leaves_no_trace_of_a_workspace_that_is_not_there(shell: Shell, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    for verb in ("backbones", "tasks", "runs", "results", "rank", "cache list", "plan -b demo/random -t linear/dtd"):
        shell("--workspace", str(empty), *verb.split())
    assert not (empty / "runs").exists()
    assert not (empty / "results.json").exists()


def test_json_keeps_characters_and_stays_valid_in_any_locale(shell: Shell) -> None:
    card = (shell.workspace.backbones / "far.toml").read_text().replace("Far away", "Ünïcode 数")
    (shell.workspace.backbones / "far.toml").write_text(card)
    for variables in ({"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        assert shell("backbones", "--json", **variables).code == 0
    titles = [row["title"] for row in json.loads(shell("backbones", "--json", LC_ALL="C.UTF-8").out)["backbones"]]
    assert "Ünïcode 数" in titles


def test_the_workspace_option_wins_over_the_environment(shell: Shell, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other").create()
    (other.backbones / "elsewhere.toml").write_text((shell.workspace.backbones / "far.toml").read_text())
    rows = shell("--workspace", str(other.root), "backbones", "--json").document["backbones"]
    assert "elsewhere" in {row["backbone"] for row in rows}
    assert "own/first" not in {row["backbone"] for row in rows}
