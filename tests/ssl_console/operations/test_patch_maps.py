"""Pictures of several backbones' components: of one column, the newest of each, and refused where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_console.operations.patch_maps import PatchMaps, patch_maps
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.worker.result_record import write_predictions
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import rebuild
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.tui.filled import finish

TASK = "patch-pca/shapes"


def measured(workspace: Workspace, backbone: str, seed: int, *, shown: tuple[int, ...] = (0, 3)) -> Result:
    """A finished run with components of two images that all backbones share, and others of its own."""
    common, own = (np.random.default_rng(one).standard_normal((2, 4, 4, 3)) for one in (9, seed))
    workspace.runs.mkdir(exist_ok=True)
    left = finish(workspace, f"run-{seed}", backbone, TASK)
    folder = workspace.run(left.run_id)
    arrays = {
        "index": np.arange(4),
        "shown": np.array(shown),
        "patch_components": np.concatenate([common, own], axis=3).astype(np.float16),
        "thumbnails": np.full((2, 8, 8, 3), 40 * seed, np.uint8),
    }
    write_predictions(folder, arrays)
    Image.new("RGB", (4, 4)).save(folder.path / "components.png")
    rebuild(workspace)
    return left


def maps_of(workspace: Workspace, wanted: Sequence[str] = ()) -> PatchMaps:
    return patch_maps(workspace, Session.of(workspace).results(), "shapes", wanted)


def test_backbones_are_columns_next_to_the_images(workspace: Workspace, tmp_path: Path) -> None:
    for seed, name in enumerate(("own/b", "own/a"), start=1):
        measured(workspace, name, seed)
    found = maps_of(workspace)
    assert found.backbones == ("own/a", "own/b")
    assert found.pixels.shape == (2 * 8 + 2, 3 * 8 + 2 * 2, 3)
    first, second = found.pixels[:, 10:18].astype(float), found.pixels[:, 20:28].astype(float)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9
    found.save(tmp_path / "sub" / "maps.png")
    with Image.open(tmp_path / "sub" / "maps.png") as image:
        assert image.size == (28, 18)


def test_one_backbone_alone_is_refused_with_the_way_to_another(workspace: Workspace) -> None:
    measured(workspace, "own/a", 1)
    with pytest.raises(ConsoleError, match="run -b BACKBONE -t patch-pca/shapes"):
        maps_of(workspace)
    with pytest.raises(ConsoleError, match="own/z has no results"):
        maps_of(workspace, ["own/a", "own/z"])


def test_pictures_of_other_images_are_not_drawn_next_to_each_other(workspace: Workspace) -> None:
    measured(workspace, "own/a", 1)
    measured(workspace, "own/b", 2, shown=(0, 2))
    with pytest.raises(ConsoleError, match="pictures of other images"):
        maps_of(workspace)


def test_a_result_shows_its_backbone_next_to_the_others_first(workspace: Workspace) -> None:
    alone = measured(workspace, "own/a", 1)
    assert [one.path.name for one in Session.of(workspace).pictures(alone.run_id)] == ["components.png"]
    both = measured(workspace, "own/b", 2)
    names = [one.path.name for one in Session.of(workspace).pictures(both.run_id)]
    assert names == ["image__own-a__own-b.png", "components.png"]
    assert list(workspace.cache.rglob("image__*.png"))


def test_a_console_that_only_reads_writes_no_picture(workspace: Workspace) -> None:
    measured(workspace, "own/a", 1)
    both = measured(workspace, "own/b", 2)
    session = Session.of(workspace)
    session.readonly = True
    assert [one.path.name for one in session.pictures(both.run_id)] == ["image__own-a__own-b.png", "components.png"]
    assert not list(workspace.cache.rglob("image__*.png"))


def test_the_command_writes_the_picture_and_names_its_columns(
    shell: Shell, workspace: Workspace, tmp_path: Path
) -> None:
    for seed, name in enumerate(("own/a", "own/b"), start=1):
        measured(workspace, name, seed)
    target = tmp_path / "maps.png"
    printed = shell("patch-maps", "shapes", "-o", str(target))
    assert "image, own/a, own/b" in printed.out
    assert target.stat().st_size > 50
    found = shell("patch-maps", "shapes", "-b", "own/b", "-b", "own/a", "-o", str(target), "--json").document
    assert found == {"task": TASK, "backbones": ["own/a", "own/b"], "picture": str(target)}
