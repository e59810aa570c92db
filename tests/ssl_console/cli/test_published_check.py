"""`doctor --published` with a local model hub: fetched, measured, compared with the expected scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import SHIPPED
from ssl_console.analysis.published import column_of, published
from ssl_console.cli.handlers.published import check_published
from ssl_console.operations.published_check import CELLS, PublishedCell, judge_cells
from ssl_console.operations.session import Session
from ssl_console.system.errors import ExitCode, MissingInputs
from ssl_console.workspace.paths import Workspace
from tasks.catalog.catalog import TaskCatalog
from tests.hub_stand_in import Hub, serving
from tests.ssl_console.analysis.test_published import measured
from tests.ssl_console.conftest import end_supervisor

REPOSITORY = "timm/test_resnet.r160_in1k"
WORD = "a stand-in"
UNKNOWN = PublishedCell("timm/test-resnet", "knn/digits", 0.0, 1.0, WORD, "default")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one backbone: a demo backbone under the name of a published one."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copyfile(SHIPPED / "simclr.safetensors", folder / "model.safetensors")
    with serving() as hub:
        hub.publish(REPOSITORY, folder)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    workspace = Workspace(tmp_path / "workspace").create()
    (workspace.root / "config.toml").write_text('devices = ["cpu"]\n')
    yield Session(workspace.root)
    end_supervisor(workspace)


def test_the_expected_scores_are_those_of_the_published_tables() -> None:
    numbers = {(one.backbone, one.task): one for one in published()}
    for cell in CELLS:
        number = numbers[cell.backbone, cell.task]
        column = column_of(number.task, number.metric)
        assert column is not None
        assert (cell.expected, cell.tolerance) == (number.value, column.tolerance)
        assert cell.source.startswith(column.table)


def test_three_backbones_and_one_dataset_can_be_fetched_without_a_login(tmp_path: Path) -> None:
    cards = BackboneCatalog.load([], tmp_path).cards
    assert len({cell.backbone for cell in CELLS}) == 3
    assert all(cards[cell.backbone].weights.kind == "url" for cell in CELLS)
    assert all(getattr(cards[cell.backbone].weights, "manual", None) is None for cell in CELLS)
    (dataset,) = {cell.task.partition("/")[2] for cell in CELLS}
    assert TaskCatalog.load().dataset(dataset).download == "automatic"


@pytest.mark.parametrize(("value", "agrees"), [(94.0, True), (95.62, True), (93.6, False), (95.7, False)])
def test_a_score_comes_out_within_its_tolerance_alone(value: float, agrees: bool) -> None:
    own = [measured("paper/swav", "linear/flowers", value, metric="mean-per-class", variant="paper")]
    (verdict,) = judge_cells(CELLS[1:2], own)
    assert verdict.agrees == agrees
    assert ("not reproduced" in verdict.words) != agrees


def test_other_presets_and_imported_results_count_for_nothing() -> None:
    other = measured("paper/swav", "linear/flowers", 94.62, variant="default")
    came = measured("paper/swav", "linear/flowers", 94.62, variant="paper").model_copy(update={"origin": "results.zip"})
    (verdict,) = judge_cells(CELLS[1:2], [other, came])
    assert verdict.result is None
    assert "was not measured" in verdict.words


@pytest.mark.slow
def test_weights_are_fetched_measured_and_held_against_the_expected_score(
    hub: Hub, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_published(session, as_json=True, cells=[UNKNOWN]) is ExitCode.RUN_FAILED
    (row,) = json.loads(capsys.readouterr().out)["published"]
    assert (row["agrees"], row["published"]) == (False, 0.0)
    assert any(path.startswith(f"/{REPOSITORY}/resolve/main/") for path in hub.paths)

    known = PublishedCell("timm/test-resnet", "knn/digits", row["measured"] + 0.5, 1.0, WORD, "default")
    assert check_published(Session(session.workspace.root), as_json=False, cells=[known]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "1 of 1 published scores are reproduced on this machine" in out
    assert f"ok   timm/test-resnet knn/digits {row['measured']:.2f}" in out


def test_what_cannot_be_fetched_is_named_and_nothing_is_measured(
    hub: Hub, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories.clear()
    with pytest.raises(MissingInputs, match="timm/test-resnet could not be fetched"):
        check_published(session, as_json=True, cells=[UNKNOWN])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "timm/test-resnet" in printed.err
    assert not list(session.workspace.runs.iterdir())
