"""Judging a checkpoint against a backbone: the datasets of a suite as stages, and the verdict of their results so far,
also of a task whose test images are still being scored; and the checkpoints of a training, each against the best
earlier one.

The k-th comparison has 1 / (k (k + 1)) of the error, so that over any number of comparisons a
checkpoint is falsely reported as better in at most 5 % of trainings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from backbones.catalog.card import BackboneCard, FileWeights
from backbones.catalog.weights_folder import CHECKPOINTS
from ssl_console.analysis.badged_results import MarkedScore
from ssl_console.analysis.comparison import TaskComparison
from ssl_console.analysis.judgement import PATIENCE, JudgedTask, Judgement, judge
from ssl_console.analysis.ladder import largest_score, part_scores, sample_scores
from ssl_console.analysis.statistics.sequential import ERROR, share_of_error
from ssl_console.operations.add_backbone import BackboneOptions, check_options, inspect_checkpoint, make_card
from ssl_console.operations.checkpoints.record import TransferCurve, TransferPoint, WatchedTraining
from ssl_console.operations.launch import LaunchOptions, plan_launch
from ssl_console.operations.session import Session
from ssl_console.operations.stages import PlannedStage, images_digest, predictions_of, seconds_left
from ssl_console.planning.duration import History
from ssl_console.planning.plan import PlannedRun
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.result import Result
from tasks.catalog.protocols import PROTOCOLS, is_descriptive, is_trained
from tasks.catalog.spec import TaskSpec
from tasks.datasets.splits import scoring_order

CHUNK = 1 << 22  # bytes
Against = Callable[[TransferPoint, TransferPoint, float], Judgement | None]
"""Judgement of a later checkpoint against an earlier one, with this probability of error."""


@dataclass(frozen=True)
class JudgeRequest:
    """A backbone, its opponent, and the tasks of the judgement."""

    first: BackboneCard
    second: BackboneCard
    tasks: tuple[TaskSpec, ...]
    margin: float
    options: LaunchOptions = field(default_factory=LaunchOptions)


def judged_card(session: Session, name: str, like: str | None = None) -> BackboneCard:
    """The backbone of a name, or the card of a checkpoint file: loaded as another backbone, or detected as by `add
    backbone`. Raises ConsoleError, CardNameError.
    """
    path = Path(name).expanduser().absolute()
    if name not in session.backbones.cards and not path.exists() and (like is not None or name.endswith(CHECKPOINTS)):
        raise ConsoleError(f"{path} does not exist, and no backbone has that name: correct the path of the checkpoint")
    if name in session.backbones.cards or not path.is_file():
        (card,) = session.backbones.select([name])[:1]
        return card
    shown = f"judged/{path.stem}-{_digest(path)[:6]}"
    if like is not None:
        return session.backbones.get(like).model_copy(update={"name": shown, "weights": FileWeights(path=str(path))})
    options = BackboneOptions(path=path, name=shown)
    check_options(options)
    return make_card(options, inspect_checkpoint(options))


def plan_datasets(session: Session, request: JudgeRequest) -> list[PlannedStage]:
    """One stage per dataset, so that its images are encoded once. Raises ConsoleError if no task is ranked."""
    tasks = [task for task in request.tasks if not is_descriptive(task.protocol)]
    if request.first.name == request.second.name:
        raise ConsoleError(f"{request.first.name} cannot be judged against itself: name another backbone")
    if not tasks:
        raise ConsoleError("no task is ranked: add -t TASK or --suite S with tasks that are")
    results = session.results()
    plan = plan_launch(session, [((request.first, request.second), tasks)], request.options, results)
    history, stages = History.of(results), dict[str, list[PlannedRun]]()
    for run in plan.runs:
        stages.setdefault(run.candidate.task.dataset, []).append(run)
    return [PlannedStage(name, tuple(runs), seconds_left(runs, history, plan.slots)) for name, runs in stages.items()]


def next_part(stage: PlannedStage, first: str) -> PlannedStage:
    """The runs of a stage that are executed next: all of them, unless the backbone `first` can be scored in parts.

    Then its opponent is measured before it, in full, and it is scored on test images in random order, so that it ends
    as soon as the answer is certain; its other tasks follow if it is not.
    """
    parts = _scored_in_parts(stage, first)
    if parts is None or parts.status == "done" or stage.blockers:
        return stage
    others = tuple(run for run in stage.runs if run.candidate.backbone.name != first)
    if not all(run.status == "done" for run in others):
        return PlannedStage(stage.name, others, stage.seconds)
    return PlannedStage(stage.name, (replace(parts, in_parts=True),), stage.seconds)


def _scored_in_parts(stage: PlannedStage, first: str) -> PlannedRun | None:
    """The first run of this backbone whose test images can be scored in parts."""
    mine = (run for run in stage.runs if run.candidate.backbone.name == first)
    return next((run for run in mine if PROTOCOLS[run.candidate.task.protocol].scored_in_parts), None)


def whole_tests(tasks: Iterable[TaskSpec]) -> dict[str, str]:
    """Ranked tasks of which all test images are used, each with the reason."""
    protocols = {task.name: PROTOCOLS[task.protocol] for task in tasks if not is_descriptive(task.protocol)}
    return {name: one.whole_test for name, one in protocols.items() if not one.scored_in_parts}


def whole_test_sentence(tasks: Iterable[TaskSpec]) -> str:
    """The tasks of which all test images are used, by reason; empty if there are none."""
    reasons: dict[str, list[str]] = {}
    for name, reason in whole_tests(tasks).items():
        reasons.setdefault(reason, []).append(name)
    words = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    return f"all test images are used for {words}" if words else ""


@dataclass
class JudgeLooks:
    """Looks at the results of a judgement: one after every dataset, and one at the task that is scored in parts."""

    session: Session
    request: JudgeRequest
    stages: Sequence[PlannedStage]
    _seen: tuple[int, Judgement | None] = (0, None)

    @property
    def names(self) -> tuple[str, str]:
        return self.request.first.name, self.request.second.name

    @property
    def error(self) -> float:
        """Probability of error of one look. A dataset with several tasks has two: at the first of them, and at all."""
        first = self.request.first.name
        parts = sum(len(stage.runs) > 2 and _scored_in_parts(stage, first) is not None for stage in self.stages)
        return share_of_error(len(self.stages) + parts)

    def after_each(self) -> list[tuple[str, Judgement]]:
        """The judgement after every dataset with results, by its name. Raises ConsoleError for different data."""
        looks = []
        for number, stage in enumerate(self._done):
            found = judge(
                [task for one in self._done[: number + 1] for task in self._tasks_of(one)],
                self.request.margin,
                self.error,
            )
            if found is not None:
                looks.append((stage.name, found))
        part = None if looks and looks[-1][1].final else self.at_part()
        return looks if part is None else [*looks, (part.tasks[-1], part)]

    def at_part(self) -> Judgement | None:
        """The judgement with the task that is scored in parts, as far as it is; None if there is none."""
        tasks = self._finished
        stage = next((one for one in self.stages if one not in self._done and self._part_of(one) is not None), None)
        part = None if stage is None else self._part_of(stage)
        if part is None or any(task.counts and task.leads is None for task in tasks):
            return None
        known = part.of if part.leads is None else len(part.leads)
        if self._seen[0] != known:
            self._seen = known, judge([*tasks, part], self.request.margin, self.error)
        return self._seen[1]

    def is_certain(self) -> bool:
        """Whether the images that were scored so far are enough for an answer."""
        found = self.at_part()
        return found is not None and found.final

    @cached_property
    def _stored(self) -> dict[str, Result]:
        return {result.run_id: result for result in self.session.badged_results()}

    @cached_property
    def _done(self) -> list[PlannedStage]:
        return [stage for stage in self.stages if stage.done and stage.is_stored(self._stored)]

    @cached_property
    def _finished(self) -> list[JudgedTask]:
        return [task for stage in self._done for task in self._tasks_of(stage)]

    def _tasks_of(self, stage: PlannedStage) -> list[JudgedTask]:
        return judged_tasks(self.session, self.names, stage.results(self._stored))

    def _part_of(self, stage: PlannedStage) -> JudgedTask | None:
        """The task of a stage that is scored in parts, or was, as far as the opponent has a result."""
        mine = _scored_in_parts(stage, self.names[0])
        if mine is None or mine.run_id is None:
            return None
        of_task = (run for run in stage.runs if run.candidate.task == mine.candidate.task)
        pair = PlannedStage(stage.name, tuple(of_task), None)
        if pair.done and pair.is_stored(self._stored):
            return next(iter(self._tasks_of(pair)), None)
        theirs = next(run for run in pair.runs if run is not mine)
        if theirs.status != "done" or theirs.run_id not in self._stored:
            return None
        return _partly_judged(self.session, mine.run_id, self._stored[theirs.run_id], stage.name)


def _partly_judged(session: Session, run_id: str, theirs: Result, dataset: str) -> JudgedTask | None:
    """Leads on the images that a run in parts has scored so far; None before the first of them."""
    part, reference = session.outputs.part(run_id), predictions_of(session, [theirs])
    if part is None or not reference or not len(part["predicted"]):
        return None
    images, other = images_digest(part), sample_scores(theirs.metric, reference)
    mine = part_scores(theirs.metric, part)
    if other is None or mine is None or images != images_digest(reference[0]):
        return None
    leads = mine - other[scoring_order(len(other))[: len(mine)]]
    return JudgedTask(
        name=theirs.task,
        dataset=dataset,
        counts=True,
        lead=float(leads.mean()),
        images=images,
        leads=leads,
        of=len(other),
        reach=largest_score(theirs.metric, reference[0]["label"]),
        one_training=is_trained(theirs.protocol_name),
        marked=_marked([theirs]),
    )


def judged_tasks(session: Session, names: tuple[str, str], results: Sequence[Result]) -> list[JudgedTask]:
    """Comparisons of the two backbones with the leads on single images. Raises ConsoleError for different data."""
    compared = session.compare(*names, results)
    if compared.not_comparable:
        one = compared.not_comparable[0]
        raise ConsoleError(f"{one.task}: {' and '.join(names)} cannot be compared: {one.reason}")
    return [_judged(session, task, names, results) for task in compared.tasks]


def _judged(session: Session, task: TaskComparison, names: tuple[str, str], results: Sequence[Result]) -> JudgedTask:
    mine = [result for result in results if (result.task, result.variant) == (task.task, task.variant)]
    runs = [predictions_of(session, [one for one in mine if one.backbone == name]) for name in names]
    dataset = mine[0].dataset_name
    scores = [sample_scores(task.metric, arrays) for arrays in runs] if all(runs) and not task.note else [None, None]
    if scores[0] is None or scores[1] is None:
        return JudgedTask.compared(task, dataset, marked=_marked(mine))
    leads = (scores[0] - scores[1])[scoring_order(len(scores[0]))]
    reach = largest_score(task.metric, runs[0][0]["label"])
    return JudgedTask.compared(task, dataset, images_digest(runs[0][0]), leads, reach, _marked(mine))


def _marked(results: Iterable[Result]) -> tuple[MarkedScore, ...]:
    scores = (MarkedScore(one.backbone, one.task, one.run_id, one.badges) for one in results)
    return tuple(score for score in scores if score.marks)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
    return digest.hexdigest()


def improvement_of(
    session: Session, training: WatchedTraining, curve: TransferCurve, results: Iterable[Result]
) -> Improvement | None:
    """Each checkpoint of a watched training against the best one before it; None for fewer than two."""
    newest: dict[str, dict[str, Result]] = {point.backbone: {} for point in curve.points}
    for result in sorted(results, key=lambda one: one.finished):
        if result.backbone in newest and result.task in training.tasks and result.seed == 0:
            newest[result.backbone][result.task] = result

    def against(first: TransferPoint, second: TransferPoint, error: float) -> Judgement | None:
        names = first.backbone, second.backbone
        both = [one for name in names for one in newest[name].values()]
        return judge(judged_tasks(session, names, both), error=error)

    return follow_training(curve.points, against, curve.unit)


@dataclass(frozen=True)
class Improvement:
    """The last checkpoint that was certainly better than the best one before it, and its successors."""

    best: TransferPoint
    later: int
    """Number of checkpoints since then."""
    no_better: int
    """Number of the latest of them, in a row, that are certainly no better by the margin."""
    margin: float
    unit: str = "step"

    @property
    def stopped(self) -> bool:
        """Whether the training no longer improves."""
        return self.no_better >= PATIENCE

    @property
    def sentence(self) -> str:
        at = f"{self.unit} {self.best.step:,}"
        if self.stopped:
            return f"stopped improving at {at}: the last {self.no_better} are no better by {self.margin:g} points"
        if not self.later:
            return f"still improving: {at} is better than all before"
        return f"no checkpoint is certainly better than {at} yet, and {self.no_better} of {self.later} are no better"


def error_of_comparison(number: int) -> float:
    """Part of the error of the `number`-th comparison, from 1; all parts together are the whole."""
    return ERROR / (number * (number + 1))


def follow_training(points: Sequence[TransferPoint], against: Against, unit: str = "step") -> Improvement | None:
    """Judge every point against the best one so far, in the order of steps; None where nothing can be judged."""
    if len(points) < 2:
        return None
    best, later, no_better, margin, judged = points[0], 0, 0, 0.0, False
    for number, point in enumerate(points[1:], start=1):
        found = against(point, best, error_of_comparison(number))
        if found is None:
            continue
        judged, margin = True, found.margin
        if found.answer == "better":
            best, later, no_better = point, 0, 0
            continue
        later += 1
        no_better = no_better + 1 if found.answer in {"not better", "practically equal"} else 0
    return Improvement(best, later, no_better, margin, unit) if judged else None
