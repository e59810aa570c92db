"""Paired comparison of two backbones: task by task on the same samples, and over all tasks. Pure; needs numpy.

Only results of one comparability key are compared. A difference is significant if its p-value is below 5 % after Holm's
correction over all tasks.

Two scores are practically equal by two one-sided tests at 5 %: the 90 % interval of the difference is within the
margin. Source: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987). Margins are declared by
protocols (`ProtocolSpec.margins`).

Finetuning, detection, segmentation and normals train a network whose score depends on the seed. With one seed each, the
comparison is of two runs. With several seeds, the variance over seeds is added to that over test images.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev, variance
from typing import Literal

from ssl_console.analysis.ranking_cell import RankingCell, average_seeds
from ssl_console.analysis.statistics.across_tasks import SignedRank, adjusted, signed_rank
from ssl_console.analysis.statistics.distributions import format_p
from ssl_console.analysis.statistics.paired_from_predictions import Unpaired, paired_test, unpaired_test
from ssl_console.analysis.statistics.paired_tests import DETECTABLE, PairedTest, student
from ssl_console.workspace.predictions import Arrays, Predictions
from ssl_console.workspace.result import COMPARED, Identities, Result, what_changed
from tasks.catalog.protocol import POINT, Margin
from tasks.catalog.protocols import is_descriptive, is_trained, margin_of
from tasks.metrics.outcome import NORMAL_95

LEVEL = 0.05

Verdict = Literal["better", "worse", "alike", "described"]
"""Verdict on A; `described` for analyses, where higher is not better."""
BySeed = dict[int, Result]
INNER = 1.644853626951472 / NORMAL_95
"""Width of a 90 % interval relative to a 95 % one; smaller for Student's t with few degrees of freedom."""


@dataclass(frozen=True)
class TaskComparison:
    """A against B on one task."""

    task: str
    variant: str
    column: str
    """The comparability key."""
    metric: str
    higher_is_better: bool
    first: RankingCell
    second: RankingCell
    """Mean of the second score over the common seeds, if there are any."""
    test: PairedTest
    """Test of the first score minus the second."""
    adjusted_p: float
    """p-value adjusted for all tasks of the comparison (Holm)."""
    note: str = ""
    """Reason why the test is not paired, if it is not."""
    tolerance: Margin = POINT
    """Margin: the largest difference that is irrelevant."""
    protocol: str = ""
    one_training: bool = False
    """Whether a network was trained with one seed each, so that the verdict is on these runs rather than on the
    backbones.
    """

    @property
    def within(self) -> bool:
        """Whether the difference is within the margin with 95 % confidence."""
        return not self.describes and is_within(self.test, self.tolerance)

    @property
    def words(self) -> str:
        """The verdict in words, including whether a difference is relevant, and whether the data are insufficient."""
        if self.verdict == "described":
            return "descriptive, not ranked"
        if self.verdict == "alike":
            found = f"equal within {self.tolerance}" if self.within else "cannot tell"
        else:
            found = f"{self.verdict}, but within {self.tolerance}" if self.within else self.verdict
        return f"{found} (these runs)" if self.one_training else found

    @property
    def describes(self) -> bool:
        """Whether the task is descriptive and excluded from verdicts."""
        return is_descriptive(self.protocol)

    @property
    def verdict(self) -> Verdict:
        """Verdict on A."""
        if self.describes:
            return "described"
        if self.adjusted_p >= LEVEL or self.test.difference == 0:
            return "alike"
        return "better" if (self.test.difference > 0) == self.higher_is_better else "worse"

    @property
    def margin(self) -> float:
        """Lead of A; negative if it is behind."""
        return self.test.difference if self.higher_is_better else -self.test.difference


@dataclass(frozen=True)
class NotComparable:
    """A task on which both were measured, with protocols or data that are not comparable."""

    task: str
    reason: str


