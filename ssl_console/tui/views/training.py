"""A watched training as a chart, a table and a summary. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssl_console.operations.checkpoints.record import TransferCurve, WatchedCheckpoint, WatchedTraining
from ssl_console.tui.style.text import Cell, Tone
from ssl_console.tui.widgets.plot import Chart, Series
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

STATUS: Mapping[str, tuple[str, Tone]] = {
    "taken": ("waiting", Tone.DIM),
    "queued": ("measuring", Tone.BUSY),
    "done": ("done", Tone.GOOD),
    "failed": ("failed", Tone.BAD),
    "skipped": ("skipped", Tone.DIM),
}
NAMES_SHARE = 0.3
"""Fraction of the chart's width reserved at the left for the names of other backbones."""
COLUMNS = (
    Column("step", "step", 12, align="right"),
    Column("mean", "mean", 8, align="right"),
    Column("status", "state", 10),
    Column("file", "checkpoint", 40),
)


def chart_of(curve: TransferCurve) -> Chart:
    """Transfer against step; other backbones as horizontal lines with their names."""
    steps = [point.step for point in curve.points]
    if not steps:
        return Chart(note=curve.verdict)
    first, last = float(min(steps)), float(max(*steps, min(steps) + 1))
    begin = first + NAMES_SHARE * (last - first)
    levels = [Series(name, ((begin, mean), (last, mean)), kind="front") for name, mean in curve.references.items()]
    names = Series(
        "other backbones",
        tuple((first, mean) for mean in curve.references.values()),
        kind="points",
        number=1,
        labels=tuple(curve.references),
    )
    own = Series("this training", tuple((float(point.step), point.mean) for point in curve.points))
    return Chart((*levels, *([names] if levels else []), own), x=curve.unit, y="mean transfer")


def rows_of(training: WatchedTraining, curve: TransferCurve, results: Sequence[Result] = ()) -> TableModel:
    """The checkpoints, newest first, with means and the marks of the contributing `results`."""
    doubts: dict[str, dict[str, None]] = {}
    for result in results:
        if result.task in training.tasks:
            doubts.setdefault(result.backbone, {}).update(dict.fromkeys(result.badges))
    means = {point.backbone: point.mean for point in curve.points}
    best = curve.best
    by_key = {f"{checkpoint.file}\0{checkpoint.mtime_ns}": checkpoint for checkpoint in reversed(training.checkpoints)}

    def cell(key: str, column: Column) -> Cell:
        signs = marks(doubts.get(by_key[key].backbone, ()))
        return _cell(by_key[key], column.key, means, best.backbone if best else "", signs)

    return TableModel(COLUMNS, list(by_key), cell)


def _cell(checkpoint: WatchedCheckpoint, column: str, means: Mapping[str, float], best: str, signs: str) -> Cell:
    if column == "step":
        return Cell(f"{checkpoint.unit} {checkpoint.step:,}")
    if column == "mean":
        mean = means.get(checkpoint.backbone)
        tone = Tone.STRONG if checkpoint.backbone == best else Tone.PLAIN
        return Cell("" if mean is None else f"{mean:.1f}{signs}", tone)
    if column == "status":
        return Cell(*STATUS[checkpoint.status])
    return Cell(checkpoint.file)
