"""Workspaces written by earlier versions of this program can be used further; those of a newer version are refused.

`data/workspaces` holds what three earlier states of the program left behind, in the order in which they were written.
The schema of all of them is version 1, the only one there has been: records have only gained fields with defaults.
`first` is without provenance and reasons to doubt, `provenance` without jobs of a cluster.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import orjson
import pytest

from ssl_console.workspace import tinydb_storage
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore, StoreError, rebuild
from ssl_console.workspace.run import SPEC_VERSION, RunSpec, RunState
from ssl_console.workspace.run_index import RunIndex
from ssl_console.workspace.tinydb_storage import SCHEMA_VERSION, Document, migrate
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.conftest import REPOSITORY, end_supervisor
from tests.ssl_console.tui.terminal import a_console

WORKSPACES = Path(__file__).parent / "data" / "workspaces"
OLD = ("first", "provenance", "cluster")
DONE = {"979997a3453e": 50.0, "eb996a990fb3": 51.0}
FAILED, CANCELLED, QUEUED = "eefa2510760e", "644810a71d8d", "d077b9943747"
WORK = ("-b", "own/first", "-t", "echo/things")
NEWER = "its schema version is 2, this program supports up to 1: upgrade ssl-console"


def opened(name: str, workspace: Workspace) -> Workspace:
    """A copy of a workspace as it was left."""
    shutil.copytree(WORKSPACES / name, workspace.root, dirs_exist_ok=True)
    return workspace


@pytest.fixture
def shell(workspace: Workspace) -> Iterator[Shell]:
    environment = {"SSL_CONSOLE_PROTOCOLS": "tests.ssl_console.cli.echo", "PYTHONPATH": str(REPOSITORY)}
    yield Shell(workspace, {**os.environ, **environment})
    end_supervisor(workspace)


@pytest.mark.parametrize("name", OLD)
def test_results_and_runs_of_an_earlier_version_are_all_there(name: str, workspace: Workspace) -> None:
    opened(name, workspace)
    assert {result.run_id: result.value for result in ResultStore(workspace).results()} == DONE
    index = RunIndex(workspace)
    index.refresh(2e9)
    assert index.unreadable == {}
    states = {run_id: entry.status.state for run_id, entry in index.entries.items()}
    expected = {FAILED: RunState.FAILED, CANCELLED: RunState.CANCELLED, QUEUED: RunState.QUEUED}
    assert states == {**dict.fromkeys(DONE, RunState.DONE), **expected}
    for folder in workspace.run_folders():
        RunSpec.model_validate_json(folder.spec.read_bytes())


@pytest.mark.parametrize("name", OLD)
def test_the_database_of_an_earlier_version_is_made_again_from_its_runs(name: str, workspace: Workspace) -> None:
    opened(name, workspace)
    before = ResultStore(workspace).results()
    workspace.results.unlink()
    assert rebuild(workspace) == len(DONE)
    assert ResultStore(workspace).results() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", OLD)
def test_a_workspace_of_an_earlier_version_is_carried_on(name: str, workspace: Workspace, shell: Shell) -> None:
    opened(name, workspace)
    assert {row["value"] for row in shell("rank", "--json").document["rows"][0]["scores"].values()} == {50.5}
    again = shell("run", *WORK, *(f"--seed={seed}" for seed in (0, 1, 3)))
    assert again.code == 0, again.err
    assert "2 already done" in again.err
    found = {result.run_id: result.value for result in ResultStore(workspace).results()}
    assert found == {**DONE, QUEUED: 53.0}
    retried = shell("retry", CANCELLED)
    assert retried.code == 0, retried.err
    assert shell("show", next(iter(DONE))).code == 0


# -- a schema to come ---------------------------------------------------------------------------------------------


def test_a_file_is_migrated_when_it_is_read_and_its_last_state_kept_when_it_is_written(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A possible next version: real files, the real store, one more migration."""

    def rename(document: Document) -> Document:
        rows = {number: {**row, "backbone": f"new/{row['backbone']}"} for number, row in document["results"].items()}
        return {**document, "results": rows}

    opened("first", workspace)
    old = workspace.results.read_bytes()
    present = ResultStore(workspace).results()
    with monkeypatch.context() as newer:
        newer.setattr(tinydb_storage, "migrate", partial(migrate, migrations={1: rename}, target=2))
        store = ResultStore(workspace)
        assert {result.backbone for result in store.results()} == {"new/own/first"}
        assert workspace.results.read_bytes() == old, "reading writes nothing"
        assert store.add([present[0].model_copy(update={"run_id": "another"})]) == 1
        assert orjson.loads(workspace.results.read_bytes())["schema"] == {"1": {"version": 2}}
        assert store.add([present[0].model_copy(update={"run_id": "one more"})]) == 1
        assert {result.backbone for result in store.results()} == {"new/own/first", "own/first"}
    assert (workspace.root / "results.schema-1.json").read_bytes() == old
    with pytest.raises(StoreError, match=NEWER):
        ResultStore(workspace).results()
    assert SCHEMA_VERSION == 1


# -- files of a newer version ------------------------------------------------------------------------------------


def make_newer(workspace: Workspace) -> None:
    content = orjson.loads(workspace.results.read_bytes())
    content["schema"]["1"]["version"] = SCHEMA_VERSION + 1
    workspace.results.write_bytes(orjson.dumps(content))


@pytest.mark.slow
def test_a_newer_database_is_refused_by_command_line_and_console_and_left_alone(
    workspace: Workspace, shell: Shell
) -> None:
    opened("cluster", workspace)
    make_newer(workspace)
    content = workspace.results.read_bytes()
    sentence = f"ssl-console: {workspace.results} cannot be used: {NEWER}\n"
    for words in (("rank",), ("results",), ("runs",), ("run", *WORK, "--seed", "7"), ("rebuild",)):
        refused = shell(*words)
        assert (refused.code, refused.err.splitlines(keepends=True)[-1]) == (1, sentence), words
    with a_console(workspace, size=(240, 40), environment=shell.environment) as console:
        console.until_shown("not up to date")
        console.press("2")
        console.until_shown(NEWER)
        console.press("q")
        assert console.until_ended() == 0
    assert workspace.results.read_bytes() == content


def test_a_newer_run_is_named_and_hides_no_others(workspace: Workspace, shell: Shell) -> None:
    opened("cluster", workspace)
    spec = workspace.run(QUEUED).spec
    content = orjson.loads(spec.read_bytes())
    spec.write_bytes(orjson.dumps({**content, "version": SPEC_VERSION + 1}))
    listed = shell("runs", "--json")
    assert {row["run_id"] for row in listed.document["runs"]} == {*DONE, FAILED, CANCELLED}
    words = f"{spec} cannot be used: its version is 2, this program supports up to 1: upgrade ssl-console"
    assert listed.err == f"{words}\n"
    with pytest.raises(ValueError, match="its version is 2, this program supports up to 1: upgrade ssl-console"):
        RunSpec.model_validate_json(spec.read_bytes())
