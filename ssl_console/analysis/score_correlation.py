"""Rank correlations over backbones of training-free scores with results, dataset by dataset.

The score is a metric of descriptive results (LogME of `transferability`, RankMe of `label-free`), or the results of
another task on the same dataset (`knn`). Needs no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ssl_console.analysis.badged_results import MarkedScore, marked_scores
from ssl_console.analysis.ranking import Ranking, RankingColumn, RankingRow, rank
from ssl_console.analysis.statistics.correlation import FEWEST, Coefficient, associate
from ssl_console.workspace.result import Result

MetricsOf = Callable[[str], Mapping[str, float]]
"""All metrics of a run."""


@dataclass(frozen=True)
class ScoreCorrelation:
    """A score and the results of one task."""

    score: str
    """Column and metric of the predictor."""
    task: str
    """Column of the predicted score."""
    points: Mapping[str, tuple[float, float]]
    """By backbone: score and result, of which more is better."""
    spearman: Coefficient | None
    """None for fewer than four backbones, or without variation."""
    weighted_tau: float | None
    """None for fewer than three."""
    marked: tuple[MarkedScore, ...]


def score_correlations(results: Iterable[Result], name: str, metrics_of: MetricsOf) -> list[ScoreCorrelation]:
    """Correlations of the score with every task on the same dataset that ranks backbones, in the order of the columns.

    `name` is a protocol, or a metric of those that describe.
    """
    ranking = rank(one for one in results if one.source == "mine")
    targets = [column for column in ranking.columns if not column.describes]
    found = []
    for column in ranking.columns:
        scores = _scores(column, ranking, name, metrics_of)
        same = [one for one in targets if one.dataset == column.dataset and one is not column]
        found += [_correlation(column, name, scores, target, ranking) for target in same if scores]
    return [one for one in found if len(one.points) > 1]


def known_scores(results: Iterable[Result], metrics_of: MetricsOf) -> list[str]:
    """Names accepted by `score_correlations`."""
    ranking = rank(one for one in results if one.source == "mine")
    names: dict[str, None] = {}
    for column in ranking.columns:
        run_ids = [row.cells[column.label].run_id for row in ranking.rows if column.label in row.cells]
        names |= dict.fromkeys(metrics_of(run_ids[0]) if column.describes and run_ids else [column.protocol])
    return list(names)


def mean_by_protocol(found: Sequence[ScoreCorrelation]) -> dict[str, tuple[int, float, float]]:
    """By protocol of the predicted tasks: how many have coefficients, and means of Spearman's and the weighted tau."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        if one.spearman is not None and one.weighted_tau is not None:
            protocol = one.task.partition("/")[0]
            groups.setdefault(protocol, []).append((one.spearman.value, one.weighted_tau))
    return {name: (len(of), fmean(rho for rho, _ in of), fmean(tau for _, tau in of)) for name, of in groups.items()}


def weighted_tau(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Weighted Kendall's tau (Vigna, WWW 2015), -1 to 1: pairs of high ranks count more, each rank by 1 / (rank + 1).

    The mean of ranking by `x` and by `y`, as publications on transferability report it. None for fewer than three
    pairs, or without variation.
    """
    if len(x) < FEWEST or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return fmean(_tau_by(first, second) for first, second in ((x, y), (y, x)))


def _tau_by(x: Sequence[float], y: Sequence[float]) -> float:
    order = sorted(range(len(x)), key=lambda place: (x[place], y[place]), reverse=True)
    weight = {place: 1 / (number + 1) for number, place in enumerate(order)}
    products = norm_x = norm_y = 0.0
    for i in range(len(x)):
        for j in range(i):
            both = weight[i] + weight[j]
            of_x, of_y = _sign(x[i] - x[j]), _sign(y[i] - y[j])
            products += both * of_x * of_y
            norm_x += both * of_x**2
            norm_y += both * of_y**2
    return products / math.sqrt(norm_x * norm_y)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _scores(column: RankingColumn, ranking: Ranking, name: str, metrics_of: MetricsOf) -> dict[str, float]:
    """By backbone, the score in this column; empty where it has none."""
    cells = {row.backbone: row.cells[column.label] for row in ranking.rows if column.label in row.cells}
    if column.protocol == name:
        return {backbone: cell.value for backbone, cell in cells.items()}
    if not column.describes:
        return {}
    found = {backbone: metrics_of(cell.run_id).get(name) for backbone, cell in cells.items()}
    return {backbone: value for backbone, value in found.items() if value is not None}


def _correlation(
    column: RankingColumn, name: str, scores: Mapping[str, float], target: RankingColumn, ranking: Ranking
) -> ScoreCorrelation:
    sign = 1.0 if target.higher_is_better else -1.0
    rows = sorted((row for row in ranking.rows if _both(row, scores, target)), key=lambda row: row.backbone)
    points = {row.backbone: (scores[row.backbone], sign * row.cells[target.label].value) for row in rows}
    across, up = [x for x, _ in points.values()], [y for _, y in points.values()]
    found = associate(across, up)
    labels = {column.label, target.label}
    return ScoreCorrelation(
        score=column.label if column.protocol == name else f"{name} of {column.label}",
        task=target.label,
        points=points,
        spearman=None if found is None else found.spearman,
        weighted_tau=weighted_tau(across, up),
        marked=tuple(one for one in marked_scores(Ranking((column, target), tuple(rows))) if one.column in labels),
    )


def _both(row: RankingRow, scores: Mapping[str, float], target: RankingColumn) -> bool:
    return row.backbone in scores and target.label in row.cells
