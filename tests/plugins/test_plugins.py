"""Plug-ins by entry points: an installed package adds a protocol, a dataset, a backbone and a launcher."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from backbones.io.files import WORKSPACE_VARIABLE
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.run import Attempt, RunSpec
from tests.ssl_console.cli.shell import Finished, Shell
from tests.ssl_console.conftest import end_supervisor
from tests.ssl_console.workspace_fixture import eventually

PATIENCE_S = 120.0
HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed example and a package whose every plug-in is broken."""
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


@dataclass(frozen=True)
class Measured:
    """A workspace in which backbones of the package and of this project were measured by its protocol and ours."""

    shell: Shell
    ran: Finished

    def values(self, backbone: str) -> dict[str, float]:
        """By task."""
        rows = self.shell("results", "--json").document["results"]
        return {row["task"]: row["value"] for row in rows if row["backbone"] == backbone}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Iterator[Measured]:
    """One command for all, so that torch is loaded once."""
    workspace = Workspace(tmp_path_factory.mktemp("measured") / "workspace").create()
    given = {WORKSPACE_VARIABLE: str(workspace.root), "PYTHONPATH": f"{installed}:{REPOSITORY}"}
    shell = Shell(workspace, {**os.environ, **given})
    workspace.config.write_text('devices = ["cpu"]\nslots_per_device = 1\n')
    tasks = ("centroid/stripes", "knn/stripes", "centroid/digits")
    ran = shell("run", "-b", "example/tiny", "demo/random", *(word for task in tasks for word in ("-t", task)))
    assert ran.code == 0, ran.err
    yield Measured(shell, ran)
    end_supervisor(workspace)


@pytest.mark.slow
def test_a_plugged_in_protocol_runs_on_a_built_in_dataset_with_the_targets_it_needs(measured: Measured) -> None:
    assert measured.values("demo/random")["centroid/digits"] > 50
    plan = measured.shell("plan", "-b", "demo/random", "-t", "centroid/digits", "--json")
    assert plan.code == 0, plan.err
    assert [run["task"] for run in plan.document["runs"]] == ["centroid/digits"]
    refused = measured.shell("plan", "-b", "demo/random", "-t", "centroid/voc2007", "-t", "centroid/ade20k")
    assert (refused.code, "centroid" in refused.err.splitlines()[-1]) == (2, True)


@pytest.mark.slow
def test_a_plugged_in_protocol_is_rescored_when_a_bundle_is_verified(measured: Measured, tmp_path: Path) -> None:
    path = tmp_path / "centroid.zip"
    assert measured.shell("bundle", "-o", str(path), "-t", "centroid/*").code == 0
    verified = measured.shell("verify", str(path), "--json")
    assert (verified.code, verified.document["not_counted"]) == (0, []), verified.err


@pytest.mark.parametrize(
    ("module", "heavy"), [("plugin_api", "torch numpy scipy"), ("evaluation_api", "torch sklearn")]
)
def test_the_interface_of_plug_ins_imports_no_more_than_it_promises(module: str, heavy: str) -> None:
    script = f"import sys, tasks.{module}; print(*(set({heavy.split()!r}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "\n"


def test_the_example_imports_of_this_package_only_the_documented_interface() -> None:
    lines = [line for path in (HERE / "example").rglob("*.py") for line in path.read_text().splitlines()]
    ours = {line.split()[1] for line in lines if line.startswith(("from tasks", "from backbones", "import tasks"))}
    assert ours == {"tasks.plugin_api", "tasks.evaluation_api"}


@pytest.mark.slow
def test_what_a_package_brings_is_listed_and_runs_and_broken_ones_are_reported_and_skipped(measured: Measured) -> None:
    listed = measured.shell("backbones", "--json")
    assert listed.code == 0
    assert "example/tiny" in [row["backbone"] for row in listed.document["backbones"]]
    assert "demo/simclr" in [row["backbone"] for row in listed.document["backbones"]]
    values = measured.values("example/tiny")
    assert set(values) == {"centroid/stripes", "knn/stripes", "centroid/digits"}
    assert values["centroid/stripes"] > 80
    for sentence in (
        "plug-in ssl-console-broken, ssl_console.protocols absent: ModuleNotFoundError",
        "plug-in ssl-console-broken, ssl_console.protocols taken: 'not a protocol' is not a protocol",
        "plug-in ssl-console-broken, ssl_console.datasets failing: RuntimeError: made for another version",
        "plug-in ssl-console-broken, ssl_console.backbones folderless: its CARDS is not a folder",
        "plug-in ssl-console-broken, ssl_console.launchers taken: 'not a launcher' is not a launcher",
        "plug-in ssl-console-broken, ssl_console.launchers taken: a launcher 'local' already exists",
    ):
        assert sentence in measured.ran.err


@pytest.mark.slow
def test_a_launcher_of_a_package_starts_the_worker_of_a_run_whose_result_is_stored(
    shell: Shell, workspace: Workspace
) -> None:
    workspace.config.write_text("[launchers.nice]\nniceness = 3\n")
    started = shell("run", "-b", "example/tiny", "-t", "centroid/stripes", "--launcher", "nice", "--detach")
    assert started.code == 0, started.err
    (folder,) = workspace.run_folders()
    assert RunSpec.model_validate_json(folder.spec.read_bytes()).launcher == "nice"
    eventually(folder.attempt(1).exists, "a worker has claimed the run", PATIENCE_S)
    owner = Attempt.model_validate_json(folder.attempt(1).read_bytes())
    assert psutil.Process(owner.pid).nice() == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)
    eventually(lambda: len(ResultStore(workspace).results()) == 1, "its result is stored", PATIENCE_S)
    assert ResultStore(workspace).results()[0].value > 80


def test_wrong_names_and_settings_of_launchers_are_refused_with_the_way_out(shell: Shell, workspace: Workspace) -> None:
    words = ("run", "-b", "example/tiny", "-t", "centroid/stripes")
    wrong = shell(*words, "--launcher", "nise")
    assert wrong.code == 2
    assert "--launcher: unknown launcher 'nise'; did you mean 'nice'? available: local, slurm, nice" in wrong.err
    workspace.config.write_text("[launchers.nice]\nnicenes = 3\n")
    refused = shell(*words, "--launcher", "nice")
    assert refused.code == 2
    assert f"launcher nice cannot be used with {workspace.config}: ValueError: [launchers.nice] has one" in refused.err
    workspace.config.write_text("[launchers.nise]\n")
    unknown = shell(*words)
    assert unknown.code == 2
    assert f"{workspace.config}: [launchers.nise]: unknown launcher 'nise'; did you mean 'nice'?" in unknown.err
    assert not list(workspace.run_folders())
