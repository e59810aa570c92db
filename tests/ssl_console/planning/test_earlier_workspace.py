"""Results and features of a version that named files by names and sizes, in a workspace that it wrote.

`data/workspaces/names` has kNN and linear results of two backbones on 24 pictures. A test's copy of the pictures is
always newer than the results, as after a restore from a backup.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.conftest import end_supervisor

OLD = Path(__file__).parents[1] / "workspace" / "data" / "workspaces" / "names"
MARK = "names only"
RUNS = ("2b075ce62f10", "5a9713fee9f4", "99c03430f0ab", "f22ceee25bba")


@pytest.fixture
def pictures(workspace: Workspace, tmp_path: Path) -> Path:
    """The opened workspace and its pictures."""
    shutil.copytree(OLD, workspace.root, dirs_exist_ok=True)
    moved = tmp_path / "pictures"
    (workspace.root / "pictures").rename(moved)
    for path in [*workspace.tasks.iterdir(), *workspace.runs.glob("*/run.json")]:
        text = path.read_text().replace("PICTURES", str(moved)).replace("WORKSPACE", str(workspace.root))
        path.write_text(text)
    return moved


def badges(shell: Shell) -> dict[tuple[str, str], list[str]]:
    """Every result, by backbone and task."""
    found = shell("results", "--json").document["results"]
    return {(row["backbone"], row["task"]): row["badges"] for row in found}


def everywhere(shell: Shell) -> list[str]:
    """Every listing and export with scores."""
    calls: tuple[list[str], ...] = (["--json"], ["--csv"], ["--latex"], ["--markdown"], [])
    return [shell("rank", *call).out for call in calls] + [shell("show", "2b075ce62f10").out]


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
def test_results_of_names_and_sizes_are_marked_until_images_that_are_encoded_again_give_the_stored_features(
    shell: Shell, workspace: Workspace
) -> None:
    assert len(badges(shell)) == 4
    assert all(MARK in found for found in badges(shell).values()), "before anything was compared"
    planned = shell("plan", "-b", "demo/*", "-t", "*/pets2")
    assert "has changed since it was added" not in planned.out + planned.err
    assert all(MARK in found for found in badges(shell).values()), "files are newer than the runs"
    for shown in everywhere(shell):
        assert MARK in shown or "!" in shown
    done = shell("run", "-b", "demo/random", "-t", "knn/pets2")
    assert done.code == 0, done.err
    (run,) = (path.parent for path in workspace.runs.glob("*/run.json") if path.parent.name not in RUNS)
    assert "16 of 16 images were encoded again and gave the same" in (run / "events.1.jsonl").read_text()
    assert "1 already done" in shell("plan", "-b", "demo/random", "-t", "knn/pets2").out
    found = badges(shell)
    assert MARK not in found["demo/random", "linear/pets2"], "its features were compared in the run of kNN"
    assert MARK in found["demo/simclr", "linear/pets2"], "its own were not"
    moved = [row for row in shell("results", "--json").document["results"] if row["run_id"] in RUNS]
    assert {row["identified_by"] for row in moved if row["backbone"] == "demo/random"} == {"content"}
    assert {row["identified_by"] for row in moved if row["backbone"] == "demo/simclr"} == {""}
    end_supervisor(workspace)


@pytest.mark.slow
def test_results_stay_marked_where_a_picture_is_another_one_under_its_name_and_size(
    shell: Shell, workspace: Workspace, pictures: Path
) -> None:
    path = pictures / "test" / "cat" / "0.bmp"
    image = Image.open(path).convert("RGB").rotate(90)
    image.save(path)
    done = shell("run", "-b", "demo/random", "-t", "knn/pets2")
    assert done.code == 0, done.err
    shell("plan", "-b", "demo/random", "-t", "linear/pets2")
    assert MARK in badges(shell)["demo/random", "linear/pets2"]
    end_supervisor(workspace)
