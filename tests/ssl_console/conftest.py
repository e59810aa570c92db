"""A workspace with cards of its own, and the command line run for real in it."""

from __future__ import annotations

import os
import shutil
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ssl_console.supervisor.client import is_supervised
from ssl_console.system.processes import lives
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.supervisor_state import SupervisorView
from tasks.datasets.card import DatasetCard
from tasks.datasets.manifest import Manifest, manifests
from tests.ssl_console.cli.shell import BACKBONE, Shell
from tests.ssl_console.workspace_fixture import Bench, a_bench, eventually

REPOSITORY = Path(__file__).parents[2]
DATASET = """
title = "Digits to echo"
reader = "digits"
classes = 10
protocols = ["echo"]
"""
OTHERS = """
title = "Scenes to echo"
reader = "shapes"
reader_arguments = { kind = "object", factor = "hue", train = 24, test = 24, size = 32, seed = 3 }
classes = 8
protocols = ["echo"]
"""
TWINS = f"{DATASET}note = 'the same as things'\n"
ABSENT = """
title = "Not here"
reader = "cifar10"
classes = 10
folder = "Absent"
protocols = ["echo"]
download = "automatic"
"""
DATASETS = {"things": DATASET, "others": OTHERS, "twins": TWINS}
FAR = """
title = "Far away"
architecture = "resnet50"
weights = { kind = "url", url = "https://example.invalid/far.pth" }
facts = { method = "none" }
"""
SUITE = """
title = "Two echoes"
tasks = ["echo/things", "echo/others"]
backbones = ["own/*"]
"""


@pytest.fixture(scope="session")
def known_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the manifest of the digits, so that not every test has to read them."""
    folder = tmp_path_factory.mktemp("known")
    cards = [DatasetCard.model_validate({"name": name, **tomllib.loads(text)}) for name, text in DATASETS.items()]
    found = manifests(cards, folder / "data", folder / "cache")
    assert all(isinstance(found[name], Manifest) for name in DATASETS)
    return folder


@pytest.fixture
def shell(workspace: Workspace, known_data: Path) -> Iterator[Shell]:
    """The command line in a workspace with two datasets, two backbones, a suite, and one of each that is not here."""
    yield furnished(workspace, known_data)
    end_supervisor(workspace)


@pytest.fixture(scope="session")
def measured_workspace(tmp_path_factory: pytest.TempPathFactory, known_data: Path) -> Workspace:
    """Such a workspace in which one run was carried out, `own/first` on `echo/things`, and nothing goes on."""
    workspace = Workspace(tmp_path_factory.mktemp("measured") / "workspace").create()
    shell = furnished(workspace, known_data)
    done = shell("run", "-b", "own/first", "-t", "echo/things")
    assert done.code == 0, done.err
    end_supervisor(workspace)
    eventually(lambda: not is_supervised(workspace), "its supervisor has left")
    return workspace


@pytest.fixture
def measured_shell(shell: Shell, measured_workspace: Workspace) -> Shell:
    """The command line in a workspace that holds this run, its result in the database and its line in the journal."""
    shutil.copytree(measured_workspace.runs, shell.workspace.runs, dirs_exist_ok=True)
    shutil.copytree(measured_workspace.features, shell.workspace.features, dirs_exist_ok=True)
    shutil.copy2(measured_workspace.results, shell.workspace.results)
    return shell


def furnished(workspace: Workspace, known_data: Path) -> Shell:
    """Put the cards there, and what is known of the data."""
    shutil.copytree(known_data / "cache", workspace.cache, dirs_exist_ok=True)
    own, tasks = workspace.backbones / "own", workspace.tasks
    own.mkdir()
    for seed, name in enumerate(("first", "second")):
        (own / f"{name}.toml").write_text(BACKBONE.format(seed=seed))
    (workspace.backbones / "far.toml").write_text(FAR)
    for name, content in {**DATASETS, "absent": ABSENT, "both": SUITE}.items():
        (tasks / f"{name}.toml").write_text(content)
    environment = {
        **os.environ,
        "SSL_CONSOLE_PROTOCOLS": "tests.ssl_console.cli.echo",
        "SSL_CONSOLE_DATA": str(known_data / "data"),
        "PYTHONPATH": str(REPOSITORY),
        "SSL_CONSOLE_WORKSPACE": str(workspace.root),
    }
    return Shell(workspace, environment)


def end_supervisor(workspace: Workspace) -> None:
    """End a supervisor started by a test, and so its workers."""
    state = SupervisorView(workspace).state()
    if state is not None and lives(state.pid, state.pid_started):
        os.kill(state.pid, signal.SIGTERM)


settings.register_profile("engine", deadline=None, max_examples=50)  # on a busy machine any example may be slow
settings.load_profile("engine")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A new workspace; its processes are ended with the test."""
    with a_bench(tmp_path, monkeypatch) as made:
        yield made
