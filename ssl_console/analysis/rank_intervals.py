"""Scores of a column without a significant difference from its best, and rank intervals. Pure; needs numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.badged_results import MarkedScore, legend, marked_document, marked_scores
from ssl_console.analysis.export import Ties
from ssl_console.analysis.ranking import Ranking, RankingColumn, judged
from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.analysis.statistics import weighted_metrics
from ssl_console.analysis.statistics.across_tasks import POOL_NOTE, Friedman, cliques, friedman
from ssl_console.analysis.statistics.paired_from_predictions import (
    GIVEN,
    ONE_LABEL,
    SEVERAL_LABELS,
    has_draws,
    has_groups,
    spread_of_draws,
    spread_of_groups,
)
from ssl_console.analysis.statistics.rank_bootstrap import Missing, RankBootstrap, Ranks
from ssl_console.analysis.statistics.weighted_metrics import Spread, per_sample, statistic
from ssl_console.workspace.predictions import Arrays, Predictions
from tasks.catalog.protocols import PROTOCOLS
from tasks.metrics.outcome import NORMAL_95
from tasks.metrics.pool_splits import COUNTS, SPLITS

MARK, RULE, BAR = "●", "·", "┃"


@dataclass(frozen=True)
class CriticalDifference:
    """Data of the critical-difference diagram."""

    mean_ranks: Mapping[str, float]
    """By backbone; 1 is best."""
    difference: float
    """Minimum significant difference of mean ranks (Nemenyi, 5 %)."""
    p_value: float
    """p-value of Friedman's test with Iman and Davenport's correction: whether there is any difference at all."""

    @property
    def order(self) -> list[str]:
        """Best first."""
        return sorted(self.mean_ranks, key=lambda name: (self.mean_ranks[name], name))

    @property
    def bars(self) -> list[tuple[str, ...]]:
        """Groups without significant differences, best first."""
        return cliques(self.mean_ranks, self.difference)


def as_text(picture: CriticalDifference, columns: int = 40) -> list[list[str]]:
    """One line per backbone, best first: its name, a scale of `columns` characters from rank 1 to the last, the rank,
    the bars.
    """
    last = max(len(picture.mean_ranks), 2)
    lines = []
    for name in picture.order:
        rank = picture.mean_ranks[name]
        place = round((rank - 1) / (last - 1) * (columns - 1))
        scale = RULE * place + MARK + RULE * (columns - 1 - place)
        bars = " ".join(BAR if name in bar else " " for bar in picture.bars).rstrip()
        lines.append([name, scale, f"{rank:.2f}", bars])
    return lines


Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankTable:
    """Ranks by the bootstrap, with the classical test."""

    ranks: Ranks
    classical: Friedman | None
    """Test of the backbones in `ranks`; None for fewer than two backbones or tasks on which all were measured."""
    by_intervals: tuple[str, ...]
    """Columns in which some rows have no matching per-sample outputs."""
    picture: CriticalDifference | None = None
    """The classical test as a diagram."""
    marked: tuple[MarkedScore, ...] = ()
    """Contributing scores that have marks."""


def rank_table(
    ranking: Ranking,
    predictions: Predictions,
    *,
    missing: Missing = "complete rows",
    replicates: int = 1000,
    seed: int = 0,
) -> RankTable:
    """Ranks of the rows of a table over its columns. Raises ValueError if nothing remains to be ranked."""
    growing = GrowingRanks.of(ranking, predictions, missing, seed)
    return growing.grown(replicates)


@dataclass
class GrowingRanks:
    """Ranks that are refined by further replicates while they are displayed."""

    bootstrap: RankBootstrap
    by_intervals: tuple[str, ...]
    marked: tuple[MarkedScore, ...] = ()

    @classmethod
    def of(
        cls, ranking: Ranking, predictions: Predictions, missing: Missing = "complete rows", seed: int = 0
    ) -> GrowingRanks:
        """Load the required predictions. Raises ValueError if nothing remains to be ranked."""
        columns = judged(ranking.columns)
        found = {column.label: column_spread(column, ranking, predictions) for column in columns}
        names = [row.backbone for row in ranking.rows]
        families = [family(column.protocol) for column in columns]
        bootstrap = RankBootstrap.of(names, [one for one, _ in found.values()], families, missing, seed)
        by_intervals = tuple(label for label, (_, whole) in found.items() if not whole)
        return cls(bootstrap, by_intervals, tuple(one for one in marked_scores(ranking) if one.column in found))

    def grown(self, replicates: int) -> RankTable:
        """Ranks after further replicates."""
        self.bootstrap.add(replicates)
        whole = self.bootstrap.values[~np.isnan(self.bootstrap.values).any(axis=1)]  # tasks with all scores
        classical = friedman(whole) if len(whole) > 1 and whole.shape[1] > 1 else None
        picture = _picture(self.bootstrap.backbones, classical)
        return RankTable(self.bootstrap.ranks(), classical, self.by_intervals, picture, self.marked)


def ranks_document(table: RankTable) -> dict[str, object]:
    """Ranks for `--json`."""
    ranks, classical = table.ranks, table.classical
    return {
        "rows": [asdict(row) for row in ranks.rows],
        "tasks": ranks.tasks,
        "missing": ranks.missing,
        "left_out": list(ranks.left_out),
        "replicates": ranks.replicates,
        "by_intervals": list(table.by_intervals),
        "doubts": marked_document(table.marked),
        "marks": legend(one.badges for one in table.marked),
        "friedman": None
        if classical is None
        else {
            "p": classical.f_p_value,
            "chi_squared_p": classical.p_value,
            "critical_difference": classical.critical_difference,
            "mean_ranks": dict(table.picture.mean_ranks) if table.picture else {},
            "not_told_apart": [list(bar) for bar in table.picture.bars] if table.picture else [],
            "note": POOL_NOTE,
        },
    }


def family(protocol: str) -> str:
    """Family of a task, within which tasks are exchangeable: `few-shot` for the protocol `few-shot-5`."""
    return PROTOCOLS[protocol].family if protocol in PROTOCOLS else protocol


def column_spread(column: RankingColumn, ranking: Ranking, predictions: Predictions) -> tuple[Spread, bool]:
    """Variation of a column's scores, where higher is better, and whether all of its rows vary jointly."""
    cells = [row.cells.get(column.label) for row in ranking.rows]
    sign = 1.0 if column.higher_is_better else -1.0
    values = np.array([np.nan if cell is None else sign * cell.value for cell in cells])
    arrays = _of_the_same_samples(column.metric, cells, predictions)
    together = _together(column.metric, values[list(arrays)], list(arrays.values())) if arrays else None
    alone = [0.0 if cell is None or place in arrays else cell.half_width or 0.0 for place, cell in enumerate(cells)]
    apart = weighted_metrics.of_intervals(values, np.array(alone)).factor
    if together is None:
        return Spread(values, apart), False
    factor = np.zeros((len(values), together.factor.shape[1]))
    factor[list(arrays)] = together.factor
    measured = sum(cell is not None for cell in cells)
    return Spread(values, np.concatenate([factor, apart], axis=1) if any(alone) else factor), len(arrays) == measured


