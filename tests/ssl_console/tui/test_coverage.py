from __future__ import annotations

import pytest

from ssl_console.operations.downloads import DownloadItem, DownloadProgress
from ssl_console.planning.plan import Blocker
from ssl_console.tui.data.catalog import BackboneEntry, Catalog, Suite, TaskEntry
from ssl_console.tui.data.state import PairSelection, in_order
from ssl_console.tui.style.glyphs import UNICODE
from ssl_console.tui.style.text import Line, length
from ssl_console.tui.views.coverage import CellStatus, Coverage, coverage_of, filter_catalog
from ssl_console.tui.views.plan import CoverageGrid, about_cell, cell_text, coverage_grid
from ssl_console.workspace.run import FailureKind, RunState
from ssl_console.workspace.run_observer import RunView
from tasks.datasets.manifest import ReadingProgress
from tests.ssl_console.run_views import run_view
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.filled import NOW

RESULT = filled.result("demo/mae", "knn/digits", run_id="r1")


def entry(name: str, missing: Blocker | None = None) -> BackboneEntry:
    return BackboneEntry(filled.backbone_catalog().cards[name], missing)


def task(name: str, missing: Blocker | None = None) -> TaskEntry:
    spec = filled.task_catalog().resolve(name)
    return TaskEntry(name, spec.protocol, filled.task_catalog().dataset(spec.dataset), missing)


SWAV = DownloadItem("weights", "paper/swav")
LACKING = Blocker("weights", "paper/swav", "run `ssl-console weights fetch paper/swav`", "no weights", fetchable=True)
CATALOGUE = Catalog(
    (entry("paper/swav", LACKING), entry("demo/mae"), entry("demo/simclr")),
    (task("linear/digits"), task("linear/cifar10", Blocker("data", "cifar10", "get it")), task("knn/digits")),
    (Suite("small", "A small one", ("knn/digits",), ("demo/mae",), (("knn/digits", "paper"),)),),
)


def run(
    state: RunState, *, created: float = NOW + 9999, kind: FailureKind | None = None, run_id: str = "r2"
) -> RunView:
    return run_view(run_id, state, backbone="demo/mae", task="knn/digits", created=created, kind=kind)


def cell(*runs: RunView, stale: bool = False, suite: str | None = None) -> CellStatus:
    reasons = {("demo/mae", "knn/digits"): "the dataset changed"} if stale else {}
    return Coverage.of(CATALOGUE, [RESULT], runs, reasons, suite).cell("demo/mae", "knn/digits").status


def words(lines: list[Line]) -> str:
    return "\n".join("".join(span.text for span in line) for line in lines)


def test_a_run_under_way_counts_more_than_a_result_and_a_result_more_than_an_older_failure() -> None:
    assert cell() is CellStatus.DONE
    assert cell(stale=True) is CellStatus.STALE
    assert cell(run(RunState.RUNNING)) is CellStatus.RUNNING
    assert cell(run(RunState.QUEUED), run(RunState.FAILED, created=NOW, run_id="r3")) is CellStatus.QUEUED
    assert cell(run(RunState.FAILED, created=NOW - 1)) is CellStatus.DONE
    assert cell(run(RunState.FAILED)) is CellStatus.FAILED


@pytest.mark.parametrize("order", [1, -1])
def test_of_runs_made_at_the_same_moment_the_one_under_way_counts_in_whatever_order_they_are_found(order: int) -> None:
    runs = [run(RunState.DONE), run(RunState.RUNNING, run_id="r1"), run(RunState.FAILED, run_id="r3")]
    assert cell(*runs[::order]) is CellStatus.RUNNING
    assert cell(run(RunState.RUNNING, created=NOW), run(RunState.FAILED)) is CellStatus.RUNNING


def test_a_result_of_another_variant_does_not_count_for_a_suite() -> None:
    assert cell(suite="small") is CellStatus.EMPTY


def test_what_cannot_run_says_what_is_missing_and_is_not_wanted() -> None:
    coverage = Coverage.of(CATALOGUE, [], [], {})
    weights, data = coverage.cell("paper/swav", "knn/digits"), coverage.cell("demo/mae", "linear/cifar10")
    assert (weights.status, data.status) == (CellStatus.NO_WEIGHTS, CellStatus.NO_DATA)
    assert weights.detail == "no weights: w fetches them"
    grid = CoverageGrid(coverage, filter_catalog(CATALOGUE, None, ""), PairSelection(), UNICODE)
    assert set(grid.unmeasured()) == {
        (b, t) for b in ("demo/mae", "demo/simclr") for t in ("linear/digits", "knn/digits")
    }


@pytest.mark.parametrize(
    ("suite", "text", "backbones", "tasks"),
    [
        (None, "", ["demo/mae", "demo/simclr", "paper/swav"], ["linear/digits", "linear/cifar10", "knn/digits"]),
        (None, "demo knn", ["demo/mae", "demo/simclr"], ["knn/digits"]),
        (None, "weights:present protocol:linear", ["demo/mae", "demo/simclr"], ["linear/digits", "linear/cifar10"]),
        ("small", "", ["demo/mae"], ["knn/digits"]),
        ("nothing", "", ["demo/mae", "demo/simclr", "paper/swav"], ["linear/digits", "linear/cifar10", "knn/digits"]),
    ],
)
def test_what_is_shown_can_be_measured_first(
    suite: str | None, text: str, backbones: list[str], tasks: list[str]
) -> None:
    shown = filter_catalog(CATALOGUE, suite, text)
    assert [one.name for one in shown.backbones] == backbones
    assert [one.name for one in shown.tasks] == tasks


