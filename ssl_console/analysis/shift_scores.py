"""Scores of one probe on several test sets: a column for each shift, and the drop. Pure; needs no numpy.

`robustness` trains once and stores its scores as metrics `METRIC@SHIFT`, with `drop@SHIFT`, the score on the unshifted
test images minus the one on the shift, and `drop`, the mean over the shifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssl_console.analysis.badged_results import legend
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

AT = "@"
DROP = "drop"


@dataclass(frozen=True)
class ShiftScores:
    """Scores of one run in percent: without a shift, by shift, and the mean drop."""

    result: Result
    metric: str
    unshifted: float
    by_shift: Mapping[str, float]
    drop: float | None

    def cells(self, shifts: Sequence[str]) -> tuple[str, ...]:
        """Cells of a table's row: unshifted, each of `shifts` (a dash if not measured), drop."""
        scores = (self.unshifted, *(self.by_shift.get(shift) for shift in shifts), self.drop)
        doubts = marks(self.result.badges)
        return tuple("—" if score is None else f"{score:.1f}{doubts}" for score in scores)


def shift_scores(results: Iterable[Result], metrics: Mapping[str, Mapping[str, float]]) -> list[ShiftScores]:
    """Scores of the results that have scores by shift, in their order; `metrics` are all metrics by run."""
    return [one for result in results if (one := _of(result, metrics.get(result.run_id, {}))) is not None]


def shifts_of(scores: Iterable[ShiftScores]) -> list[str]:
    """All shifts in the order of first appearance."""
    return list(dict.fromkeys(shift for one in scores for shift in one.by_shift))


def shift_document(scores: Sequence[ShiftScores]) -> dict[str, object]:
    """Scores by shift for `--json`."""
    return {
        "results": [
            {
                "task": one.result.task,
                "variant": one.result.variant,
                "backbone": one.result.backbone,
                "seed": one.result.seed,
                "metric": one.metric,
                "unshifted": one.unshifted,
                "shifts": dict(one.by_shift),
                "drop": one.drop,
                "run_id": one.result.run_id,
                "doubts": list(one.result.badges),
            }
            for one in scores
        ],
        "marks": legend(one.result.badges for one in scores),
    }


def _of(result: Result, metrics: Mapping[str, float]) -> ShiftScores | None:
    named = [name for name in metrics if AT in name and not name.startswith(f"{DROP}{AT}")]
    metric = named[0].split(AT)[0] if named else ""
    if metric not in metrics:
        return None
    by_shift = {name.removeprefix(f"{metric}{AT}"): metrics[name] for name in named if name.startswith(f"{metric}{AT}")}
    return ShiftScores(result, metric, metrics[metric], by_shift, metrics.get(DROP))
