"""Own results that published scores are compared with, and reproduction of published scores on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ssl_console.analysis.published.tables import further_numbers
from ssl_console.operations.session import Session
from ssl_console.workspace.result import Result

PAPER = "Table 1 of arXiv 2011.13377v2"


@dataclass(frozen=True)
class PublishedCell:
    """A score published for a backbone on a task."""

    backbone: str
    task: str
    expected: float
    tolerance: float
    """Maximum deviation of a measurement, in the metric's unit."""
    source: str
    """Paper and table of the score."""
    preset: str = "paper"
    """Preset of the measurement."""


CELLS = (
    PublishedCell("paper/supervised", "linear/flowers", 89.93, 1.0, PAPER),
    PublishedCell("paper/swav", "linear/flowers", 94.62, 1.0, PAPER),
    PublishedCell("paper/deepcluster-v2", "linear/flowers", 94.72, 1.0, PAPER),
)
"""ResNet-50s of about 100 MB from two hosts, on the smallest dataset of the paper's linear evaluation that is fetched
without a login (8,189 images, 345 MB)."""


@dataclass(frozen=True)
class CellVerdict:
    """Verdict for one cell."""

    cell: PublishedCell
    result: Result | None
    """None where it was not measured."""

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        return None if self.result is None else self.result.value - self.cell.expected

    @property
    def agrees(self) -> bool:
        """Whether the published score is reproduced."""
        return self.difference is not None and abs(self.difference) <= self.cell.tolerance

    @property
    def words(self) -> str:
        """The verdict in one sentence."""
        cell = self.cell
        printed = f"published {cell.expected:.2f} ± {cell.tolerance:g} ({cell.source})"
        if self.result is None:
            return f"{cell.task} was not measured, {printed}: `ssl-console runs` shows the reason"
        measured = f"{cell.task} {self.result.value:.2f}, {printed}"
        if self.agrees:
            return measured
        return f"{measured}: not reproduced; see `ssl-console show {self.result.run_id}`"


def judge_cells(cells: Iterable[PublishedCell], results: Iterable[Result]) -> list[CellVerdict]:
    """Compare the newest measurement of each cell, by its own preset and seed 0, with its published score."""
    newest = {
        (one.backbone, one.task, one.variant): one
        for one in sorted(results, key=lambda one: one.finished)
        if one.source == "mine" and not one.origin and one.seed == 0
    }
    return [CellVerdict(cell, newest.get((cell.backbone, cell.task, cell.preset))) for cell in cells]


def results_with_published_metrics(session: Session, suite: str | None = None) -> list[Result]:
    """Own results, of the tasks of a suite if one is given, and their other metrics of which there are published
    scores. Reads their records.
    """
    own = [one for one in session.badged_results() if one.source == "mine"]
    if suite is not None:
        wanted = {(spec.name, spec.variant) for spec in session.tasks.select(suite=suite)}
        own = [one for one in own if (one.task, one.variant) in wanted]

    def metrics_of(run_id: str) -> Mapping[str, float]:
        record = session.outputs.record(run_id)
        return record.metrics if record else {}

    return [*own, *further_numbers(own, metrics_of)]