def test_the_cell_under_the_cursor_is_told_in_words() -> None:
    coverage = Coverage.of(CATALOGUE, [RESULT], [run(RunState.FAILED, kind="oom")], {})
    grid = CoverageGrid(coverage, filter_catalog(CATALOGUE, None, ""), PairSelection(), UNICODE)
    told = words(about_cell(grid, "demo/mae", "knn/digits", 120))
    assert "demo/mae on knn/digits" in told
    assert "failed" in told
    assert "oom" in told
    assert f"{RESULT.value:.1f} [" in told


def test_ticks_survive_a_filter_and_mark_row_and_column() -> None:
    coverage = Coverage.of(CATALOGUE, [], [], {})
    everything = CoverageGrid(coverage, filter_catalog(CATALOGUE, None, ""), PairSelection(), UNICODE)
    ticked = PairSelection().toggle(everything.column("knn/digits"))
    few = CoverageGrid(coverage, filter_catalog(CATALOGUE, None, "mae"), ticked, UNICODE)
    rows = few.rows(100)
    assert rows.keys == ["demo/mae"]
    assert next(column for column in rows.columns if column.key == "knn/digits").marked
    assert rows.cell("demo/mae", rows.columns[0]).text.startswith(UNICODE.partly)
    assert len(ticked.pairs) == 3


def test_runs_stand_in_the_order_in_which_they_matter() -> None:
    runs = [
        run(RunState.DONE, run_id="done"),
        run(RunState.QUEUED, created=2, run_id="later"),
        run(RunState.QUEUED, created=1, run_id="sooner"),
        run_view("urgent", RunState.QUEUED, created=3, priority=5),
        run(RunState.RUNNING, run_id="running"),
    ]
    assert [one.run_id for one in in_order(runs)] == ["running", "urgent", "sooner", "later", "done"]


def test_a_dataset_whose_files_are_being_read_is_pending_with_its_progress() -> None:
    reading = {"digits": ReadingProgress(name="digits", done=3000, total=10_000)}
    coverage = Coverage.of(CATALOGUE, [RESULT], [], {}, reading=reading)
    pending = coverage.cell("demo/mae", "knn/digits")
    assert (pending.status, pending.share, pending.score) == (CellStatus.PENDING, 0.3, RESULT.value)
    assert not pending.needs_run
    assert cell_text(pending, UNICODE) == "◌ 30%"
    grid = CoverageGrid(coverage, filter_catalog(CATALOGUE, None, ""), PairSelection(), UNICODE)
    about = words(about_cell(grid, "demo/simclr", "linear/digits", 120))
    assert "pending" in about
    assert "the files of digits are being read: 3,000 of 10,000" in about
    assert coverage.cell("demo/mae", "linear/cifar10").status is CellStatus.NO_DATA, "others are as they were"
    begun = {"digits": ReadingProgress(name="digits", done=0, total=0)}
    assert (
        cell_text(Coverage.of(CATALOGUE, [], [], {}, reading=begun).cell("demo/mae", "knn/digits"), UNICODE) == "◌ read"
    )
    under_way = Coverage.of(CATALOGUE, [RESULT], [run(RunState.RUNNING)], {}, reading=reading)
    assert under_way.cell("demo/mae", "knn/digits").status is CellStatus.RUNNING


def test_weights_that_are_being_fetched_have_their_progress_in_the_cells_and_a_failure_its_reason() -> None:
    half = DownloadProgress(SWAV, "fetching", 50 * 10**6, 100 * 10**6)
    fetching = Coverage.of(CATALOGUE, [], [], {}, downloads={SWAV: half}).cell("paper/swav", "knn/digits")
    assert (fetching.status, fetching.needs_run) == (CellStatus.FETCHING, False)
    assert cell_text(fetching, UNICODE) == f"{UNICODE.missing} 50%"
    assert "fetching the weights of paper/swav: 50.0 MB of 100.0 MB" in fetching.detail
    failed = DownloadProgress(SWAV, "failed", problem="the server does not answer")
    cell = Coverage.of(CATALOGUE, [], [], {}, downloads={SWAV: failed}).cell("paper/swav", "knn/digits")
    assert (cell.status, cell_text(cell, UNICODE)) == (CellStatus.NO_WEIGHTS, UNICODE.missing)
    assert "the server does not answer" in cell.detail


def test_what_a_missing_cell_advises_is_never_cut_at_the_advice() -> None:
    grid = CoverageGrid(
        Coverage.of(CATALOGUE, [], [], {}), filter_catalog(CATALOGUE, None, ""), PairSelection(), UNICODE
    )
    for width in (60, 80, 120):
        lines = about_cell(grid, "demo/mae", "linear/cifar10", width)
        assert len(lines) == 2
        shown = next(line for line in lines if "get it" in "".join(span.text for span in line))
        assert length(shown) <= width


def test_the_grid_and_its_table_are_made_once_for_the_same_content() -> None:
    runs: dict[str, RunView] = {}

    def grid(selection: PairSelection) -> CoverageGrid:
        coverage = coverage_of(CATALOGUE, (RESULT,), runs, {}, None, {}, {})
        return coverage_grid(coverage, None, "", selection, UNICODE)

    none = PairSelection()
    assert grid(none) is grid(none)
    assert grid(none).rows(80) is grid(none).rows(80)
    ticked = grid(none.toggle([("demo/mae", "knn/digits")]))
    assert [column.marked for column in ticked.rows(80).columns] == [False] * 4
    everything = ticked.column("knn/digits")
    assert [column.marked for column in grid(none.toggle(everything)).rows(80).columns][-1]
