"""Comparison of backbones: differences by task, and charts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from backbones.io.errors import counted
from ssl_console.analysis.layer_curves import PROTOCOL as LAYERS
from ssl_console.analysis.published import unmarked
from ssl_console.analysis.ranking import Ranking, RankingColumn, RankingRow, judged
from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.analysis.statistics.correlation import FEWEST_ASSOCIATED, Association, associate, pareto_front
from ssl_console.tui.data.catalog import Catalog
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Cell, Line, Span, Tone, line
from ssl_console.tui.views.paired_tests import PairedTests, short_name
from ssl_console.tui.widgets.plot import Chart, Series
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.workspace.badges import marks
from ssl_console.workspace.events import Curve

CostAxis = Literal["parameters", "images/s"]
TASK = "task"
ALL_TASKS = "\0"
"""Key of the row with the mean over all tasks."""
NO_MEAN = "no mean over these tasks, as not all scores are percentages: move to a task"
INCOMPLETE = "no backbone has a score in every column: move to a task"


@dataclass(frozen=True)
class CompareTable:
    """Some backbones of a ranking relative to one of them, the base."""

    ranking: Ranking
    backbones: tuple[str, ...]
    base: str
    catalogue: Catalog
    speeds: Mapping[str, float]
    """Images per second of each backbone, as measured in this workspace."""
    glyphs: Glyphs
    paired: PairedTests = field(default_factory=lambda: PairedTests({}))
    """Paired tests against the base; until they are computed, intervals are used."""
    task: str | None = None
    """Column for the charts; None for the mean over all."""

    @cached_property
    def row(self) -> Mapping[str, RankingRow]:
        """By backbone."""
        return {row.backbone: row for row in self.ranking.rows}

    @cached_property
    def columns(self) -> list[RankingColumn]:
        """Columns in which at least one compared backbone has a score."""
        rows = [self.row[name] for name in self.backbones if name in self.row]
        return [column for column in self.ranking.columns if any(column.label in row.cells for row in rows)]

    def rows(self, width: int) -> TableModel:
        """One line per task, one column per backbone; the base first."""
        longest = max((len(column.label) for column in self.columns), default=8)
        others = [name for name in self.backbones if name != self.base]
        columns = [Column(TASK, "task", max(10, min(longest, width // 3)), name=True)]
        columns += [self._column(self.base, 6)] if self.base else []
        columns += [self._column(name, 12) for name in others]
        keys = [ALL_TASKS] if self.columns else []
        return TableModel(tuple(columns), [*(column.label for column in self.columns), *keys], self._cell)

    def _column(self, name: str, least: int) -> Column:
        """Width of the widest number, so that no number is cut; a long name is cut."""
        numbers = max((len(self._text(name, column.label)) for column in self.columns), default=0)
        return Column(name, short_name(name), max(least, numbers, min(len(short_name(name)), 18)), "right")

    def _cell(self, label: str, column: Column) -> Cell:
        if label == ALL_TASKS:
            return self._mean_cell(column.key)
        if column.key == TASK:
            return Cell(label, Tone.ACCENT if label == self.task else Tone.PLAIN)
        score, base = self._score(column.key, label), self._score(self.base, label)
        if score is None:
            return Cell(self.glyphs.none, Tone.FAINT)
        text, best = self._text(column.key, label), score.value == self._best(label)
        if column.key == self.base:
            return Cell(text, bold=best)
        return Cell(text, self._tone(column.key, score, base, label) if base else Tone.DIM, bold=best)

    def _mean_cell(self, name: str) -> Cell:
        if name == TASK:
            return Cell("mean over all", Tone.ACCENT if self.task is None else Tone.DIM)
        row = self.row.get(name)
        return Cell(self.glyphs.none if row is None or row.mean is None else f"{row.mean:.1f}", Tone.DIM)

    def _text(self, name: str, label: str) -> str:
        """A score, followed for other backbones by the difference from the base's."""
        score, difference = self._score(name, label), self._difference(name, label)
        if score is None:
            return self.glyphs.none
        shown = f"{score.value:.1f}{marks(score.badges)}"
        if name == self.base:
            return shown
        return f"{shown} {difference:>{self._room_of_differences[name]}}"

    def _difference(self, name: str, label: str) -> str:
        score, base = self._score(name, label), self._score(self.base, label)
        return "" if score is None or base is None else f"{score.value - base.value:+.1f}"

    @cached_property
    def _room_of_differences(self) -> Mapping[str, int]:
        """Width of each backbone's widest difference, for the alignment of scores."""
        labels = [column.label for column in self.columns]
        return {name: max([5, *(len(self._difference(name, label)) for label in labels)]) for name in self.backbones}

    def _score(self, backbone: str, label: str) -> RankingCell | None:
        row = self.row.get(backbone)
        return row.cells.get(label) if row else None

    def _best(self, label: str) -> float | None:
        values = [score.value for name in self.backbones if (score := self._score(name, label)) is not None]
        return (max if self._higher(label) else min)(values, default=None)

    def key(self, label: str) -> str | None:
        """The comparability key of a column."""
        return next((column.key for column in self.columns if column.label == label), None)

    def _higher(self, label: str) -> bool:
        return next(column.higher_is_better for column in self.columns if column.label == label)

    def _tone(self, name: str, score: RankingCell, base: RankingCell, label: str) -> Tone:
        """Tone of a significant difference in the paired test; without a test, of non-overlapping intervals."""
        tested = self.paired.tone(name, self.key(label))
        if tested is not None:
            return tested
        above, below = score.ci_low > base.ci_high, score.ci_high < base.ci_low
        if not above and not below:
            return Tone.DIM
        return Tone.GOOD if above == self._higher(label) else Tone.BAD

    def summary(self) -> Line:
        """Results of the others relative to the base."""
        if not self.ranking.rows:
            return line(Span(" nothing measured yet", Tone.DIM))
        if not self.columns:
            return line(Span(" Mark backbones in Rankings with space, or press c to choose some.", Tone.DIM))
        spans = [Span(" against ", Tone.DIM), Span(self.base, Tone.STRONG)]
        for name in self.backbones:
            if name != self.base:
                better, worse, alike = self._verdict(name)
                spans += [Span(f"  {short_name(name)}: ", Tone.DIM), Span(f"{better} better", Tone.GOOD)]
                spans += [Span(f", {worse} worse", Tone.BAD), Span(self._undecided(name, alike), Tone.DIM)]
        return tuple(spans)

    def _undecided(self, name: str, alike: int) -> str:
        """Tasks without a significant difference: those equal within the margin, and those that cannot tell."""
        comparison = self.paired.by_backbone.get(name)
        if comparison is None:
            return f", {alike} alike"
        equal = sum(task.verdict == "alike" and task.within for task in comparison.judged)
        return f", {equal} equal, {comparison.count('alike') - equal} cannot tell of {len(comparison.judged)}"

    def _verdict(self, name: str) -> tuple[int, int, int]:
        """Tasks on which it is better, worse or alike, as counted by the sentence below the table."""
        comparison = self.paired.by_backbone.get(name)
        if comparison is not None:
            return comparison.count("better"), comparison.count("worse"), comparison.count("alike")
        tones = []
        for column in judged(self.columns):
            score, base = self._score(name, column.label), self._score(self.base, column.label)
            if score is not None and base is not None:
                tones.append(self._tone(name, score, base, column.label))
        return tones.count(Tone.GOOD), tones.count(Tone.BAD), tones.count(Tone.DIM)

    @property
    def keys(self) -> dict[str, str | None]:
        """The comparability key of every column by its label."""
        return {column.label: column.key for column in self.columns}

    def run_of(self, name: str, label: str) -> str | None:
        """The own run of a backbone's score; None for a published score, or without a score."""
        score = self._score(name, label)
        return score.run_id if score is not None and score.source == "mine" else None

    # -- charts -------------------------------------------------------------------------------------------------

    def transfer(self) -> Chart:
        """ImageNet top-1 against transfer, with both correlations over all backbones that have both."""
        top1 = {entry.name: entry.card.facts.imagenet_top1 for entry in self.catalogue.backbones}
        points = {name: (x, y) for name, y in self._heights().items() if (x := top1.get(unmarked(name))) is not None}
        across, up = [point[0] for point in points.values()], [point[1] for point in points.values()]
        note = _association(associate(across, up), len(points))
        empty = "no ImageNet top-1 on the cards of these backbones" if self._heights() else self._no_height
        return Chart(self._point_series(points), "ImageNet top-1", self._height_name, note=note or empty)

    def cost(self, axis: CostAxis) -> Chart:
        """Score against parameters or speed, with the Pareto front."""
        sizes = {entry.name: entry.card.facts.parameters_millions for entry in self.catalogue.backbones}
        costs, heights = self.speeds if axis == "images/s" else sizes, self._heights()
        points = {name: (x, y) for name, y in heights.items() if (x := costs.get(unmarked(name)))}
        front = pareto_front(list(points.values()), smaller_x_is_better=axis == "parameters")
        line_of_front = tuple(list(points.values())[index] for index in front)
        series = (Series("front", tuple(sorted(line_of_front)), "front"), *self._point_series(points))
        label = "parameters (M)" if axis == "parameters" else "images/s"
        return Chart(
            series,
            label,
            self._height_name,
            log_x=True,
            note=f"{len(front)} on the Pareto front" if front else f"no {label} known" if heights else self._no_height,
        )

    def curves(self, by_backbone: Mapping[str, Mapping[str, Curve]], metric: str | None = None) -> Chart:
        """A metric's curve of each compared backbone on the chosen task."""
        names = [name for curves in by_backbone.values() for name, curve in curves.items() if len(curve.points) > 1]
        if not names:
            return Chart(note="move to a task" if self.task is None else "no curves are stored for this task")
        shown = metric if metric in names else names[0]
        series = tuple(
            Series(short_name(name), _points(by_backbone[name][shown]), number=number)
            for number, name in enumerate(self.backbones)
            if shown in by_backbone.get(name, {})
        )
        return Chart(series, "step", shown, note=shown)

    @property
    def shows_layers(self) -> bool:
        """Whether the selected task is a layer curve."""
        return any(column.label == self.task and column.protocol == LAYERS for column in self.columns)

    @property
    def runs(self) -> Mapping[str, str]:
        """The run of each compared backbone's score on the selected task."""
        cells = {name: self._score(name, self.task or "") for name in self.backbones}
        return {name: cell.run_id for name, cell in cells.items() if cell is not None}

    @property
    def _height_name(self) -> str:
        return self.task or "mean"

    @property
    def _no_height(self) -> str:
        if any(row.complete for row in self.ranking.rows):
            return NO_MEAN
        return INCOMPLETE if self.ranking.rows else "nothing to draw yet"

    def _heights(self) -> dict[str, float]:
        """Scores of all backbones of the ranking on the selected task, or means of complete rows."""
        if self.task is None:
            return {row.backbone: row.mean for row in self.ranking.rows if row.mean is not None}
        scores = ((row.backbone, row.cells.get(self.task)) for row in self.ranking.rows)
        return {name: score.value for name, score in scores if score is not None}

    def _point_series(self, points: Mapping[str, tuple[float, float]]) -> tuple[Series, ...]:
        """Each compared backbone in its own colour with its name; all others in one series without names."""
        others = tuple(point for name, point in points.items() if name not in self.backbones)
        series = [Series("others", others, "crowd")] if others else []
        for number, name in enumerate(self.backbones):
            if name in points:
                series.append(Series(short_name(name), (points[name],), "points", number, (short_name(name),)))
        return tuple(series)


def _association(found: Association | None, count: int) -> str:
    """Both coefficients with their 95 % intervals, or the reason why there are none."""
    if found is None:
        return (
            f"{counted(count, 'backbone is', 'backbones are')} too few for a correlation"
            if 0 < count < FEWEST_ASSOCIATED
            else ""
        )
    both = (("Pearson", found.pearson), ("Spearman", found.spearman))
    return "  ".join(f"{name} {one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f})" for name, one in both)


def choices(ranking: Ranking) -> list[str]:
    """Backbones that can be compared."""
    return sorted(row.backbone for row in ranking.rows)


def chosen(marked: Sequence[str], ranking: Ranking) -> tuple[str, ...]:
    """The marked backbones with results; the first two of the ranking if fewer than two are marked."""
    measured = {row.backbone for row in ranking.rows}
    selected = [name for name in marked if name in measured]
    best = [row.backbone for row in ranking.rows if row.backbone not in selected]
    return tuple(selected if len(selected) > 1 else [*selected, *best][:2])


def _points(curve: Curve) -> tuple[tuple[float, float], ...]:
    """Points by step, or by number where no step was reported."""
    return tuple((float(number) if step is None else step, value) for number, (step, value) in enumerate(curve.points))