def _of_the_same_samples(
    metric: str, cells: list[RankingCell | None], predictions: Predictions
) -> Mapping[int, Arrays]:
    """Jointly varying arrays by row of the column: those of the same samples as the first row that has any."""
    found: dict[int, Arrays] = {}
    for place, cell in enumerate(cells):
        arrays = None if cell is None or cell.source == "paper" else predictions(cell.run_id)
        if arrays is None or not _usable(metric, arrays):
            continue
        first = next(iter(found.values()), arrays)
        if _alike(first, arrays, metric):
            found[place] = arrays
    return found


def _alike(first: Arrays, arrays: Arrays, metric: str) -> bool:
    """Whether both have the same samples, draws and groups."""
    shared = [name for name in (*GIVEN, "classes", COUNTS) if name in arrays and name in first]
    if any(not np.array_equal(first[name], arrays[name]) for name in shared):
        return False
    if has_groups(metric, first) or has_draws(first):
        name = f"jackknife:{metric}" if has_groups(metric, first) else "predicted"
        return name in arrays and arrays[name].shape == first[name].shape
    return not has_draws(arrays) or "predicted" not in first


def _usable(metric: str, arrays: Arrays) -> bool:
    """Whether the arrays contain per-sample values from which the metric follows."""
    if "classes" in arrays:
        return {"accuracy", SPLITS} <= set(arrays)
    if has_groups(metric, arrays):
        return True
    if metric in ONE_LABEL:
        return {"label", "predicted"} <= set(arrays) and (metric == "accuracy" or not has_draws(arrays))
    if metric == SEVERAL_LABELS:
        return {"label", "scores"} <= set(arrays)
    return any(one is not None for one in (per_sample(metric, arrays), statistic(metric, arrays)))


