"""Only commands that fetch use the network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.conftest import end_supervisor
from tests.ssl_console.tui.terminal import a_console
from tests.ssl_console.workspace_fixture import eventually

OFFLINE = Path(__file__).parent / "offline"
REPOSITORY = Path(__file__).parents[2]
DEMO = 'title = "A short demo"\ntasks = ["knn/digits"]\nbackbones = ["demo/random"]\n'
"""A short suite in place of the built-in one, which takes minutes."""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """File in which attempts are recorded."""
    return tmp_path / "attempts"


@pytest.fixture
def shell(workspace: Workspace, notes: Path) -> Iterator[Shell]:
    """The command line and every process that it starts, without a network and without the offline setting."""
    (workspace.tasks / "demo.toml").write_text(DEMO)
    workspace.config.write_text('devices = ["cpu"]\nslots_per_device = 1\n')
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"PYTHONPATH": f"{OFFLINE}:{REPOSITORY}", "SSL_CONSOLE_TEST_NETWORK_NOTES": str(notes)}
    yield Shell(workspace, environment)
    end_supervisor(workspace)


def attempts(notes: Path) -> str:
    return notes.read_text() if notes.exists() else ""


@pytest.mark.slow
def test_demo_run_rank_doctor_and_console_never_reach_for_the_network(shell: Shell, notes: Path) -> None:
    demo = shell("demo", "--headless")
    assert (demo.code, attempts(notes)) == (0, ""), demo.err
    assert shell("run", "-b", "timm:test_resnet.r160_in1k", "-t", "knn/digits").code == 3, "its weights are not here"
    for words in (["rank"], ["backbones"], ["tasks"], ["data", "check", "digits"], ["doctor"], ["show", run_of(shell)]):
        assert shell(*words).code in (0, 1), words
        assert attempts(notes) == "", words
    with a_console(shell.workspace, environment=shell.environment) as console:
        console.until_shown("1 Plan", "demo/random")
        for key in ("2", "3", "4", "1"):
            console.press(key)
            console.until_quiet(0.3)
        console.press("q")
        assert console.until_ended() == 0
    assert attempts(notes) == ""


def run_of(shell: Shell) -> str:
    """The only run, which succeeded."""
    return str(shell("results", "--json").document["results"][0]["run_id"])


@pytest.mark.parametrize("words", [["weights", "fetch", "paper/moco-v2"], ["data", "fetch", "dtd"]])
def test_commands_that_fetch_do_reach_for_it(words: list[str], shell: Shell, notes: Path) -> None:
    """Also shows that an attempt would be detected."""
    process = shell.start(*words)
    try:
        eventually(lambda: "socket.getaddrinfo" in attempts(notes), "it asks where the server is", 60)
    finally:
        process.kill()
        process.communicate()


def test_the_guard_sees_what_other_libraries_do(notes: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(OFFLINE), "SSL_CONSOLE_TEST_NETWORK_NOTES": str(notes)}
    script = "import socket; socket.socket().connect(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-P", "-c", script], env=environment, capture_output=True, check=False)
    assert b"no network in this test: socket.connect" in done.stderr
    assert "socket.connect" in attempts(notes)
