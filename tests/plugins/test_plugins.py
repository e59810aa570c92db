"""Plug-ins by entry points: a package that is installed for real brings a protocol, a dataset and a backbone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.conftest import end_supervisor

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example and a package whose every plug-in is broken."""
    folder = tmp_path_factory.mktemp("installed")
    sources = [shutil.copytree(HERE / name, folder / "sources" / name) for name in ("example", "broken")]
    target = folder / "target"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
         "--disable-pip-version-check", "--target", str(target), *map(str, sources)],
        check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return target


@pytest.fixture
def shell(workspace: Workspace, installed: Path) -> Iterator[Shell]:
    yield Shell(workspace, {**os.environ, "PYTHONPATH": f"{installed}:{REPOSITORY}"})
    end_supervisor(workspace)


@pytest.mark.slow
def test_what_a_package_brings_is_listed_and_runs_and_broken_ones_are_reported_and_skipped(shell: Shell) -> None:
    listed = shell("backbones", "--json")
    assert listed.code == 0
    assert "example/tiny" in [row["backbone"] for row in listed.document["backbones"]]
    assert "demo/simclr" in [row["backbone"] for row in listed.document["backbones"]]
    ran = shell("run", "-b", "example/tiny", "-t", "centroid/stripes", "-t", "knn/stripes")
    assert ran.code == 0, ran.err
    rows = {row["task"]: row for row in shell("results", "--json").document["results"]}
    assert set(rows) == {"centroid/stripes", "knn/stripes"}
    assert rows["centroid/stripes"]["value"] > 80
    for sentence in (
        "plug-in ssl-console-broken, ssl_console.protocols absent: ModuleNotFoundError",
        "plug-in ssl-console-broken, ssl_console.protocols taken: 'not a protocol' is no protocol",
        "plug-in ssl-console-broken, ssl_console.datasets failing: RuntimeError: made for another version",
        "plug-in ssl-console-broken, ssl_console.backbones folderless: its CARDS is no folder",
    ):
        assert sentence in ran.err
