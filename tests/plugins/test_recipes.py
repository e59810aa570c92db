"""The recipes of the documents, followed literally: a protocol, a dataset reader and a launcher in one package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import RunSpec
from tests.recipes import recipe
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.conftest import end_supervisor

ROOT = Path(__file__).parents[2]
TASKS, CONSOLE = ROOT / "tasks" / "README.md", ROOT / "ssl_console" / "README.md"
RECIPES = ((TASKS, "Add a protocol"), (TASKS, "Add a dataset reader"), (CONSOLE, "Add a launcher"))


@pytest.fixture
def shell(workspace: Workspace, tmp_path: Path) -> Iterator[Shell]:
    """A command line with the package of the recipes installed."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "my_lab" / "cards").mkdir(parents=True)
    (source / "my_lab" / "__init__.py").touch()
    for document, heading in RECIPES:
        for name, text in recipe(document, heading).items():
            with (source / name).open("a") as file:
                file.write(f"{text}\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
         "--disable-pip-version-check", "--target", str(target), str(source)],
        check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    yield Shell(workspace, {**os.environ, "PYTHONPATH": f"{target}:{ROOT}"})
    end_supervisor(workspace)


def write_patches(folder: Path) -> None:
    """Input of the recipe's reader: dark and bright images."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("train", "test"):
        labels = np.arange(40) % 2
        images = random.integers(0, 120, (40, 32, 32, 3)) + 120 * labels[:, None, None, None]
        np.savez(folder / f"{name}.npz", images=images.astype(np.uint8), labels=labels)


@pytest.mark.slow
def test_the_protocol_runs_on_the_dataset_by_the_launcher_of_the_recipes(shell: Shell, workspace: Workspace) -> None:
    write_patches(workspace.root / "data" / "patches")
    listed = shell("plan", "-b", "demo/random", "-t", "one-nearest/digits", "-t", "knn/patches", "--json")
    assert [run["task"] for run in listed.document["runs"]] == ["one-nearest/digits", "knn/patches"], listed.err
    ran = shell("run", "-b", "demo/random", "-t", "one-nearest/patches", "--launcher", "gentle")
    assert ran.code == 0, ran.err
    (folder,) = workspace.run_folders()
    assert RunSpec.model_validate_json(folder.spec.read_bytes()).launcher == "gentle"
    (row,) = shell("results", "--json").document["results"]
    assert (row["task"], row["value"] > 90) == ("one-nearest/patches", True)