@dataclass(frozen=True)
class Across:
    """Test over all ranked tasks, excluding scores in degrees, whose differences are not percentage points."""

    tasks: int
    test: SignedRank
    mean_lead: float
    median_lead: float
    smallest: float | None
    """Smallest mean lead that data of this variance would detect with 80 % power; None for one task."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of two backbones."""

    first: str
    second: str
    tasks: tuple[TaskComparison, ...]
    not_comparable: tuple[NotComparable, ...]
    only_first: tuple[str, ...]
    """Tasks on which only the first was measured."""
    only_second: tuple[str, ...]
    across: Across | None
    """None without ranked tasks."""

    @property
    def judged(self) -> tuple[TaskComparison, ...]:
        """Tasks that are not descriptive."""
        return tuple(task for task in self.tasks if not task.describes)

    def count(self, verdict: Verdict) -> int:
        """Number of tasks with this verdict."""
        return sum(task.verdict == verdict for task in self.tasks)

    @property
    def sentence(self) -> str:
        """Summary in words."""
        if self.across is None:
            what = "no comparable result" if not self.tasks else "only descriptive tasks"
            return f"{self.first} and {self.second} cannot be compared: they share {what}."
        return f"{_per_task(self)} {_over_all(self, self.across)}"


def compare(
    first: str,
    second: str,
    results: Iterable[Result],
    predictions: Predictions,
    identities: Identities = lambda _run_id: None,
    wanted: Sequence[tuple[str, str]] | None = None,
    margins: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare two backbones on all common tasks, or on those of `wanted` (task, variant). `margins` are the largest
    irrelevant differences by metric, where they differ from the defaults.
    """
    table = _by_task(results, (first, second), wanted)
    compared: list[TaskComparison] = []
    refused: list[NotComparable] = []
    measured: dict[str, set[str]] = {}
    for task, columns in table.items():
        shared = [column for column in columns.values() if set(column) == {first, second}]
        compared += [_task(column[first], column[second], predictions, margins) for column in shared]
        measured[task] = {name for column in columns.values() for name in column}
        if not shared and len(measured[task]) > 1:
            refused.append(NotComparable(task, _why_not(columns.values(), first, second, identities)))
    judged = [task for task in compared if not task.describes]
    corrected = adjusted([task.test.p_value for task in judged])
    tasks = tuple(replace(task, adjusted_p=p) for task, p in zip(judged, corrected, strict=True))
    described = tuple(task for task in compared if task.describes)
    only = [tuple(task for task, names in measured.items() if names == {name}) for name in (first, second)]
    return Comparison(first, second, (*tasks, *described), tuple(refused), only[0], only[1], _across(tasks))


Columns = dict[str, dict[str, BySeed]]
"""The newest result of each seed, by comparability key and backbone."""


def _by_task(
    results: Iterable[Result], backbones: Sequence[str], wanted: Sequence[tuple[str, str]] | None
) -> dict[str, Columns]:
    found: dict[str, Columns] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    asked = None if wanted is None else set(wanted)
    for result in sorted(results, key=lambda result: (result.task, result.variant, result.finished)):
        if result.backbone in backbones and (asked is None or (result.task, result.variant) in asked):
            found[result.task][result.column][result.backbone][result.seed] = result
    return found


def _task(
    first: BySeed, second: BySeed, predictions: Predictions, margins: Mapping[str, float] | None
) -> TaskComparison:
    shared = sorted(set(first) & set(second))
    ours = [first[seed] for seed in shared or sorted(first)]
    theirs = [second[seed] for seed in shared or sorted(second)]
    cells = average_seeds(ours), average_seeds(theirs)
    note = ""
    try:
        test = _as_shown(paired_test(ours[0].metric, _arrays(ours, predictions), _arrays(theirs, predictions)), *cells)
    except Unpaired as reason:
        test, note = unpaired_test(*cells), str(reason)
    one, scores = ours[-1], ([result.value for result in runs] for runs in (ours, theirs))
    trained, several = is_trained(one.protocol_name), min(len(ours), len(theirs)) > 1
    if trained and several and not note:
        test = over_trainings(test, *scores)
    kind = (one.task, one.variant, one.column, one.metric, one.higher_is_better)
    return TaskComparison(
        *kind,
        *cells,
        test,
        adjusted_p=test.p_value,
        note=note,
        tolerance=margin_of(one.protocol_name, one.metric, margins or {}),
        protocol=one.protocol_name,
        one_training=trained and not several,
    )


def _arrays(results: Sequence[Result], predictions: Predictions) -> list[Arrays]:
    found = []
    for result in results:
        arrays = predictions(result.run_id)
        if arrays is None:
            raise Unpaired(f"the predictions of run {result.run_id} are missing")
        found.append(arrays)
    return found


def _as_shown(test: PairedTest, first: RankingCell, second: RankingCell) -> PairedTest:
    """The test shifted to the difference of the shown scores: predictions are stored in half precision."""
    difference = first.value - second.value
    moved = difference - test.difference
    return replace(test, difference=difference, low=test.low + moved, high=test.high + moved)


def _why_not(columns: Iterable[dict[str, BySeed]], first: str, second: str, identities: Identities) -> str:
    newest: dict[str, Result] = {}
    for column in columns:
        for name, seeds in column.items():
            newest[name] = max([*seeds.values(), *filter(None, [newest.get(name)])], key=lambda one: one.finished)
    one, other = newest[first], newest[second]
    before, after = identities(one.run_id), identities(other.run_id)
    if before is None or after is None:
        keys = f"{one.variant} #{one.column[:6]} and {other.variant} #{other.column[:6]}"
        return f"they were measured differently ({keys}); the differences are unknown because a run's record is missing"
    words = what_changed(before, after, COMPARED)
    return f"from {one.run_id} ({first}) to {other.run_id} ({second}), {words or 'an unnamed part changed'}"


def _across(tasks: Sequence[TaskComparison]) -> Across | None:
    if not tasks:
        return None
    alike = [task for task in tasks if task.higher_is_better] or tasks
    leads = [task.margin for task in alike]
    smallest = DETECTABLE * stdev(leads) / math.sqrt(len(leads)) if len(leads) > 1 else None
    return Across(len(leads), signed_rank(leads), fmean(leads), median(leads), smallest)


def _per_task(comparison: Comparison) -> str:
    better, worse, alike = (comparison.count(verdict) for verdict in ("better", "worse", "alike"))
    tasks = len(comparison.judged)
    equal = sum(task.verdict == "alike" and task.within for task in comparison.judged)
    if tasks == equal:
        where = "the one task" if tasks == 1 else f"all {tasks} tasks"
        return f"{comparison.first} and {comparison.second} are equal within the margin on {where}."
    if tasks == alike:
        least = min(task.test.smallest for task in comparison.judged)
        what = "the one task" if tasks == 1 else f"any of the {tasks} tasks"
        return (
            f"No significant difference between {comparison.first} and {comparison.second} on {what}; "
            f"differences below {least:.1f} points were not detectable."
        )
    first, count = ("better", better) if better else ("worse", worse)
    parts = [f"{first} than {comparison.second} on {count} of {tasks} task{'s' * (tasks > 1)}"]
    parts += [f"worse on {worse}"] if better and worse else []
    parts += [f"equal to it within the margin on {equal}"] if equal else []
    joined = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    rest = f", with no significant difference on {alike - equal}" if alike - equal else ""
    return f"{comparison.first} is {joined}{rest}."


def _over_all(comparison: Comparison, across: Across) -> str:
    test, lead = across.test, across.median_lead
    if across.tasks == 1:
        return "A single task allows no conclusion about others."
    every = across.tasks == len(comparison.judged)
    where = "Over all tasks" if every else f"Over the {across.tasks} tasks whose scores are percentages"
    possible = 2 ** (1 - test.n)
    if test.n and possible >= LEVEL:
        return f"{test.n} tasks are too few for a conclusion about others: at least six are needed."
    if test.p_value >= LEVEL:
        return f"{where}, neither is ahead (median lead {lead:+.1f} points, {format_p(test.p_value)})."
    ahead = comparison.first if test.effect > 0 else comparison.second
    numbers = f"median lead {abs(lead):.1f} points, {format_p(test.p_value)}, effect {abs(test.effect):.2f}"
    return f"{where}, {ahead} is ahead ({numbers})."


def is_within(test: PairedTest, margin: Margin) -> bool:
    """Whether the 90 % interval of the difference is within the margin."""
    low = test.difference - INNER * (test.difference - test.low)
    high = test.difference + INNER * (test.high - test.difference)
    return -margin.size < low and high < margin.size


def over_trainings(test: PairedTest, first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Test over images whose variance is increased by the variance over seeds of both backbones. `first` and `second`
    are scores by seed, at least two each. Degrees of freedom are Satterthwaite's.
    """
    parts = [(variance(values) / len(values), len(values) - 1) for values in (first, second)]
    images = test.standard_error**2
    total = images + sum(part for part, _ in parts)
    spread = images**2 / max(test.n - 1, 1) + sum(part**2 / free for part, free in parts)
    degrees = total**2 / spread if spread > 0 else 1.0
    return student(test.difference, total**0.5, degrees, test.n, f"{test.method}, and seeds of training")
