"""The session behind both front ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights, TimmWeights
from backbones.catalog.weights_folder import WeightsState
from ssl_console.operations.launch import LaunchOptions, plan_unchecked, repeat_command, run_command
from ssl_console.operations.session import Session
from ssl_console.planning.candidates import weights_advice
from ssl_console.system.errors import ConsoleError, ExitCode
from ssl_console.tui.data.backend import LaunchRequest
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible
from ssl_console.workspace.results_db import StoreError
from tests.ssl_console.workspace_fixture import Bench


def test_opening_a_session_reads_and_makes_nothing(tmp_path: Path) -> None:
    session = Session(tmp_path / "new")
    assert session.workspace.root == tmp_path / "new"
    assert session.results() == []
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConsoleError, match=r"file is a file; choose another --workspace"):
        _ = Session(tmp_path / "file" / "below").workspace


def test_a_cards_folder_without_cards_is_refused_by_name_in_both_front_ends(tmp_path: Path) -> None:
    session = Session.of(Workspace(tmp_path), (tmp_path / "none",))
    with pytest.raises(ConsoleError, match=r"--cards .*none: no cards"):
        _ = session.backbones
    with pytest.raises(ConsoleError, match=r"--cards .*none: no cards"):
        LocalBackend(session).catalogue()


def test_problems_of_cards_are_reported_once(tmp_path: Path) -> None:
    workspace, messages = Workspace(tmp_path).create(), list[str]()
    (workspace.backbones / "broken.toml").write_text("title = 1")
    session = Session(tmp_path, notify=messages.append)
    assert session.backbones is session.backbones
    assert [message for message in messages if "broken" in message] == messages != []


def test_backbones_are_read_again_once_that_is_asked_for(tmp_path: Path) -> None:
    session = Session.of(Workspace(tmp_path).create())
    before = session.backbones
    session.reload_backbones()
    assert session.backbones is not before


def test_a_relative_data_folder_of_the_environment_means_the_same_to_processes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CONSOLE_DATA", "data")
    assert Session(tmp_path / "w").data_root == tmp_path / "data"
    assert os.environ["SSL_CONSOLE_DATA"] == str(tmp_path / "data")


def test_a_data_folder_that_the_environment_does_not_set_is_not_put_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CONSOLE_DATA", raising=False)
    assert Session(tmp_path).data_root == tmp_path / "data"
    assert "SSL_CONSOLE_DATA" not in os.environ


def test_what_can_be_cancelled_is_cancelled_and_every_refusal_is_named(bench: Bench) -> None:
    bench.submit("a")
    with pytest.raises(NotPossible, match=r"no run gone.*; .*no run lost") as refusal:
        Session.of(bench.workspace).cancel("gone", "a", "lost")
    assert bench.workspace.run("a").cancel.exists()
    assert refusal.value.exit_code is ExitCode.USAGE


def test_a_damaged_results_file_is_an_error_that_ends_a_command_with_exit_code_1(tmp_path: Path) -> None:
    session = Session.of(Workspace(tmp_path).create())
    session.workspace.results.write_text("{ not json")
    with pytest.raises(StoreError, match="ssl-console rebuild") as error:
        session.results()
    assert error.value.exit_code is ExitCode.RUN_FAILED


def test_a_damaged_record_is_named_and_a_missing_one_is_none(bench: Bench) -> None:
    session, path = Session.of(bench.workspace), bench.submit("a").result
    assert session.record("a") is None
    path.write_text("{}")
    with pytest.raises(ConsoleError, match=rf"{path} cannot be read"):
        session.record("a")


def test_both_front_ends_plan_the_same_runs(tmp_path: Path) -> None:
    session = Session.of(Workspace(tmp_path).create())
    names = (("demo/random", "knn/digits"), ("demo/mae", "knn/digits"), ("demo/mae", "linear/digits"))
    backend = LocalBackend(session)
    backend.session.checker = lambda _devices=(): pytest.fail("nothing is checked here")  # type: ignore[method-assign,assignment]
    grids = [
        ([session.backbones.get(backbone)], session.tasks.select([task for name, task in names if name == backbone]))
        for backbone in ("demo/random", "demo/mae")
    ]
    plan = plan_unchecked(session, grids, LaunchOptions(), session.results())
    assert [(run.candidate.backbone.name, run.candidate.task.name) for run in plan.runs] == list(names)
    assert backend.stale(names, None) == {}
    command = backend.command(LaunchRequest(names, seeds=(0, 1), again=True))
    assert command.splitlines() == [
        f"ssl-console --workspace {tmp_path} run -b demo/random -t knn/digits --seed 0 --seed 1 --again",
        f"ssl-console --workspace {tmp_path} run -b demo/mae -t knn/digits -t linear/digits --seed 0 --seed 1 --again",
    ]


def test_a_suite_is_named_instead_of_its_tasks_and_quoted_names_survive_a_shell(tmp_path: Path) -> None:
    options = LaunchOptions()
    assert run_command(tmp_path, ["a b"], ["t"], options, suite="s", preset="paper") == (
        f"ssl-console --workspace {tmp_path} run -b 'a b' --suite s --preset paper"
    )


def test_a_run_whose_folder_is_gone_has_no_command_that_repeats_it(bench: Bench) -> None:
    assert repeat_command(Session.of(bench.workspace), "gone") == ""


def test_weights_that_a_command_fetches_are_named_by_it_and_others_by_their_advice() -> None:
    timm = BackboneCard(
        name="a b",
        title="A",
        architecture="resnet18",
        weights=TimmWeights(tag="resnet18.a1_in1k"),
        facts=FactsCard(method="none"),
    )
    random = BackboneCard(
        name="b", title="B", architecture="resnet18", weights=RandomWeights(), facts=FactsCard(method="none")
    )
    state = WeightsState("missing", None, None, None, "put it there")
    assert weights_advice(timm, state) == "run `ssl-console weights fetch 'a b'`"
    assert weights_advice(random, state) == "put it there"
