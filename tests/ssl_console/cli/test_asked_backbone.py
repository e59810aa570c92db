"""Prompts of `add backbone` at a terminal: arguments that tensors do not determine, unused tensors, assumptions."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch

from backbones.inspection.inspect_main import propose
from ssl_console.cli.handlers.add import add_backbone
from ssl_console.operations import add_backbone as operations
from ssl_console.operations.add_backbone import BackboneOptions
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError, ExitCode, MissingInputs
from ssl_console.workspace.paths import Workspace
from tests.backbones.layouts import spread, tensors_of


class Terminal(io.StringIO):
    """A text stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "inspect", propose)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A transformer of a width that no published model has."""
    path = tmp_path / "odd.pth"
    torch.save(tensors_of("vit_base_patch16_224", embed_dim=320, depth=1, num_heads=5, img_size=32), path)
    return path


def added(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, path: Path, answers: str, **options: object
) -> tuple[ExitCode, str]:
    """The exit code, and the terminal's content."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    monkeypatch.setattr(sys, "stderr", shown)
    given = BackboneOptions(path=path, name="own/net", **options)  # type: ignore[arg-type]
    return add_backbone(Session(workspace.root), given, dry_run=False, as_json=False), shown.getvalue()


def card(workspace: Workspace) -> str:
    return (workspace.backbones / "own/net.toml").read_text()


def test_the_number_of_heads_is_asked_for(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, odd: Path) -> None:
    code, shown = added(workspace, monkeypatch, odd, "10\ny\n")
    assert code is ExitCode.DONE
    assert "the number of attention heads does not follow" in shown
    assert "num_heads [5]?" in shown
    assert "num_heads = 10" in card(workspace)


def test_another_argument_does_not_answer_the_question(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, odd: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    options = BackboneOptions(path=odd, name="own/net", arguments={"drop_rate": 0.1})
    with pytest.raises(ConsoleError, match=r"set it, e\.g\. --arg num_heads=5"):
        add_backbone(Session(workspace.root), options, dry_run=False, as_json=False)


def test_a_leftover_is_dropped_when_the_user_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({**tensors_of("resnet18"), "mystery.weight": spread((4, 4))}, tmp_path / "net.pth")
    with pytest.raises(MissingInputs, match="add --drop mystery"):
        added(workspace, monkeypatch, tmp_path / "net.pth", "n\n")
    code, shown = added(workspace, monkeypatch, tmp_path / "net.pth", "y\n\n")
    assert code is ExitCode.DONE
    assert "irrelevant for the features" in shown
    assert "mystery." in card(workspace)


def test_nothing_is_written_when_an_assumption_is_denied(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save(tensors_of("resnet18"), tmp_path / "net.pth")
    with pytest.raises(ConsoleError, match="--mean, --std"):
        added(workspace, monkeypatch, tmp_path / "net.pth", "n\n")
    assert not (workspace.backbones / "own/net.toml").exists()
