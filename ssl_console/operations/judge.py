"""Judging a checkpoint against a backbone: the datasets of a suite as stages, and the verdict of their results so far;
and the checkpoints of a training, each against the best earlier one.

The k-th comparison has 1 / (k (k + 1)) of the error, so that over any number of comparisons a
checkpoint is falsely reported as better in at most 5 % of trainings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backbones.catalog.card import BackboneCard, FileWeights
from ssl_console.analysis.comparison import TaskComparison
from ssl_console.analysis.judgement import PATIENCE, JudgedTask, Judgement, judge
from ssl_console.analysis.ladder import largest_score, sample_scores
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
from tasks.catalog.protocols import is_descriptive
from tasks.catalog.spec import TaskSpec

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


def judge_stages(
    session: Session, request: JudgeRequest, done: Sequence[PlannedStage], planned: int
) -> Judgement | None:
    """The answer from the finished datasets, one look of `planned`; None without usable results."""
    stored = {result.run_id: result for result in session.badged_results()}
    names = request.first.name, request.second.name
    tasks = [task for stage in done for task in judged_tasks(session, names, stage.results(stored))]
    return judge(tasks, request.margin, share_of_error(planned))


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
    judged = JudgedTask(task, mine[0].dataset_name)
    if not all(runs) or task.note:
        return judged
    scores = [sample_scores(task.metric, arrays) for arrays in runs]
    if scores[0] is None or scores[1] is None:
        return judged
    reach = largest_score(task.metric, runs[0][0]["label"])
    return replace(judged, images=images_digest(runs[0][0]), leads=scores[0] - scores[1], reach=reach)


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
