"""The ranks of a table with their uncertainty: what its runs left behind, handed to the bootstrap. Pure; needs numpy.

Rows whose runs kept per-sample outputs of the same samples vary together; of the others only the interval is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.critical_difference import CriticalDifference
from ssl_console.predictions import Arrays, Predictions
from ssl_console.ranking import Cell, Column, Ranking, judged
from ssl_console.statistics import spread
from ssl_console.statistics.evidence import GIVEN, ONE_LABEL, SEVERAL_LABELS
from ssl_console.statistics.friedman import POOL_NOTE, Friedman, friedman
from ssl_console.statistics.ranks import Missing, RankBootstrap, Ranks
from ssl_console.statistics.spread import Spread
from ssl_console.statistics.weighted import per_sample, statistic
from tasks.parameters import PROTOCOLS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankTable:
    """Ranks by the bootstrap, and the classical test beside them."""

    ranks: Ranks
    classical: Friedman | None
    """Of the backbones in `ranks`; None with fewer than two of them or of the tasks on which all were measured."""
    by_intervals: tuple[str, ...]
    """Columns of which some rows have no per-sample outputs that fit the others."""
    picture: CriticalDifference | None = None
    """The classical test as a picture."""


def rank_table(
    ranking: Ranking,
    predictions: Predictions,
    *,
    missing: Missing = "complete rows",
    replicates: int = 1000,
    seed: int = 0,
) -> RankTable:
    """Ranks of the rows of a table over its columns. Raises ValueError when nothing is left to rank."""
    growing = GrowingRanks.of(ranking, predictions, missing, seed)
    return growing.grown(replicates)


@dataclass
class GrowingRanks:
    """Ranks that become certain while one watches."""

    bootstrap: RankBootstrap
    by_intervals: tuple[str, ...]

    @classmethod
    def of(
        cls, ranking: Ranking, predictions: Predictions, missing: Missing = "complete rows", seed: int = 0
    ) -> GrowingRanks:
        """Read what is needed of the predictions. Raises ValueError when nothing is left to rank."""
        columns = judged(ranking.columns)
        found = {column.label: column_spread(column, ranking, predictions) for column in columns}
        names = [row.backbone for row in ranking.rows]
        families = [family(column.task) for column in columns]
        bootstrap = RankBootstrap.of(names, [one for one, _ in found.values()], families, missing, seed)
        return cls(bootstrap, tuple(label for label, (_, whole) in found.items() if not whole))

    def grown(self, replicates: int) -> RankTable:
        """What is known after so many more replicates."""
        self.bootstrap.add(replicates)
        classical = _classical(self.bootstrap)
        picture = _picture(self.bootstrap.backbones, classical)
        return RankTable(self.bootstrap.ranks(), classical, self.by_intervals, picture)


def as_document(table: RankTable) -> dict[str, object]:
    """As JSON."""
    ranks, classical = table.ranks, table.classical
    return {
        "rows": [asdict(row) for row in ranks.rows],
        "tasks": ranks.tasks,
        "missing": ranks.missing,
        "left_out": list(ranks.left_out),
        "replicates": ranks.replicates,
        "by_intervals": list(table.by_intervals),
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


def family(task: str) -> str:
    """Tasks of one family stand for one another: `few-shot` for `few-shot-5/aircraft`."""
    protocol = task.partition("/")[0]
    return PROTOCOLS[protocol].family if protocol in PROTOCOLS else protocol


def column_spread(column: Column, ranking: Ranking, predictions: Predictions) -> tuple[Spread, bool]:
    """How a column's scores vary, higher being better; and whether all of its rows vary together."""
    cells = [row.cells.get(column.label) for row in ranking.rows]
    sign = 1.0 if column.higher_is_better else -1.0
    values = np.array([np.nan if cell is None else sign * cell.value for cell in cells])
    arrays = _of_the_same_samples(column.metric, cells, predictions)
    together = _together(column.metric, values[list(arrays)], list(arrays.values())) if arrays else None
    alone = [0.0 if cell is None or place in arrays else cell.half_width or 0.0 for place, cell in enumerate(cells)]
    apart = spread.of_intervals(values, np.array(alone)).factor
    if together is None:
        return Spread(values, apart), False
    factor = np.zeros((len(values), together.factor.shape[1]))
    factor[list(arrays)] = together.factor
    measured = sum(cell is not None for cell in cells)
    return Spread(values, np.concatenate([factor, apart], axis=1) if any(alone) else factor), len(arrays) == measured


def _of_the_same_samples(metric: str, cells: list[Cell | None], predictions: Predictions) -> Mapping[int, Arrays]:
    """By place in the column, arrays that can vary together: of the samples that the first row with any has."""
    found: dict[int, Arrays] = {}
    for place, cell in enumerate(cells):
        arrays = None if cell is None or cell.source == "paper" else predictions(cell.run_id)
        if arrays is None or not _usable(metric, arrays):
            continue
        first = next(iter(found.values()), arrays)
        if all(np.array_equal(first[name], arrays[name]) for name in _shared(arrays) if name in first):
            found[place] = arrays
    return found


def _usable(metric: str, arrays: Arrays) -> bool:
    """Whether something per sample is there from which the metric follows."""
    if "classes" in arrays:
        return "accuracy" in arrays
    if metric in ONE_LABEL:
        return {"label", "predicted"} <= set(arrays)
    if metric == SEVERAL_LABELS:
        return {"label", "scores"} <= set(arrays)
    return any(one is not None for one in (per_sample(metric, arrays), statistic(metric, arrays)))


def _shared(arrays: Arrays) -> list[str]:
    return [name for name in (*GIVEN, "classes") if name in arrays]


def _together(metric: str, values: Floats, arrays: list[Arrays]) -> Spread:
    first = arrays[0]
    if "classes" in first:
        return spread.of_samples(values, np.stack([one["accuracy"].astype(np.float64) for one in arrays]))
    if metric not in {*ONE_LABEL, SEVERAL_LABELS}:
        return _of_images(metric, values, arrays)
    labels = first["label"].astype(np.int64)
    if metric == SEVERAL_LABELS:
        return spread.of_precisions(values, [one["scores"].astype(np.float64) for one in arrays], labels)
    right = np.stack([(one["predicted"] == one["label"]).astype(np.float64) for one in arrays])
    return (
        spread.of_classes(values, right, labels) if metric != "accuracy" else spread.of_samples(values, 100.0 * right)
    )


def _of_images(metric: str, values: Floats, arrays: list[Arrays]) -> Spread:
    means = [found for one in arrays if (found := per_sample(metric, one)) is not None]
    if len(means) == len(arrays):
        return spread.of_samples(values, np.stack(means))
    statistics = [one for one in (statistic(metric, each) for each in arrays) if one is not None]
    resamples = spread.AP_REPLICATES if metric == "ap50" else spread.REPLICATES
    return spread.of_statistics(values, statistics, len(arrays[0]["index"]), replicates=resamples)


def _classical(bootstrap: RankBootstrap) -> Friedman | None:
    """Of the tasks on which all that take part were measured."""
    whole = bootstrap.values[~np.isnan(bootstrap.values).any(axis=1)]
    return friedman(whole) if len(whole) > 1 and whole.shape[1] > 1 else None


def _picture(backbones: Sequence[str], found: Friedman | None) -> CriticalDifference | None:
    if found is None:
        return None
    mean_ranks = dict(zip(backbones, found.mean_ranks, strict=True))
    return CriticalDifference(mean_ranks, found.critical_difference, found.f_p_value)
