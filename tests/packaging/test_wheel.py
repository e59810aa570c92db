"""The wheel, installed in a clean environment and run from a folder that shadows our package names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and the dependencies of this environment.

    A plain path line in a .pth file does not process the .pth files of that folder, so this checkout's editable install
    stays invisible.
    """
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "python"


def test_wheel_ships_cards_and_demo_weights(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("backbones/cards/paper/") for name in names)
    assert any(name.startswith("tasks/cards/suites/") for name in names)
    assert sum(name.startswith("backbones/demo/") and name.endswith(".safetensors") for name in names) >= 6
    assert not any(name.startswith("tests/") for name in names)


def test_the_wheels_metadata_are_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    head = metadata.partition("\n\n")[0].splitlines()
    for line in ("License-Expression: MIT", "License-File: LICENSE", "Author: ssl-console contributors"):
        assert line in head
    assert any(line.startswith("Keywords: ") for line in head)
    assert sum(line.startswith("Classifier: ") for line in head) > 5
    assert not any(line.startswith(("Project-URL", "Home-page", "Author-email")) for line in head)


def test_installed_console_is_not_fooled_by_a_tasks_file_of_the_user(clean_python: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("raise RuntimeError('the user file was imported')\n")
    (tmp_path / "backbones.py").write_text("raise RuntimeError('the user file was imported')\n")
    environment = {**os.environ, "SSL_CONSOLE_WORKSPACE": str(tmp_path / "workspace"), "OMP_NUM_THREADS": "1"}
    script = clean_python.parent / "ssl-console"
    script.write_text(f"#!{clean_python}\nfrom ssl_console.cli import main\nmain()\n")
    script.chmod(0o755)
    arguments = ["run", "-b", "demo/random", "-t", "knn/digits", "--json", "--devices", "cpu"]
    done = subprocess.run(
        [script, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, "run --json printed nothing"
    ranked = subprocess.run(
        [script, "rank", "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(ranked.stdout)["rows"][0]["backbone"] == "demo/random"
