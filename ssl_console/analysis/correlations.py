"""Correlation of transfer with ImageNet accuracy, the paper's analysis, on any results; and rank correlations of
training-free scores with results.

For ImageNet accuracy, both sides are log-odds: of ImageNet top-1, and of the scores, averaged over the tasks of a
setting if it has several. Angles are raw and negated, squared errors raw. Source: paper, figures 1, 2, 5, 6 and
appendix A.7.

A training-free score is a metric of descriptive results (LogME of `transferability`, RankMe of `label-free`), or the
results of another task on the same dataset (`knn`). Needs no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ssl_console.analysis.badged_results import MarkedScore, marked_scores
from ssl_console.analysis.published.agreement import PUBLISHED, unmarked
from ssl_console.analysis.published.tables import published
from ssl_console.analysis.ranking import Ranking, RankingColumn, RankingRow, rank
from ssl_console.analysis.ranking_cell import RankingCell, log_odds
from ssl_console.analysis.statistics.correlation import FEWEST, Association, Coefficient, associate
from ssl_console.workspace.result import Result, Source
from tasks.catalog.protocols import PROTOCOLS

IMAGENET = "imagenet/top-1"
IMAGENET_IMAGES = 50_000
FAMILIES = tuple(dict.fromkeys(("linear", "finetune", *(protocol.family for protocol in PROTOCOLS.values()))))
"""Order of the settings that average over tasks: many-shot recognition first, as in the paper."""
CROSS_DOMAIN = frozenset({"cropdiseases", "eurosat", "isic", "chestx"})
"""Datasets of few-shot transfer to other domains (CD-FSL), a setting of their own."""
ANGLES = frozenset({"mean-angle", "median-angle"})
MetricsOf = Callable[[str], Mapping[str, float]]
"""All metrics of a run."""


@dataclass(frozen=True)
class Setting:
    """One setting, or one task and metric: log-odds against ImageNet's."""

    name: str
    tasks: tuple[str, ...]
    source: Source
    association: Association | None
    """None for fewer than four backbones, or without variation."""
    points: Mapping[str, tuple[float, float]]
    """(ImageNet, transfer) on their scales, by backbone."""
    incomplete: tuple[str, ...]
    """Backbones excluded because they lack a task of the setting."""
    marked: tuple[MarkedScore, ...] = ()
    """Contributing scores that have marks."""


@dataclass(frozen=True)
class Transfer:
    """The analysis, by setting and by single task."""

    settings: tuple[Setting, ...]
    tasks: tuple[Setting, ...]


def transfer(results: Iterable[Result], imagenet: Mapping[str, float], source: Source = "mine") -> Transfer:
    """Correlate the results of one source. `imagenet` has the top-1 accuracy of backbones in percent.

    Backbones without it, and tasks named `imagenet/`, are excluded. Resamples do not depend on the order of the rows.
    """
    return analysed(rank(one for one in results if one.source == source and one.task != IMAGENET), imagenet, source)


def settings_of_view(ranking: Ranking, imagenet: Mapping[str, float]) -> list[Setting]:
    """The settings of a shown table that have points, with own and published rows separate."""
    own = [row for row in ranking.rows if not row.backbone.endswith(PUBLISHED)]
    marked = [row for row in ranking.rows if row.backbone.endswith(PUBLISHED)]
    paper = [replace(row, backbone=unmarked(row.backbone)) for row in marked]
    found = [
        *analysed(replace(ranking, rows=tuple(own)), imagenet, "mine").settings,
        *analysed(replace(ranking, rows=tuple(paper)), published_imagenet(), "paper").settings,
    ]
    return [setting for setting in found if setting.points]


def analysed(ranking: Ranking, imagenet: Mapping[str, float], source: Source) -> Transfer:
    """The analysis of a table whose rows are all of one source."""
    known = sorted((row for row in ranking.rows if row.backbone in imagenet), key=lambda row: row.backbone)
    groups: dict[str, list[RankingColumn]] = {}
    for column in ranking.columns:
        groups.setdefault(_setting_name(column, ranking), []).append(column)
    return Transfer(
        settings=tuple(
            _setting(name, groups[name], known, imagenet, source)
            for name in sorted(groups, key=lambda name: (_order(groups[name][0]), name))
        ),
        tasks=tuple(_setting(column.label, [column], known, imagenet, source) for column in ranking.columns),
    )


def published_transfer() -> Transfer:
    """The analysis of the published numbers."""
    return transfer(published(), published_imagenet(), "paper")


def published_imagenet() -> Mapping[str, float]:
    """Quoted ImageNet top-1 accuracies in percent, by backbone."""
    return {result.backbone: result.value for result in published() if result.task == IMAGENET}


def correlated_value(metric: str, cell: RankingCell) -> float:
    """A score on the scale of the correlation."""
    if metric in ANGLES:
        return -cell.value
    if metric.startswith("mse"):
        return cell.value
    percent = 100 * cell.value if metric.startswith("lpips-") else cell.value
    return log_odds(percent, IMAGENET_IMAGES if 0 < percent < 100 else cell.n)


def _setting_name(column: RankingColumn, ranking: Ranking) -> str:
    protocol, dataset = column.protocol, column.dataset
    if not _is_averaged(column):
        return column.label
    name = f"{protocol}, other domains" if dataset in CROSS_DOMAIN else protocol
    variants = {other.variant for other in ranking.columns if other.protocol == protocol}
    return f"{name} [{column.variant}]" if len(variants) > 1 else name


def _is_averaged(column: RankingColumn) -> bool:
    return column.protocol in PROTOCOLS and PROTOCOLS[column.protocol].averaged


def _order(column: RankingColumn) -> int:
    """Position of the column's setting: those that average over tasks first."""
    return FAMILIES.index(PROTOCOLS[column.protocol].family) if _is_averaged(column) else len(FAMILIES)


def _setting(
    name: str,
    columns: Sequence[RankingColumn],
    rows: Sequence[RankingRow],
    imagenet: Mapping[str, float],
    source: Source,
) -> Setting:
    labels = {column.label for column in columns}
    some = [row for row in rows if any(label in row.cells for label in labels)]
    whole = [row for row in some if all(label in row.cells for label in labels)]
    points = {}
    for row in whole:
        height = fmean(correlated_value(column.metric, row.cells[column.label]) for column in columns)
        points[row.backbone] = (log_odds(imagenet[row.backbone], IMAGENET_IMAGES), height)
    return Setting(
        name=name,
        tasks=tuple(dict.fromkeys(column.task for column in columns)),
        source=source,
        association=associate([x for x, _ in points.values()], [y for _, y in points.values()]),
        points=points,
        incomplete=tuple(row.backbone for row in some if row.backbone not in points),
        marked=tuple(one for one in marked_scores(Ranking(tuple(columns), tuple(whole))) if one.column in labels),
    )


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
    measured = [row for row in ranking.rows if row.backbone in scores and target.label in row.cells]
    rows = sorted(measured, key=lambda row: row.backbone)
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
