"""`choose`: which backbone to take for a dataset, within a number of hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ssl_console.analysis.badged_results import marked_document
from ssl_console.analysis.race import Contender, Goal, RaceRound, chosen, energy_notes
from ssl_console.cli.handlers.run import RunOptions
from ssl_console.cli.handlers.stages import StagesEnded, TimeLimit, run_stage
from ssl_console.cli.handlers.verdicts import say_marks
from ssl_console.cli.output import stdout
from ssl_console.operations.choose import FINALISTS, TARGET, Race, RaceProgress
from ssl_console.operations.ladder import Alternative, LadderRequest, dataset_named, rungs_named
from ssl_console.operations.launch import LaunchOptions
from ssl_console.operations.session import Session
from ssl_console.system.errors import ExitCode
from ssl_console.workspace.race_record import PredictorError

HEAD = ("backbone", "scores", "P(best)", "regret", "images/s", "memory", "energy", "licence", "")
EVERY = ("*",)


@dataclass(frozen=True)
class ChooseSelection:
    """Arguments of `choose`, as written."""

    data: str
    hours: float
    backbones: tuple[str, ...] = ()
    goal: Goal = "accuracy"
    target: str | None = None
    preset: str | None = None
    finalists: int = FINALISTS

    def race(self, session: Session, options: RunOptions) -> Race:
        """The race. Raises ConsoleError, CardNameError."""
        cards = session.backbones.select(self.backbones or EVERY)
        if not self.backbones:  # named backbones all take part, so that missing weights are reported
            cards = [card for card in cards if session.weights.state(card).status == "present"]
        launch = LaunchOptions(placement=options.placement, override=options.override)
        request = LadderRequest(tuple(cards), dataset_named(session, self.data), self.preset, launch)
        target: tuple[Alternative, ...] = rungs_named((self.target,))[0] if self.target else TARGET
        return Race(session, request, target, self.finalists)


def choose(session: Session, selection: ChooseSelection, options: RunOptions) -> ExitCode:
    """Race: 0 when one backbone is certainly the best, 12 when others may be; 1, 3, 4 as for `run`."""
    options = options.with_placement(session)
    limit = TimeLimit(selection.hours * 3600.0)
    race = selection.race(session, options)
    for name, reason in race.excluded.items():
        stdout.say(f"ssl-console: {name} does not take part: {reason}")
    progress = RaceProgress(race, selection.goal, limit.seconds)
    try:
        reason = _run(session, race, limit, options, progress)
    except StagesEnded as stop:
        progress.write(ended=True, reason="a run of the race did not end with a result")
        return stop.code
    progress.write(ended=True, reason=reason)
    if not race.rounds:
        return ExitCode.UNDECIDED
    code = ExitCode.DONE if race.settled else ExitCode.UNDECIDED
    _show(race, selection.goal, code, options)
    return code


def _run(session: Session, race: Race, limit: TimeLimit, options: RunOptions, progress: RaceProgress) -> str:
    """Run the rounds; return why the race ended before its target was measured, empty if it did not."""
    while not race.over:
        rung = race.next_rung()
        if not rung.done:
            if refusal := limit.refusal(rung):
                stdout.say(f"ssl-console: {refusal}")
                return refusal
            progress.write(rung)
            run_stage(session, rung, options)
            rung = race.next_rung()
        found = race.take(rung)
        progress.write()
        if options.as_json:
            stdout.json_line({"event": "round", **round_document(found)})
        else:
            for line in (round_sentence(found), *map(error_sentence, found.errors)):
                stdout.say(line)
    return ""


def error_sentence(error: PredictorError) -> str:
    """`  knn orders 12 % (5 to 25 %) of 30 pairs of backbones differently from the target, on 3 other datasets`."""
    interval = f"{100 * error.low:.0f} to {100 * error.high:.0f} %"
    places = f"{error.datasets} other dataset{'s' * (error.datasets != 1)}"
    wrong = f"{100 * error.misordered:.0f} % ({interval}) of {error.pairs} pairs of backbones"
    return f"  {error.predictor} orders {wrong} differently from the target, on {places}"


def round_sentence(found: RaceRound) -> str:
    """`knn/birds: own/a leads, 2 of 6 pruned; predictions err by 4.1 points (12 degrees of freedom, 3 datasets)`."""
    pruned = f"{len(found.pruned)} of {len(found.rung.cells)} pruned"
    words = f"{found.rung.name}: {found.step.leader} leads, {pruned}"
    if found.prediction is None:
        return f"{words}: its prediction error is unknown until backbones are measured by both on other datasets"
    if not found.prediction.deviation:
        return words
    error, count = f"{found.prediction.deviation:.1f} points", found.prediction.datasets
    return f"{words}; its predictions err by {error} (measured on {count} other dataset{'s' * (count > 1)})"


def round_document(found: RaceRound) -> dict[str, object]:
    """A round for `--json`."""
    return {
        "task": found.rung.task,
        "scores": {name: cell.value for name, cell in found.rung.cells.items()},
        "marked_scores": marked_document(found.rung.marked),
        "leader": found.step.leader,
        "pruned": list(found.pruned),
        "prediction_error": None if found.prediction is None else asdict(found.prediction),
        "slack": found.slack,
        "predictors": [one.model_dump() for one in found.errors],
    }


def _show(race: Race, goal: Goal, code: ExitCode, options: RunOptions) -> None:
    contenders = race.contenders()
    taken = chosen(contenders, goal, race.rounds[-1].step.margin)
    if options.as_json:
        rows = [asdict(one) for one in contenders]
        about = {"choice": taken.name, "goal": goal, "notes": _energy_notes(contenders)}
        stdout.json_line({"event": "choice", **about, "contenders": rows, "exit_code": code})
        return
    stdout.table(HEAD, [_row(one) for one in contenders], right=frozenset({2, 3, 4, 5, 6}))
    where = race.rounds[-1].rung.task
    settled = race.settled and taken.name in race.rounds[-1].survivors
    certain = "certainly the best" if settled else f"the best with probability {taken.probability:.2f}"
    stdout.lines([f"{taken.name}, chosen for {goal}: {certain} on {where}, expected regret {taken.regret:.1f} points"])
    for note in _energy_notes(contenders):
        stdout.say(note)
    say_marks(score for one in race.rounds for score in one.rung.marked)
    if race.rounds[-1].step.one_training:
        stdout.say("networks were trained with one seed each: another seed may give another order")


def _energy_notes(contenders: Sequence[Contender]) -> list[str]:
    return energy_notes({one.name: one.energy_reason for one in contenders})


def _row(one: Contender) -> tuple[str, ...]:
    scores = ", ".join(f"{task} {value:.1f}" for task, value in one.scores.items())
    speed, memory = _amount(one.images_per_s, ""), _amount(one.memory_mb, " MB")
    chances = (f"{one.probability:.2f}", f"{one.regret:.1f}")
    return (one.name, scores, *chances, speed, memory, _amount(one.energy_j, " J"), one.licence or "—", one.fate)


def _amount(value: float | None, unit: str) -> str:
    return "—" if value is None else f"{value:,.0f}{unit}"
