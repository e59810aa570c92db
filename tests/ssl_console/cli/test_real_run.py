from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ssl_console.cli.shell import Shell

IMAGES = 1797
RUN = ("run", "-b", "demo/random", "-t", "knn/digits")


def encoded(shell: Shell) -> dict[str, int]:
    """Number of images encoded by the run of each task."""
    found = {}
    for path in shell.workspace.runs.glob("*/result.json"):
        record = json.loads(path.read_text())
        found[record["result"]["task"]] = record["diagnostics"]["images_encoded"]
    return found


@pytest.mark.slow
def test_a_backbone_encodes_each_image_of_a_dataset_once_whatever_tasks_follow(shell: Shell) -> None:
    assert shell(*RUN).code == 0
    more = shell(*RUN, "few-shot-5/digits", "few-shot-20/digits", "--set", "few-shot.episodes=20")
    assert more.code == 0
    assert "1 already done, 2 will run" in more.err
    assert encoded(shell) == {"knn/digits": IMAGES, "few-shot-5/digits": 0, "few-shot-20/digits": 0}

    listed = shell("cache", "list", "--json").document["features"]
    assert {(row["backbone"], row["dataset"], row["split"]) for row in listed} == {
        ("demo/random", "digits", "train"),
        ("demo/random", "digits", "test"),
    }
    assert sum(row["rows"] for row in listed) == IMAGES
    assert shell("cache", "why", "demo/random", "digits").out.startswith("train: stored: demo/random on digits/train")
    assert "which differs" in shell("cache", "why", "demo/simclr", "knn/digits").out
    assert "2 entries would be removed" in shell("cache", "prune", "--all", "--dry-run").err
    assert "2 entries removed" in shell("cache", "prune", "--all").err
    assert not any(Path(row["path"]).exists() for row in listed)
