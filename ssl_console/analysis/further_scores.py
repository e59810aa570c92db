"""Scores of results besides those that are ranked: optimism, and scores under shifts. Pure; no numpy.

Optimism is how much higher a score would have been if settings had been chosen on the test images. Protocols store both
scores as the diagnostic `chosen_on_test`, and trainings on images, of which the step and the setting may be chosen,
also as `setting_chosen_on_test`. Nearest neighbours and layer curves of earlier versions hold their candidates in other
fields, which are read here.

`robustness` trains once and stores its scores as metrics `METRIC@SHIFT`, with `drop@SHIFT`, the score on the unshifted
test images minus the one on the shift, and `drop`, the mean over the shifts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import median
from typing import Literal

from pydantic import JsonValue

from ssl_console.analysis.badged_results import legend
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result, ResultRecord

NOTHING_CHOSEN = "the protocol selects nothing"
NOT_RECORDED = "not recorded: measured by an earlier version, or scoring the candidates on test images costs too much"
NO_STEPS = (
    "the steps of its training were not scored on test images: it was measured by an earlier version, or scoring them "
    "would have added more than 5 % to the cost of the training"
)
NO_RECORD = "the run folder has been removed"
ABOUT = (
    "optimism: how much higher the score would be, in points, if the setting (C, learning rate, k, block, step) had "
    "been chosen on the test images; in this workspace, settings are chosen on validation images or fixed beforehand"
)
SHIFT_MARK = "@"
DROP = "drop"


SELECTION = frozenset(
    {"validation_score", "settings", "heads", "validation_curve", "validation_miou", "on_edge", "validation"}
)
"""Diagnostics of protocols that select something."""


@dataclass(frozen=True)
class Optimism:
    """One result: its score, and the best test score among the candidates."""

    run_id: str
    backbone: str
    task: str
    variant: str
    seed: int
    protocol: str
    column: str
    value: float
    selected: float
    """Test score of the candidate chosen without test images; the score itself unless the chosen one was refitted."""
    on_test: float
    """The best test score among the candidates."""
    choice: str
    """The candidate with that score."""
    candidates: int | None
    """Their number; None where the result does not state it."""
    higher_is_better: bool = True
    badges: tuple[str, ...] = ()
    """Reasons to doubt the score."""
    subject: Literal["setting", "step"] = "setting"
    """What is chosen: a hyperparameter, or the step of a training at which it is scored."""

    @property
    def group(self) -> str:
        """Protocol, and what is chosen if it is not a setting."""
        return self.protocol if self.subject == "setting" else f"{self.protocol}, {self.subject}"

    @property
    def inflation(self) -> float:
        """Advantage of the choice on test images over the choice without them, in points."""
        difference = self.on_test - self.selected
        return difference if self.higher_is_better else -difference


@dataclass(frozen=True)
class WithoutOptimism:
    """A result for which the choice on test images is unknown, and the reason."""

    run_id: str
    backbone: str
    task: str
    protocol: str
    reason: str


@dataclass(frozen=True)
class ProtocolOptimism:
    """The results of one protocol together."""

    protocol: str
    """Its name, followed by `, step` where the step of a training is chosen."""
    results: int
    without: int
    """Results without known optimism."""
    median: float
    largest: float
    """Largest inflation, in points."""
    columns: int
    """Number of columns with two or more backbones."""
    other_leader: int
    """Number of columns in which the choice on test images puts another backbone first."""
    pairs: int
    swapped: int
    """Number of pairs of backbones in a column, and of those in the other order."""


def optimism_of(record: ResultRecord) -> list[Optimism]:
    """The optimism that a result documents, for each choice of its protocol; empty where it cannot be derived."""
    row = record.result
    place = (row.run_id, row.backbone, row.task, row.variant, row.seed, row.protocol_name, row.column)
    first = _stated(record, "chosen_on_test") or _of_neighbours(record) or _of_layers(record)
    readings = []
    for found in (first, _stated(record, "setting_chosen_on_test")):
        if found is not None:
            subject: Literal["setting", "step"] = "step" if found[2].startswith("step ") else "setting"
            readings.append(Optimism(*place, row.value, *found, row.higher_is_better, row.badges, subject))
    return readings


Found = tuple[float, float, str, int | None]
"""Selected, on test, choice, candidates."""


def _stated(record: ResultRecord, name: str) -> Found | None:
    stated = record.diagnostics.get(name)
    if not isinstance(stated, Mapping) or (score := _number(stated.get("score"))) is None:
        return None
    selected, candidates = _number(stated.get("selected")), stated.get("candidates")
    choice = stated.get("choice", stated.get("head"))
    count = candidates if isinstance(candidates, int) else None
    return (record.result.value if selected is None else selected, score, str(choice or ""), count)


def _of_neighbours(record: ResultRecord) -> Found | None:
    """The best k of results of earlier versions, at the one measured temperature."""
    row = record.result
    start = f"{row.metric}@"
    scores = {name.removeprefix(start): one for name, one in record.metrics.items() if name.startswith(start)}
    if row.protocol_name != "knn" or not scores:
        return None
    best = max(scores, key=scores.__getitem__)
    return row.value, scores[best], f"k = {best}", len(scores)


def _of_layers(record: ResultRecord) -> Found | None:
    curve = record.diagnostics.get("curve")
    if record.result.protocol_name != "layers" or not isinstance(curve, list):
        return None
    points = [
        (score, one) for one in curve if isinstance(one, dict) and (score := _number(one.get("score"))) is not None
    ]
    if not points:
        return None
    score, best = max(points, key=lambda point: point[0])
    return record.result.value, score, f"block {best.get('block')}, {best.get('pooling')}", len(points)


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def audit(
    results: Iterable[Result], records: Mapping[str, ResultRecord | None]
) -> tuple[list[Optimism], list[WithoutOptimism]]:
    """Results with their optimism, and those without it. `records` are the results' records by run."""
    known: list[Optimism] = []
    unknown: list[WithoutOptimism] = []
    for row in results:
        record = records.get(row.run_id)
        found = [] if record is None else optimism_of(record)
        known += found
        if not found:
            unknown.append(WithoutOptimism(row.run_id, row.backbone, row.task, row.protocol_name, _reason(record)))
    order = sorted(known, key=lambda one: (one.group, one.task, -one.inflation, one.backbone))
    return order, unknown


