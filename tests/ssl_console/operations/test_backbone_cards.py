"""The user's own cards are renamed with their results, copied, edited with validation, and removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backbones.io.card_files import UnknownName
from ssl_console.cli.handlers.add import edit_backbone, rename_backbone
from ssl_console.operations.backbone_cards import copy_card, edit_card, own_card, remove_card, rename_card
from ssl_console.operations.bundle.verify import check
from ssl_console.operations.bundle.write import bundle
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore, rebuild
from ssl_console.workspace.run_index import RunIndex
from tests.ssl_console.measured import MANIFEST, measure

CARD = """# a remark of the user's
title = "First"
architecture = "test_resnet"
weights = { kind = "random", seed = 1 }
facts = { method = "none" }
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    workspace = Workspace(tmp_path / "workspace").create()
    (workspace.backbones / "own").mkdir()
    (workspace.backbones / "own" / "first.toml").write_text(CARD)
    return Session.of(workspace)


def editor(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """An editor that changes the file by a script of the shell, in which it is $1."""
    path = folder / "editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(path))


def never(_words: str) -> bool:
    return False


def test_runs_results_and_the_database_follow_a_rename(session: Session) -> None:
    record = measure(session.workspace, "own/first", "knn/digits", 0.7)
    other = measure(session.workspace, "demo/mae", "knn/digits", 0.5)
    rebuild(session.workspace)
    folder = session.workspace.run(record.result.run_id)
    os.utime(folder.result, (1e9, 1e9))
    index = RunIndex(session.workspace)
    index.refresh(0.0)

    change = rename_card(session, "own/first", "own/better")

    assert (change.results, change.path.read_text()) == (1, CARD)
    assert "own/better" in session.backbones.cards
    assert "own/first" not in session.backbones.cards
    names = {row.run_id: row.backbone for row in ResultStore(session.workspace).results()}
    assert names == {record.result.run_id: "own/better", other.result.run_id: "demo/mae"}
    assert folder.result.stat().st_mtime == 1e9
    index.refresh(1.0)
    assert index.entries[record.result.run_id].backbone == "own/better"
    rebuild(session.workspace)
    assert {row.run_id: row.backbone for row in ResultStore(session.workspace).results()} == names


def test_a_bundle_of_renamed_results_verifies(session: Session, tmp_path: Path) -> None:
    measure(session.workspace, "own/first", "knn/digits", 0.7)
    rebuild(session.workspace)
    rename_card(session, "own/first", "own/better")
    path = tmp_path / "results.zip"
    bundle(path, session.workspace, ResultStore(session.workspace).results(), None, lambda _card: MANIFEST)
    assert check(path).agrees


def test_a_backbone_with_a_queued_run_is_not_renamed(session: Session) -> None:
    record = measure(session.workspace, "own/first", "knn/digits", 0.7)
    session.workspace.run(record.result.run_id).result.unlink()
    with pytest.raises(ConsoleError, match="1 run that is queued or active"):
        rename_card(session, "own/first", "own/better")
    assert own_card(session, "own/first").is_file()


@pytest.mark.parametrize("new", ["own/first", "demo/simclr", "../out", "a b"])
def test_a_name_that_is_taken_or_no_name_is_refused(session: Session, new: str) -> None:
    for change in (rename_card, copy_card):
        with pytest.raises(ConsoleError):
            change(session, "own/first", new)


def test_built_in_cards_are_copied_and_not_changed(session: Session) -> None:
    with pytest.raises(ConsoleError, match="ssl-console copy backbone demo/simclr own/NAME"):
        remove_card(session, "demo/simclr")
    with pytest.raises(ConsoleError, match="demo/simclr is not a card of this workspace"):
        edit_card(session, "demo/simclr", never)
    copied = copy_card(session, "demo/simclr", "own/mine")
    assert session.backbones.cards["own/mine"].weights == session.backbones.cards["demo/simclr"].weights
    assert copied.path.is_file()
    with pytest.raises(UnknownName, match="did you mean 'own/first'"):
        remove_card(session, "own/frist")


def test_a_removed_card_leaves_its_results(session: Session) -> None:
    measure(session.workspace, "own/first", "knn/digits", 0.7)
    rebuild(session.workspace)
    assert remove_card(session, "own/first").results == 1
    assert "own/first" not in session.backbones.cards
    assert len(ResultStore(session.workspace).results()) == 1


def test_an_edited_card_takes_its_place_once_it_is_valid(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(session.workspace, "own/first", "knn/digits", 0.7)
    rebuild(session.workspace)
    editor(monkeypatch, tmp_path, "sed -i 's/First/Best/' \"$1\"")
    change = edit_card(session, "own/first", never)
    assert change is not None
    assert (change.measured, session.backbones.cards["own/first"].title) == (False, "Best")
    editor(monkeypatch, tmp_path, "sed -i 's/seed = 1/seed = 2/' \"$1\"")
    change = edit_card(session, "own/first", never)
    assert change is not None
    assert (change.measured, change.results) == (True, 1)
    assert change.path.read_text().startswith("# a remark")
    editor(monkeypatch, tmp_path, "true")
    assert edit_card(session, "own/first", never) is None
    assert not list(change.path.parent.glob(".*"))


def test_an_invalid_text_is_asked_about_and_never_replaces_the_card(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, tmp_path, "sed -i 's/test_resnet/x/; s/title/titel/' \"$1\"")
    asked: list[str] = []

    def once(words: str) -> bool:
        asked.append(words)
        return len(asked) == 1

    with pytest.raises(ConsoleError, match=r"is stored in .*\.first\.toml\.edited") as failed:
        edit_card(session, "own/first", once)
    assert "titel: unknown key; did you mean 'title'?" in asked[0]
    assert len(asked) == 2
    assert own_card(session, "own/first").read_text() == CARD
    assert "title: is missing" in str(failed.value)


@pytest.mark.parametrize(
    ("command", "words"),
    [("false", "exited with code 1: the file was not changed"), ("/nowhere/vi", "cannot be started")],
)
def test_an_editor_that_fails_leaves_the_card(
    session: Session, monkeypatch: pytest.MonkeyPatch, command: str, words: str
) -> None:
    monkeypatch.setenv("VISUAL", command)
    with pytest.raises(ConsoleError, match=words):
        edit_card(session, "own/first", never)
    assert own_card(session, "own/first").read_text() == CARD


def test_the_verbs_say_what_was_done(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    editor(monkeypatch, tmp_path, "sed -i 's/First/Best/' \"$1\"")
    edit_backbone(session, "own/first")
    rename_backbone(session, "own/first", "own/better", as_json=False)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("own/first: written to ")
    assert out[1] == "own/first is now own/better, 0 results were renamed"
