"""Provenance of a result's code: the commit, whether files differed from it, and a digest that needs no repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssl_console.worker.provenance import EnergyMeter, machine, versions

ROOT = Path(__file__).parents[3]
PACKAGES = ("backbones", "ssl_console", "tasks")
ASK = "from ssl_console.worker.provenance import code; print(code().model_dump_json())"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    return tmp_path


def code(folder: Path) -> Any:
    done = subprocess.run([sys.executable, "-B", "-c", ASK], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.invalid")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_without_a_repository_there_is_a_digest_that_changes_with_every_file(copy: Path) -> None:
    before = code(copy)
    assert (before["commit"], before["dirty"]) == (None, None)
    (copy / "tasks" / "seeds.py").write_text("SEED = 1\n")
    assert code(copy)["digest"] != before["digest"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_in_its_repository_the_commit_and_whether_files_differ_from_it_are_known(copy: Path) -> None:
    git(copy, "init")
    assert code(copy)["commit"] is None, "somebody else's repository"
    git(copy, "add", ".")
    git(copy, "commit", "-m", "all")
    clean = code(copy)
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (copy / "tasks" / "seeds.py").write_text("SEED = 1\n")
    assert code(copy)["dirty"] is True


def test_the_packages_that_numbers_may_depend_on_are_named_with_their_versions() -> None:
    assert {"ssl-console", "python", "numpy", "torch", "timm"} <= set(versions())


def test_a_run_on_the_processor_has_no_energy_and_names_the_processor() -> None:
    assert EnergyMeter("cpu").used_j() is None
    assert {"processor", "cores", "system"} <= set(machine("cpu"))
