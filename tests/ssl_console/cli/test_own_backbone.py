"""User checkpoints through the command line: added, examined, refused, and measured by force."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
import torch

from backbones.catalog.weights_folder import SHIPPED
from backbones.inspection.inspect_main import propose
from ssl_console.cli import run
from ssl_console.operations import add_backbone
from ssl_console.workspace.paths import Workspace
from tests.backbones.layouts import LAYOUTS, tensors_of, under
from tests.ssl_console.cli.shell import SECONDS, Shell

NET = """
from torch import nn

def make(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 4, 3, 2, 1))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A real backbone in a user's file: the demo's SimCLR."""
    path = tmp_path / "last.safetensors"
    path.write_bytes((SHIPPED / "simclr.safetensors").read_bytes())
    return path


def test_a_checkpoint_becomes_a_card_that_is_listed(shell: Shell, tmp_path: Path) -> None:
    torch.save(LAYOUTS["DINO"][0](), tmp_path / "dino.pth")
    added = shell("add", "backbone", str(tmp_path / "dino.pth"), "--json")
    assert added.code == 0, added.err
    assert added.document["card"]["keys"] == {
        "container": "teacher", "prefix": "backbone.", "drop": [], "conversion": "none",
    }  # fmt: skip
    listed = {row["backbone"]: row for row in shell("backbones", "--json").document["backbones"]}
    assert listed["own/dino"]["weights"] == "present"
    again = shell("add", "backbone", str(tmp_path / "dino.pth"))
    assert again.code == 2
    assert "--replace" in again.err


def test_what_only_the_user_can_decide_is_an_error_that_names_the_choices(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(add_backbone, "inspect", propose)  # in this process, which has torch already
    net = tensors_of("resnet18")
    torch.save({**under("first.", net), **under("second.", tensors_of("resnet18", 0.25))}, tmp_path / "two.pth")
    assert run(["add", "backbone", str(tmp_path / "two.pth")]) == 2
    assert "--prefix 'first.' or --prefix 'second.'" in capsys.readouterr().err
    assert not (workspace.backbones / "own" / "two.toml").exists()
    assert run(["add", "backbone", str(tmp_path / "two.pth"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["card"] is None


def test_at_a_terminal_the_user_is_asked(shell: Shell, tmp_path: Path) -> None:
    net = tensors_of("resnet18")
    torch.save({**under("first.", net), **under("second.", tensors_of("resnet18", 0.25))}, tmp_path / "two.pth")
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        shell.command("add", "backbone", str(tmp_path / "two.pth")),
        stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, env=shell.environment, text=True,
    )  # fmt: skip
    os.write(keyboard, b"2\ny\n")
    out, _ = process.communicate(timeout=SECONDS)
    os.close(keyboard)
    os.close(terminal)
    assert process.returncode == 0
    assert "at second.*" in out
    assert 'prefix = "second."' in (shell.workspace.backbones / "own" / "two.toml").read_text()


def test_a_file_that_cannot_be_used_says_why_and_ends_with_3(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>login</html>")
    refused = shell("add", "backbone", str(tmp_path / "page.pth"))
    assert refused.code == 3
    assert "is a web page" in refused.err


@pytest.mark.slow
def test_a_checkpoint_is_fit_with_its_own_normalisation_and_with_another_is_measured_by_force_only_and_marked(
    shell: Shell, checkpoint: Path
) -> None:
    assert shell("add", "backbone", str(checkpoint), "--norm", "half", "--size", "64", "--name", "own/right").code == 0
    examined = shell("doctor", "own/right", "--json")
    assert examined.code == 0
    checks = {check["name"]: check["verdict"] for check in examined.document["examined"][0]["checks"]}
    assert checks == dict.fromkeys(
        ("weights", "trained", "batch norm", "normalisation", "resolution", "features", "twin", "probe"), "good"
    )
    assert shell("run", "-b", "own/right", "-t", "echo/others").code == 0
    right, wrong = (shell.workspace.backbones / "own" / f"{name}.toml" for name in ("right", "wrong"))
    card = right.read_text()
    wrong.write_text(re.sub(r"(?ms)^(mean|std) = \[.*?\]\n", "", card))
    assert len(wrong.read_text()) < len(card)
    refused = shell("run", "-b", "own/wrong", "-t", "echo/things")
    assert refused.code == 4
    assert "fails its checks: normalisation" in refused.err
    planned = shell("plan", "-b", "own/wrong", "-t", "echo/things", "--json").document
    assert [item["kind"] for item in planned["missing"]] == ["doctor"]
    forced = shell("run", "-b", "own/wrong", "-t", "echo/things", "--force", "--json")
    assert forced.code == 0, forced.err
    (row,) = [row for row in shell("results", "--json").document["results"] if row["backbone"] == "own/wrong"]
    record = json.loads(shell.workspace.run(row["run_id"]).result.read_text())
    assert row["warnings"] == 1
    assert "although the doctor refused" in record["warnings"][0]
    assert row["badges"] == ["doctor"]
    assert record["diagnostics"]["doctor"][0].startswith("normalisation")


def test_an_architecture_of_the_users_own_code_runs_only_when_it_is_trusted(shell: Shell, tmp_path: Path) -> None:
    code = tmp_path / "net.py"
    code.write_text(NET)
    namespace: dict[str, object] = {}
    exec(NET, namespace)
    torch.save(namespace["make"]().state_dict(), tmp_path / "own.pth")  # type: ignore[operator]
    command = ("add", "backbone", str(tmp_path / "own.pth"), "--arch", f"{code}:make", "--norm", "none", "--size", "32")
    refused = shell(*command)
    assert refused.code == 2
    assert "--trust-code" in refused.err
    trusted = shell(*command, "--trust-code")
    assert trusted.code == 0, trusted.err
    assert "7 of 7" in trusted.out or "8 of 8" in trusted.out
    code.write_text(NET + "# changed\n")
    changed = shell("doctor", "own/own")
    assert changed.code == 4
    assert "has changed since it was trusted" in changed.out


def test_the_doctor_examines_a_task_by_its_data(shell: Shell) -> None:
    examined = shell("doctor", "echo/others", "--json")
    assert examined.code == 0, examined.err
    (only,) = examined.document["examined"]
    assert only["name"] == "others"
    assert only["checks"][1]["words"].startswith("24 train, 24 test; 8 classes")


def test_a_name_that_is_neither_a_backbone_nor_a_task_is_said(shell: Shell) -> None:
    unknown = shell("doctor", "demo/simklr")
    assert unknown.code == 2
    assert "demo/simclr" in unknown.err
