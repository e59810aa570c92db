from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ssl_console.cli.commands.main import app
from ssl_console.cli.handlers.completion import SCRIPTS, candidates
from ssl_console.operations.session import Session
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import BACKBONE
from tests.ssl_console.cli.test_startup import modules_of


@pytest.fixture
def session(workspace: Workspace) -> Session:
    workspace.create()
    (workspace.runs / "0123456789ab").mkdir()
    (workspace.backbones / "own").mkdir(exist_ok=True)
    (workspace.backbones / "own" / "first.toml").write_text(BACKBONE.format(seed=1))
    return Session(workspace.root)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ra", {"rank"}),
        ("weights f", {"fetch"}),
        ("run --sui", {"--suite"}),
        ("run -b demo/simclr", {"demo/simclr", "demo/simclr-nocolour"}),
        ("run -b own/first demo/ran", {"demo/random"}),
        ("run -b demo/mae -t few-shot-5/dig", {"few-shot-5/digits"}),
        ("run --suite paper-li", {"paper-linear"}),
        ("features demo/mae photo.jpg dig", {"digits"}),
        ("compare demo/mae pub", {"published"}),
        ("logs 0123", {"0123456789ab"}),
        ("rename backbone own/fi", {"own/first"}),
        ("backbones demo/mae demo/simclr-", {"demo/simclr-nocolour"}),
        ("completion b", {"bash"}),
        ("verify ", set()),
    ],
)
def test_what_can_stand_at_a_place_is_offered(session: Session, line: str, expected: set[str]) -> None:
    assert set(candidates(typer.main.get_command(app), session, line.split(" "))) == expected


def test_hidden_commands_are_not_offered(session: Session) -> None:
    offered = candidates(typer.main.get_command(app), session, [""])
    assert "completion" in offered
    assert "complete" not in offered


def test_names_of_the_workspace_that_the_line_gives_are_offered(tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other").create()
    (other.runs / "abcdef012345").mkdir()
    words = ["--workspace", str(other.root), "logs", "abc"]
    assert candidates(typer.main.get_command(app), Session(tmp_path / "empty"), words) == ["abcdef012345"]


def test_completion_imports_nothing_heavy(workspace: Workspace) -> None:
    heavy = {"torch", "numpy", "timm", "textual", "tinydb", "PIL"}
    assert modules_of("complete", "--", "run", "-b", "demo/").isdisjoint(heavy)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_script_asks_the_program_and_parses_in_its_shell(shell: str) -> None:
    assert "ssl-console complete -- " in SCRIPTS[shell]
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=SCRIPTS[shell], text=True, check=True)


def test_the_script_completes_in_bash(workspace: Workspace) -> None:
    program = f'ssl-console() {{ "{sys.executable}" -P -m ssl_console "$@"; }}\n'
    line = 'COMP_WORDS=(ssl-console run -b demo/simclr-); COMP_CWORD=3; _ssl_console; echo "${COMPREPLY[@]}"'
    environment = {**os.environ, "SSL_CONSOLE_WORKSPACE": str(workspace.root)}
    script = f"{program}{SCRIPTS['bash']}{line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "demo/simclr-nocolour\n"


def test_a_tasks_file_in_the_current_folder_is_not_imported(tmp_path: Path) -> None:
    for name in ("tasks", "backbones", "typer"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the file of the user was imported')\n")
    environment = {**os.environ, "SSL_CONSOLE_WORKSPACE": str(tmp_path / "workspace")}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, "-m", "ssl_console", "suites"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_shows_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["--help"], prog_name="ssl-console")
    shown = capsys.readouterr().out
    assert "..." not in shown.partition("Commands:")[2]
    words = " ".join(shown.split())
    assert "Verify a bundle and add its results to this workspace, marked as imported; exit code 1" in words
    assert "complete " not in shown