def _together(metric: str, values: Floats, arrays: list[Arrays]) -> Spread:
    first = arrays[0]
    if "classes" in first:
        stacked = (np.stack([one[name].astype(np.float64) for one in arrays]) for name in ("accuracy", SPLITS))
        return weighted_metrics.of_pools(values, *stacked)
    if has_groups(metric, first):
        return spread_of_groups(values, metric, arrays)
    if metric not in {*ONE_LABEL, SEVERAL_LABELS}:
        return _of_images(metric, values, arrays)
    if has_draws(first):
        return spread_of_draws(values, arrays)
    labels = first["label"].astype(np.int64)
    if metric == SEVERAL_LABELS:
        return weighted_metrics.of_precisions(values, [one["scores"].astype(np.float64) for one in arrays], labels)
    right = np.stack([(one["predicted"] == one["label"]).astype(np.float64) for one in arrays])
    return (
        weighted_metrics.of_classes(values, right, labels)
        if metric != "accuracy"
        else weighted_metrics.of_samples(values, 100.0 * right)
    )


def _of_images(metric: str, values: Floats, arrays: list[Arrays]) -> Spread:
    means = [found for one in arrays if (found := per_sample(metric, one)) is not None]
    if len(means) == len(arrays):
        return weighted_metrics.of_samples(values, np.stack(means))
    statistics = [one for one in (statistic(metric, each) for each in arrays) if one is not None]
    resamples = weighted_metrics.AP_REPLICATES if metric == "ap50" else weighted_metrics.REPLICATES
    return weighted_metrics.of_statistics(values, statistics, len(arrays[0]["index"]), replicates=resamples)


def _picture(backbones: Sequence[str], found: Friedman | None) -> CriticalDifference | None:
    if found is None:
        return None
    mean_ranks = dict(zip(backbones, found.mean_ranks, strict=True))
    return CriticalDifference(mean_ranks, found.critical_difference, found.f_p_value)


def ties_with_best(ranking: Ranking, predictions: Predictions) -> Ties:
    """(backbone, column label) of every score that is tied with the best of its column, and of that best.

    Two scores are tied if the 95 % interval of their difference contains 0: paired over the same samples if both runs
    have predictions, else by their own intervals. Pairs are tested without correction for multiple comparisons.
    """
    found: set[tuple[str, str]] = set()
    for column in judged(ranking.columns):
        spread, _ = column_spread(column, ranking, predictions)
        values = np.asarray(spread.values, dtype=np.float64)
        if np.isnan(values).all():
            continue
        best = int(np.nanargmax(values))
        error = np.sqrt(np.sum((spread.factor - spread.factor[best]) ** 2, axis=1))
        tied = np.flatnonzero(values[best] - values <= NORMAL_95 * error)
        if len(tied) > 1:
            found |= {(ranking.rows[place].backbone, column.label) for place in tied.tolist()}
    return frozenset(found)
