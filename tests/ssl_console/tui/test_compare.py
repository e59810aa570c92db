"""Compare on real predictions: the view follows the cursor, and the images on which two backbones disagree."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from textual.pilot import Pilot

from ssl_console.analysis.representation_similarity import Similarity
from ssl_console.operations.disagreements import DisagreeingImages, disagreeing_images, disagreement
from ssl_console.operations.session import Session
from ssl_console.operations.similarity import SimilarityMatrix
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.screens.compare_dialogs import DisagreementDialog
from ssl_console.tui.screens.compare_pane import VIEWS, ComparePane
from ssl_console.tui.style.glyphs import UNICODE
from ssl_console.tui.style.palette import LEVELS
from ssl_console.tui.views.compare_pane import similarity_lines
from ssl_console.tui.widgets.graphics import ImageView
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.paths import Workspace
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices
from tests.ssl_console.cli.test_similarity import store
from tests.ssl_console.tui.conftest import Opener, until

COMPARE = AppOptions(mode="compare")
TASK = "knn/digits"


@pytest.fixture
def predicted(used: Workspace) -> tuple[Workspace, str, str]:
    """Two runs on the digits: the first is wrong on images 0 to 9, the second on images 5 to 19."""
    dataset = open_dataset(TaskCatalog.load([]).dataset("digits"), Path("nowhere"))
    ((name, index),) = many_shot_indices(dataset).test
    labels = dataset.splits[name].labels[index]
    runs = []
    session = Session.of(used)
    for backbone, wrong in (("demo/mae", slice(0, 10)), ("demo/simclr", slice(5, 20))):
        run_id = next(one.run_id for one in session.results() if (one.backbone, one.task) == (backbone, TASK))
        answers = labels.copy()
        answers[wrong] = (answers[wrong] + 1) % 10
        np.savez(used.run(run_id).predictions, index=index, label=labels, predicted=answers)
        runs.append(run_id)
    return used, runs[0], runs[1]


def words(pilot: Pilot[int], selector: str) -> str:
    content = pilot.app.screen.query_one(selector, Lines).content
    return "\n".join("".join(span.text for span in line) for line in content)


def test_images_that_one_alone_has_right_are_named_and_drawn(predicted: tuple[Workspace, str, str]) -> None:
    workspace, first, second = predicted
    images = disagreeing_images(Session.of(workspace), first, second)
    assert isinstance(images, DisagreeingImages)
    assert len(images.only_first) == 10
    assert len(images.only_second) == 5
    assert images.only_first[0].name.startswith("digit/")
    assert images.only_first[0].label == images.only_first[0].first != images.only_first[0].second
    assert images.sheet is not None
    assert images.sheet.image.width > images.sheet.image.height > 0


def test_runs_on_other_images_are_not_compared_image_by_image() -> None:
    label = np.array([0, 1, 1])
    one = {"index": np.arange(3), "label": label, "predicted": np.array([0, 1, 0])}
    other = {**one, "predicted": np.array([0, 0, 1])}
    found = disagreement(one, other)
    assert not isinstance(found, str)
    assert [answer.position for answer in found.only_first] == [1]
    assert [answer.position for answer in found.only_second] == [2]
    assert (found.both, found.neither, found.images) == (1, 0, 3)
    assert "not tested on the same images" in str(disagreement(one, {**other, "index": np.arange(3) + 1}))
    assert "no single predicted class" in str(disagreement(one, {**other, "predicted": np.zeros((3, 2))}))
    assert "are missing" in str(disagreement(one, None))


async def test_the_view_follows_the_cursor_of_the_table(used: Workspace, opened: Opener) -> None:
    async with opened(used, COMPARE) as pilot:
        pane, table = pilot.app.screen.query_one(ComparePane), pilot.app.screen.query_one(LineTable)
        await until(pilot, lambda: "points, 95 % intervals" in words(pilot, "#text"))
        table.move_to(row="linear/shapes")
        await until(
            pilot,
            lambda: any(
                row[1:].startswith("linear/shapes") and row[0] != " " for row in words(pilot, "#text").splitlines()
            ),
        )
        await pilot.press("tab")
        assert pane.view == "transfer"
        assert "linear/shapes" in words(pilot, "#tabs")
        await pilot.press("G")
        assert "mean over all tasks" in words(pilot, "#tabs")


async def test_images_are_listed_with_enter_and_their_paths_copied_with_y(
    predicted: tuple[Workspace, str, str], opened: Opener
) -> None:
    async with opened(predicted[0], COMPARE, size=(160, 45)) as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        app.set_state(replace(app.state, marked=("demo/simclr", "demo/mae")))
        app.screen.query_one(LineTable).move_to(row=TASK)
        for _ in range(VIEWS.index("images")):
            await pilot.press("tab")
        await until(pilot, lambda: "mae right, simclr wrong: 10" in words(pilot, "#text"))
        assert app.screen.query_one(ImageView).display
        await pilot.press("y")
        assert len(app.clipboard.splitlines()) == 10
        assert all(name.startswith("digit/") for name in app.clipboard.splitlines())
        await pilot.press("enter")
        assert isinstance(app.screen, DisagreementDialog)
        assert len(app.screen.query_one(LineTable).rows.keys) == 15
        await pilot.press("escape", "shift+tab")
        await until(pilot, lambda: "diff." in words(pilot, "#text"))


async def test_similarity_of_the_compared_backbones_is_a_matrix_with_heat_colours(
    used: Workspace, opened: Opener
) -> None:
    async with opened(used, COMPARE, size=(160, 45)) as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        app.set_state(replace(app.state, marked=("demo/simclr", "demo/mae")))
        app.screen.query_one(LineTable).move_to(row="linear/shapes")
        for _ in range(VIEWS.index("similarity")):
            await pilot.press("tab")
        await until(pilot, lambda: "no stored features on shapes" in words(pilot, "#text"))
        for number, name in enumerate(("demo/mae", "demo/random", "demo/simclr")):
            store(used, name, seed=number, dataset="shapes")
        app.set_state(replace(app.state, marked=("demo/simclr", "demo/mae", "demo/random")))
        await until(pilot, lambda: "mutual 10-NN" in words(pilot, "#text"))
        spans = [span for found in app.screen.query_one("#text", Lines).content for span in found]
        assert {span.heat for span in spans if span.heat is not None} >= {0, LEVELS - 1}
        assert [span.text.strip() for span in spans].count("1") == 2 * 3


def test_a_matrix_that_does_not_fit_counts_the_columns_that_are_left_out() -> None:
    names = tuple(f"own/{number}" for number in range(9))
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    found = tuple(
        Similarity(one, other, number / 40, 0.0, 1.0, math.nan, 0.0, 1.0) for number, (one, other) in enumerate(pairs)
    )
    matrix = SimilarityMatrix("cars", "test", 500, names, found)
    for width in (40, 90):
        shown = similarity_lines(matrix, width, UNICODE)
        text = ["".join(span.text for span in found) for found in shown]
        assert max(map(len, text)) <= width
        assert any("more columns" in one for one in text) == (width == 40)
    assert any("0.00▁" in one for one in text)
    assert sum(one.count(UNICODE.none) for one in text) == 9 * 8  # undefined values are no zeros


async def test_the_filter_of_rankings_is_that_of_compare(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        await pilot.press("slash", *"linear or dataset:shapes", "enter", "4")
        table = pilot.app.screen.query_one(LineTable)
        await until(pilot, lambda: "/linear or dataset:shapes" in words(pilot, "#summary"))
        assert set(table.rows.keys[:-1]) == {"linear/digits", "linear/shapes", "knn/shapes"}
        await pilot.press("escape")
        assert len(table.rows.keys) > 4
        await pilot.press("slash", *"knn", "enter", "3")
        assert set(pilot.app.screen.query_one(LineTable).rows.column_index) >= {"knn/digits", "knn/shapes"}
        assert "linear/digits" not in pilot.app.screen.query_one(LineTable).rows.column_index


async def test_the_difference_of_two_results_is_a_pane_of_result(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        pilot.app.screen.query_one(LineTable).move_to("demo/mae", TASK)
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen.query("#text") and "demo/mae" in words(pilot, "#text"))
        await pilot.press("w", *"simclr", "enter")
        await until(pilot, lambda: "Selected hyperparameters, and the scores" in words(pilot, "#text"))
        assert "demo/simclr on knn/digits" in words(pilot, "#text")
        await pilot.press("escape")
        assert "selected hyperparameters" not in words(pilot, "#text")
