"""Provenance of a run's code: the repository of the code is recorded, and nothing in that repository is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.tally import Tally

GROUP = "files that execute"
ROOT = Path(__file__).parents[2]
ASK = "from ssl_console.worker.provenance import code; print(code().model_dump_json())"
PACKAGES = ("backbones", "tasks", "ssl_console")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of this program, committed."""
    folder = tmp_path / "repository"
    for name in PACKAGES:
        leave = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "all")
    return folder


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.invalid")
    folder.mkdir(exist_ok=True, parents=True)
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def code(folder: Path, **environment: str) -> Any:
    command = [sys.executable, "-B", "-c", ASK]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@needs_git
def test_variables_of_git_do_not_lead_to_another_repository(repository: Path, tmp_path: Path, tally: Tally) -> None:
    elsewhere = tmp_path / "elsewhere"
    git(elsewhere, "init")
    (elsewhere / "__init__.py").touch()
    git(elsewhere, "add", ".")
    git(elsewhere, "commit", "-m", "another")
    variables = {
        "GIT_DIR": str(elsewhere / ".git"),
        "GIT_WORK_TREE": str(elsewhere),
        "GIT_INDEX_FILE": str(elsewhere / ".git" / "index"),
        "GIT_CONFIG_COUNT": "0",
    }
    found = code(repository, **variables)
    assert (found["commit"], found["dirty"]) == (git(repository, "rev-parse", "HEAD"), False)
    tally.add("variables of git that name another repository", len(variables), "not followed")


@pytest.mark.slow
@needs_git
def test_nothing_that_a_repository_names_is_run(repository: Path, tmp_path: Path, tally: Tally) -> None:
    canary = tmp_path / "it ran"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch '{canary}'\ncat\n")
    script.chmod(0o755)
    settings = ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "core.pager", "diff.external")
    for name in settings:
        git(repository, "config", name, str(script))
    git(repository, "config", "core.hooksPath", str(tmp_path / "hooks"))
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "fsmonitor-watchman", "reference-transaction", "post-checkout"):
        shutil.copy2(script, hooks / name)
    (repository / ".git" / "info" / "attributes").write_text("*.py filter=evil\n")
    changed = repository / "tasks" / "__init__.py"
    os.utime(changed, (1, 1))
    subprocess.run(["git", "status", "--porcelain"], cwd=repository, check=False, capture_output=True)
    assert canary.exists(), "the attack itself does not work"
    canary.unlink()
    assert code(repository)["dirty"] is False
    changed.write_text(changed.read_text() + "# changed\n")
    assert code(repository)["dirty"] is True
    assert not canary.exists()
    tally.add("programs that a hostile repository names: monitor, filters, pager, hooks", 9, "none was run")
