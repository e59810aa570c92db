"""`judge`: whether a checkpoint is better than a backbone, with as few tasks as needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ssl_console.analysis.judgement import Answer, Judgement, judgement_sentence
from ssl_console.analysis.ladder_sentences import test_document
from ssl_console.cli.handlers.run import RunOptions
from ssl_console.cli.handlers.stages import StagesEnded, TimeLimit, run_stage
from ssl_console.cli.output import stdout
from ssl_console.operations.judge import JudgeRequest, judge_stages, judged_card, plan_datasets
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
    """Judge: 0 better, 10 not better, 11 practically equal, 12 needs more; 1, 3, 4 as `run`."""
    options = options.with_placement(session)
    request = selection.resolve(session, options)
    last: Judgement | None = None
    try:
        for last in _judgements(session, request, TimeLimit(None if hours is None else hours * 3600.0), options):
            _show(request, last, options)
    except StagesEnded as stop:
        return stop.code
    code = ExitCode.UNDECIDED if last is None else CODES[last.answer]
    if options.as_json:
        stdout.json_line(
            {"event": "answer", "answer": "needs more" if last is None else last.answer, "exit_code": code}
        )
    elif last is None:
        stdout.lines(["needs more: no dataset has results of both backbones yet"])
    else:
        stdout.lines([judgement_sentence(request.first.name, request.second.name, last)])
    return code


def _judgements(session: Session, request: JudgeRequest, limit: TimeLimit, options: RunOptions) -> Iterator[Judgement]:
    """The answer after all stored datasets, then after each further one, until it is final."""
    while True:
        stages = plan_datasets(session, request)
        done = [stage for stage in stages if stage.done]
        found = judge_stages(session, request, done, len(stages)) if done else None
        if found is not None:
            yield found
        stage = next_stage(stages)
        if found is None and done:
            stdout.say("ssl-console: no task so far has a percentage that judges, so none decides")
        if stage is None or (found is not None and found.final):
            return
        if refusal := limit.refusal(stage):
            stdout.say(f"ssl-console: {refusal}")
            return
        run_stage(session, stage, options)


def _show(request: JudgeRequest, judgement: Judgement, options: RunOptions) -> None:
    sentence = judgement_sentence(request.first.name, request.second.name, judgement)
    if options.as_json:
        stdout.json_line({"event": "judgement", **judgement_document(judgement), "sentence": sentence})
    else:
        stdout.say(f"after {', '.join(judgement.tasks)}: {judgement.answer}")
        if judgement.left_out:
            stdout.say(f"not part of the mean, because the scores are no percentages: {', '.join(judgement.left_out)}")


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
    }