def _reason(record: ResultRecord | None) -> str:
    if record is None:
        return NO_RECORD
    if SELECTION & record.diagnostics.keys():
        return NOT_RECORDED
    return NO_STEPS if "loss_curve" in record.diagnostics else NOTHING_CHOSEN


def by_protocol(known: Sequence[Optimism], unknown: Sequence[WithoutOptimism]) -> list[ProtocolOptimism]:
    """Summary of each protocol with a known optimism, the largest median first."""
    groups: dict[str, list[Optimism]] = defaultdict(list)
    for one in known:
        groups[one.group].append(one)
    lacking = Counter(one.protocol for one in unknown)
    found = [_summary(name, ones, lacking[ones[0].protocol]) for name, ones in groups.items()]
    return sorted(found, key=lambda one: (-one.median, one.protocol))


def _summary(protocol: str, ones: Sequence[Optimism], without: int) -> ProtocolOptimism:
    columns: dict[tuple[str, int], list[Optimism]] = defaultdict(list)
    for one in ones:
        columns[one.column, one.seed].append(one)
    several = [column for column in columns.values() if len(column) > 1]
    pairs = [pair for column in several for pair in combinations(column, 2)]
    inflations = [one.inflation for one in ones]
    return ProtocolOptimism(
        protocol=protocol,
        results=len(ones),
        without=without,
        median=median(inflations),
        largest=max(inflations),
        columns=len(several),
        other_leader=sum(_leaders_differ(column) for column in several),
        pairs=len(pairs),
        swapped=sum(_swapped(*pair) for pair in pairs),
    )


def _leaders_differ(column: Sequence[Optimism]) -> bool:
    """Whether no backbone leads by both choices."""
    leaders = [
        {one.run_id for one, value in zip(column, values, strict=True) if value == max(values)}
        for values in ([_signed(one, one.selected) for one in column], [_signed(one, one.on_test) for one in column])
    ]
    return not leaders[0] & leaders[1]


def _swapped(one: Optimism, two: Optimism) -> bool:
    return (_signed(one, one.selected) - _signed(two, two.selected)) * (
        _signed(one, one.on_test) - _signed(two, two.on_test)
    ) < 0


def _signed(one: Optimism, score: float) -> float:
    return score if one.higher_is_better else -score


def optimism_document(known: Sequence[Optimism], unknown: Sequence[WithoutOptimism]) -> dict[str, object]:
    """The audit as JSON."""
    return {
        "about": ABOUT,
        "protocols": [asdict(one) for one in by_protocol(known, unknown)],
        "results": [{**asdict(one), "inflation": one.inflation} for one in known],
        "without": [asdict(one) for one in unknown],
        "marks": legend(one.badges for one in known),
    }


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
    return [one for result in results if (one := _shift_of(result, metrics.get(result.run_id, {}))) is not None]


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


def _shift_of(result: Result, metrics: Mapping[str, float]) -> ShiftScores | None:
    named = [name for name in metrics if SHIFT_MARK in name and not name.startswith(f"{DROP}{SHIFT_MARK}")]
    metric = named[0].split(SHIFT_MARK)[0] if named else ""
    if metric not in metrics:
        return None
    by_shift = {
        name.removeprefix(f"{metric}{SHIFT_MARK}"): metrics[name]
        for name in named
        if name.startswith(f"{metric}{SHIFT_MARK}")
    }
    return ShiftScores(result, metric, metrics[metric], by_shift, metrics.get(DROP))
