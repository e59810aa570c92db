"""`ladder` and `judge`: which backbone leads, and whether a checkpoint is better, with few runs and images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from ssl_console.analysis.badged_results import MarkedScore, mark_sentences, marked_document
from ssl_console.analysis.judgement import Answer, Judgement, judgement_sentence
from ssl_console.analysis.ladder import LadderStep
from ssl_console.analysis.ladder_sentences import (
    HEAD,
    interaction_sentence,
    step_document,
    step_row,
    test_document,
    verdict_sentence,
)
from ssl_console.cli.handlers.run import RunOptions
from ssl_console.cli.handlers.stages import StagesEnded, TimeLimit, run_stage
from ssl_console.cli.output import stdout
from ssl_console.operations.judge import (
    JudgeLooks,
    JudgeRequest,
    judged_card,
    next_part,
    plan_datasets,
    whole_test_sentence,
    whole_tests,
)
from ssl_console.operations.ladder import (
    LadderRequest,
    dataset_named,
    ladder_steps,
    plan_rungs,
    rungs_named,
)
from ssl_console.operations.launch import LaunchOptions
from ssl_console.operations.session import Session
from ssl_console.operations.stages import next_stage
from ssl_console.system.errors import ConsoleError, ExitCode

CODES: dict[Answer, ExitCode] = {
    "better": ExitCode.DONE,
    "not better": ExitCode.NOT_BETTER,
    "practically equal": ExitCode.EQUAL,
    "needs more": ExitCode.UNDECIDED,
}


@dataclass(frozen=True)
class LadderSelection:
    """Arguments of `ladder`, as written."""

    backbones: tuple[str, ...]
    data: str
    rungs: tuple[str, ...] = ()
    preset: str | None = None
    seeds: tuple[int, ...] = (0,)

    def resolve(self, session: Session, options: RunOptions) -> LadderRequest:
        """The cards behind the names. Raises ConsoleError, CardNameError."""
        launch = LaunchOptions(self.seeds, options.placement, override=options.override)
        cards = tuple(session.backbones.select(self.backbones)) if self.backbones else ()
        dataset = dataset_named(session, self.data)
        return LadderRequest(cards, dataset, self.preset, launch, rungs_named(self.rungs))


def ladder(session: Session, selection: LadderSelection, hours: float | None, options: RunOptions) -> ExitCode:
    """Climb until settled: 0 if it is, 12 if the budget or the rungs end first; 1, 3, 4 as for `run`."""
    options = options.with_placement(session)
    request = selection.resolve(session, options)
    limit = TimeLimit(None if hours is None else hours * 3600.0)
    try:
        steps = list(climbed(session, request, limit, options))
    except StagesEnded as stop:
        return stop.code
    code = ExitCode.DONE if steps and steps[-1].settled else ExitCode.UNDECIDED
    if options.as_json:
        settled = {"leader": steps[-1].leader, "sentence": verdict_sentence(steps[-1])} if steps else {}
        stdout.json_line({"event": "verdict", "settled": code is ExitCode.DONE, **settled, "exit_code": code})
    elif steps:
        stdout.table(HEAD, [step_row(step) for step in steps], right=frozenset({2, 4}))
        stdout.lines([interaction_sentence(steps[-1]), verdict_sentence(steps[-1])])
        say_marks(score for step in steps for score in step.rung.marked)
    return code


def climbed(session: Session, request: LadderRequest, limit: TimeLimit, options: RunOptions) -> Iterator[LadderStep]:
    """Steps of a ladder, each printed: first those of all stored results, then one after every rung that is run.

    Raises StagesEnded when runs are missing something, fail, or are interrupted.
    """
    order: list[str] = []
    shown = 0
    while True:
        rungs = plan_rungs(session, request)
        order += [rung.name for rung in rungs if rung.done and rung.name not in order]
        rungs.sort(key=lambda rung: order.index(rung.name) if rung.done else len(order))
        steps = ladder_steps(session, rungs)
        for step in steps[shown:]:
            if options.as_json:
                stdout.json_line({"event": "step", **step_document(step)})
            else:
                stdout.say(f"{step.rung.name}: {verdict_sentence(step)}")
            yield step
        shown = len(steps)
        rung = next_stage(rungs)
        if rung is None and len(steps) < len(rungs):
            session.start_supervisor()
            raise ConsoleError("finished runs are not in the database yet: repeat the command in a moment")
        if rung is None or (steps and steps[-1].settled):
            return
        if refusal := limit.refusal(rung):
            stdout.say(f"ssl-console: {refusal}")
            return
        run_stage(session, rung, options)


def say_marks(marked: Iterable[MarkedScore]) -> None:
    """Print the warnings of scores."""
    for sentence in mark_sentences(list(marked)):
        stdout.say(sentence)


@dataclass(frozen=True)
class JudgeSelection:
    """Arguments of `judge`, as written."""

    checkpoint: str
    against: str
    tasks: tuple[str, ...]
    suite: str | None
    margin: float
    like: str | None = None
    preset: str | None = None

    def resolve(self, session: Session, options: RunOptions) -> JudgeRequest:
        """The cards behind the names. Raises ConsoleError, CardNameError."""
        if self.margin <= 0:
            raise ConsoleError(f"--margin {self.margin:g}: give a number of points above 0, e.g. 0.5")
        if not self.tasks and self.suite is None:
            raise ConsoleError("no task selected: add --suite S or -t TASK")
        tasks = tuple(session.tasks.select(self.tasks, self.suite, preset=self.preset))
        leader = session.backbones.get(self.against)
        launch = LaunchOptions(placement=options.placement, override=options.override)
        return JudgeRequest(judged_card(session, self.checkpoint, self.like), leader, tasks, self.margin, launch)


def judge(session: Session, selection: JudgeSelection, hours: float | None, options: RunOptions) -> ExitCode:
    """Judge: 0 better, 10 not better, 11 practically equal, 12 needs more; 1, 3, 4 as for `run`."""
    options = options.with_placement(session)
    request = selection.resolve(session, options)
    last: Judgement | None = None
    if sentence := whole_test_sentence(request.tasks):
        stdout.say(sentence)
    try:
        for last in _judgements(session, request, TimeLimit(None if hours is None else hours * 3600.0), options):
            _show(request, last, options)
    except StagesEnded as stop:
        return stop.code
    code = ExitCode.UNDECIDED if last is None else CODES[last.answer]
    if options.as_json:
        answer = "needs more" if last is None else last.answer
        stdout.json_line(
            {"event": "answer", "answer": answer, "whole_test": whole_tests(request.tasks), "exit_code": code}
        )
    elif last is None:
        stdout.lines(["needs more: no dataset has results of both backbones yet"])
    else:
        stdout.lines([judgement_sentence(request.first.name, request.second.name, last)])
        say_marks(last.marked)
    return code


def _judgements(session: Session, request: JudgeRequest, limit: TimeLimit, options: RunOptions) -> Iterator[Judgement]:
    """The answer after all stored datasets, then after each further one, until it is final."""
    shown: Judgement | None = None
    while True:
        stages = plan_datasets(session, request)
        looks = JudgeLooks(session, request, stages)
        found = next((one for _, one in reversed(looks.after_each())), None)
        if found is not None and found != shown:
            yield found
        elif found is None and any(one.done for one in stages):
            stdout.say("ssl-console: no task so far has a percentage as its score, so there is no judgement")
        shown, stage = found, next_stage(stages)
        if stage is None or (found is not None and found.final):
            return
        if refusal := limit.refusal(stage):
            stdout.say(f"ssl-console: {refusal}")
            return
        run_stage(session, next_part(stage, request.first.name), options, looks.is_certain)


def _show(request: JudgeRequest, judgement: Judgement, options: RunOptions) -> None:
    sentence = judgement_sentence(request.first.name, request.second.name, judgement)
    if options.as_json:
        stdout.json_line({"event": "judgement", **judgement_document(judgement), "sentence": sentence})
    else:
        part = f", {judgement.part}" if judgement.part else ""
        stdout.say(f"after {', '.join(judgement.tasks)}{part}: {judgement.answer}")
        if judgement.left_out:
            stdout.say(f"not part of the mean, because the scores are not percentages: {', '.join(judgement.left_out)}")


def judgement_document(judgement: Judgement) -> dict[str, object]:
    """A judgement for `--json`."""
    return {
        "answer": judgement.answer,
        "lead": test_document(judgement.test),
        "margin": judgement.margin,
        "error": judgement.error,
        "tasks": list(judgement.tasks),
        "left_out": list(judgement.left_out),
        "one_training": judgement.one_training,
        "part": None if judgement.part is None else asdict(judgement.part),
        "marked_scores": marked_document(judgement.marked),
    }
