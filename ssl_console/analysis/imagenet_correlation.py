"""Correlation of transfer with ImageNet accuracy: the paper's analysis, on any results.

Both sides are log-odds: of ImageNet top-1, and of the scores, averaged over the tasks of a setting if it has several.
Angles are raw and negated, squared errors raw. Source: paper, figures 1, 2, 5, 6 and appendix A.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ssl_console.analysis.badged_results import MarkedScore, marked_scores
from ssl_console.analysis.published.agreement import PUBLISHED, unmarked
from ssl_console.analysis.published.tables import published
from ssl_console.analysis.ranking import Ranking, RankingColumn, RankingRow, rank
from ssl_console.analysis.ranking_cell import RankingCell, log_odds
from ssl_console.analysis.statistics.correlation import Association, associate
from ssl_console.workspace.result import Result, Source
from tasks.catalog.protocols import PROTOCOLS

IMAGENET = "imagenet/top-1"
IMAGENET_IMAGES = 50_000
FAMILIES = tuple(dict.fromkeys(("linear", "finetune", *(protocol.family for protocol in PROTOCOLS.values()))))
"""Order of the settings that average over tasks: many-shot recognition first, as in the paper."""
CROSS_DOMAIN = frozenset({"cropdiseases", "eurosat", "isic", "chestx"})
"""Datasets of few-shot transfer to other domains (CD-FSL), a setting of their own."""
ANGLES = frozenset({"mean-angle", "median-angle"})


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
    whole = [row for row in rows if all(column.label in row.cells for column in columns)]
    some = [row for row in rows if any(column.label in row.cells for column in columns)]
    points = {row.backbone: (log_odds(imagenet[row.backbone], IMAGENET_IMAGES), _height(row, columns)) for row in whole}
    return Setting(
        name=name,
        tasks=tuple(dict.fromkeys(column.task for column in columns)),
        source=source,
        association=associate([x for x, _ in points.values()], [y for _, y in points.values()]),
        points=points,
        incomplete=tuple(row.backbone for row in some if row.backbone not in points),
        marked=tuple(one for one in marked_scores(Ranking(tuple(columns), tuple(whole))) if one.column in labels),
    )


def _height(row: RankingRow, columns: Sequence[RankingColumn]) -> float:
    return fmean(correlated_value(column.metric, row.cells[column.label]) for column in columns)
