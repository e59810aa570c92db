"""`--test-also NAME=FOLDER`: a card for the folder, a setting of robustness tasks, and refusals in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_console.operations.add_dataset import further_test_sets
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.spec import parse_overrides


def test_a_folder_gets_a_card_and_robustness_tasks_read_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    (tmp_path / "photos").mkdir()
    settings = further_test_sets(workspace, [f"photos={tmp_path / 'photos'}", "imagenet-v2"])
    assert settings == ("robustness.also=photos,imagenet-v2",)
    assert further_test_sets(workspace, [f"photos={tmp_path / 'photos'}"]) == ("robustness.also=photos",)
    catalog = TaskCatalog.load([workspace.tasks])
    task = catalog.resolve("robustness/shapes", None, parse_overrides(["robustness.also=photos"]))
    card = catalog.card_of(task)
    assert card.name == "shapes+photos"
    assert [one.reader_arguments["path"] for one in card.shifts] == [str(tmp_path / "photos")]
    assert catalog.card_of(catalog.resolve("linear/shapes")).shifts == ()
    assert further_test_sets(workspace, []) == ()


def test_other_folders_bad_names_and_missing_folders_are_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    further_test_sets(workspace, [f"x={tmp_path / 'one'}"])
    with pytest.raises(ConsoleError, match="already exists for other data"):
        further_test_sets(workspace, [f"x={tmp_path / 'other'}"])
    with pytest.raises(ConsoleError, match="no such folder"):
        further_test_sets(workspace, [f"y={tmp_path / 'nothing'}"])
    with pytest.raises(ConsoleError, match="write NAME=FOLDER"):
        further_test_sets(workspace, ["a b=c"])
