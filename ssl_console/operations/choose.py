"""Choosing a backbone for a dataset: the rounds of a race from the results of a workspace, and the record of its
progress.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.race import (
    FURTHER_SCORES,
    Contender,
    Goal,
    RaceRound,
    belief_of_race,
    chosen,
    prediction_error,
    predictor_errors,
    race_round,
)
from ssl_console.operations.ladder import (
    RUNGS,
    Alternative,
    LadderRequest,
    PlannedRung,
    measured_rung,
    plan_rungs,
    suitable_tasks,
)
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.race_record import (
    EntrantStatus,
    RaceContender,
    RaceEntrant,
    RaceRecord,
    RaceRungRecord,
    race_file,
    write_race,
)
from ssl_console.workspace.result import Result, ResultRecord

SAMPLE: tuple[Alternative, ...] = (("transferability-sample", None),)
CHEAP: tuple[tuple[Alternative, ...], ...] = (SAMPLE, *RUNGS[:2])
"""Protocols on features of a sample, then of all images, which every contender runs: they predict the target."""
TARGET: tuple[Alternative, ...] = RUNGS[-1]
FINALISTS = 3


@dataclass
class Race:
    """A race under way: `next_rung` plans a round, `take` reads its results and prunes."""

    session: Session
    request: LadderRequest
    """All contenders; its rungs are ignored."""
    target: tuple[Alternative, ...] = TARGET
    finalists: int = FINALISTS
    rounds: list[RaceRound] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    """Contenders that cannot be measured, with the reason."""
    _target: str = ""

    def __post_init__(self) -> None:
        found = plan_rungs(self.session, replace(self.request, rungs=(self.target,)))
        if not found:
            names = " or ".join(name for name, _ in self.target)
            raise ConsoleError(f"{names} does not suit all backbones: choose fewer with -b, or another --target")
        self._target = found[0].task.protocol
        self._exclude(found[0])

    @property
    def plan(self) -> tuple[tuple[Alternative, ...], ...]:
        """Protocols of all rounds."""
        cheap = (rung for rung in CHEAP if rung[0] not in self.target)
        return (*(rung for rung in cheap if suitable_tasks(self.session, self.request, rung)), self.target)

    @property
    def survivors(self) -> list[BackboneCard]:
        """Contenders of the next round; of the last one, at most `finalists`, the likely best first."""
        cards = [card for card in self.request.backbones if card.name not in self.excluded]
        if not self.rounds:
            return cards
        kept = [card for card in cards if card.name in self.rounds[-1].survivors]
        if len(self.rounds) < len(self.plan) - 1:
            return kept
        names = list(self.rounds[0].rung.cells)
        regret = belief_of_race(self.rounds).regret
        return sorted(kept, key=lambda card: regret[names.index(card.name)])[: self.finalists]

    @property
    def settled(self) -> bool:
        """Whether all contenders but one are pruned."""
        return bool(self.rounds) and len({name for one in self.rounds for name in one.pruned}) == (
            len(self.rounds[0].rung.cells) - 1
        )

    @property
    def over(self) -> bool:
        return len(self.rounds) == len(self.plan) or len(self.survivors) < 2

    def next_rung(self) -> PlannedRung:
        """The runs of the next round. Raises ConsoleError where fewer than two contenders can be measured."""
        request = replace(self.request, backbones=tuple(self.survivors), rungs=(self.plan[len(self.rounds)],))
        (rung,) = plan_rungs(self.session, request)
        if not self._exclude(rung):
            return rung
        (rung,) = plan_rungs(self.session, replace(request, backbones=tuple(self.survivors)))
        return rung

    def take(self, rung: PlannedRung) -> RaceRound:
        """Read the results of a round that is done, and prune."""
        results = self.session.badged_results()
        measured = measured_rung(self.session, rung, {result.run_id: result for result in results})
        prediction = prediction_error(results, rung.task.protocol, self._target, self.request.dataset.name)
        errors = predictor_errors(
            results, rung.task.protocol, self._target, self.request.dataset.name, self.session.outputs.metrics
        )
        contenders = len(self.request.backbones) - len(self.excluded)
        self.rounds.append(race_round(measured, prediction, len(self.plan), contenders, errors))
        return self.rounds[-1]

    def contenders(self) -> list[Contender]:
        """All contenders of the first round, the likely best first."""
        names, belief = list(self.rounds[0].rung.cells), belief_of_race(self.rounds)
        newest = {result.backbone: result for result in sorted(self.session.results(), key=lambda one: one.finished)}
        cards = {card.name: card for card in self.request.backbones}
        found = [
            self._contender(
                cards[name], float(belief.probability[place]), float(belief.regret[place]), newest.get(name)
            )
            for place, name in enumerate(names)
        ]
        return sorted(found, key=lambda one: one.regret)

    def _contender(self, card: BackboneCard, probability: float, regret: float, newest: Result | None) -> Contender:
        mine = [one for one in self.rounds if card.name in one.rung.cells]
        last = mine[-1].rung.cells[card.name]
        record = self.session.outputs.record(last.run_id)
        speeds = [one.images_per_s for one in self.session.results() if one.backbone == card.name and one.images_per_s]
        return Contender(
            name=card.name,
            scores={one.rung.task: one.rung.cells[card.name].value for one in mine},
            probability=probability,
            regret=regret,
            fate=_fate(card.name, mine, last_round=self.rounds[-1]),
            images_per_s=max(speeds, default=None),
            memory_mb=None if newest is None else newest.memory_mb,
            energy_j=None if record is None else record.energy_j,
            energy_reason=energy_reason(record),
            licence=card.facts.license,
        )

    def _exclude(self, rung: PlannedRung) -> bool:
        """Exclude contenders that cannot be measured; returns whether there are new ones."""
        before = len(self.excluded)
        for run in rung.runs:
            if run.candidate.missing:
                self.excluded.setdefault(run.candidate.backbone.name, run.candidate.missing[0].advice)
        left = len(self.request.backbones) - len(self.excluded)
        if left < 2:
            reasons = "; ".join(dict.fromkeys(self.excluded.values()))
            raise ConsoleError(f"{left} backbones can be measured on {self.request.dataset.name}: {reasons}")
        return len(self.excluded) > before


def energy_reason(record: ResultRecord | None) -> str:
    """Why the energy of a run is unknown; empty if it is known."""
    if record is None:
        return "the record of the run is missing"
    if record.energy_j is not None:
        return ""
    device = record.result.device or "an unknown device"
    if not device.startswith("cuda"):
        return f"the run was on {device}, whose energy is not counted"
    return f"{device} does not report it (NVML), or the run used several devices"


def _fate(name: str, mine: Sequence[RaceRound], last_round: RaceRound) -> str:
    if name in mine[-1].pruned:
        return f"pruned after {mine[-1].rung.task}"
    return "finalist" if mine[-1] is last_round else f"predicted from {mine[-1].rung.task}"


@dataclass
class RaceProgress:
    """Writes the record of a race after every change."""

    race: Race
    goal: Goal
    budget_s: float | None = None
    started: float = field(default_factory=time.time)
    _planned: list[RaceRungRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._planned = list(self._plan())

    def write(self, running: PlannedRung | None = None, *, ended: bool = False, reason: str = "") -> RaceRecord:
        """Write the record as it is now; `running` is the rung whose runs are queued. Raises OSError."""
        record = self.record(running, ended=ended, reason=reason)
        write_race(race_file(self.race.session.workspace, record.dataset, record.target, record.backbones), record)
        return record

    def record(self, running: PlannedRung | None = None, *, ended: bool = False, reason: str = "") -> RaceRecord:
        """The record as it is now."""
        race = self.race
        target, names = self._planned[-1].task, [card.name for card in race.request.backbones]
        contenders = race.contenders() if race.rounds else []
        return RaceRecord(
            dataset=race.request.dataset.name,
            target=target,
            goal=self.goal,
            backbones=tuple(names),
            started=self.started,
            updated=time.time(),
            budget_s=self.budget_s,
            state="ended" if ended else "running",
            rungs=tuple(self._rungs(running)),
            contenders=tuple(
                RaceContender(
                    backbone=one.name,
                    probability=one.probability,
                    regret=one.regret,
                    fate=one.fate,
                    images_per_s=one.images_per_s,
                    memory_mb=one.memory_mb,
                    energy_j=one.energy_j,
                    energy_reason=one.energy_reason,
                    licence=one.licence,
                )
                for one in contenders
            ),
            choice=chosen(contenders, self.goal, race.rounds[-1].step.margin).name if contenders else "",
            settled=race.settled,
            excluded=race.excluded,
            reason=reason,
        )

    def _plan(self) -> Iterator[RaceRungRecord]:
        """All rungs with their expected durations, before any is run."""
        request = replace(self.race.request, backbones=tuple(self.race.survivors), rungs=self.race.plan)
        rungs = plan_rungs(self.race.session, request, check=False)
        for number, rung in enumerate(rungs):
            yield RaceRungRecord(
                task=rung.task.name,
                variant=rung.task.variant,
                role="target" if number == len(rungs) - 1 else "predictor",
                state="planned",
                expected_s=rung.seconds,
            )

    def _rungs(self, running: PlannedRung | None) -> Iterator[RaceRungRecord]:
        done = self.race.rounds
        for number, planned in enumerate(self._planned):
            if number < len(done):
                yield self._done(planned, done[number])
            elif number == len(done) and running is not None:
                waiting = tuple(_waiting(running))
                changes = {"state": "running", "expected_s": running.seconds, "entrants": waiting}
                yield planned.model_copy(update=changes)
            else:
                yield planned

    def _done(self, planned: RaceRungRecord, found: RaceRound) -> RaceRungRecord:
        return planned.model_copy(
            update={
                "task": found.rung.task,
                "variant": found.rung.variant,
                "state": "done",
                "expected_s": None,
                "leader": found.step.leader,
                "entrants": tuple(self._entrant(name, found) for name in self.race.rounds[0].rung.cells),
                "slack": found.slack,
                "errors": found.errors,
            }
        )

    def _entrant(self, name: str, found: RaceRound) -> RaceEntrant:
        cell, lead = found.rung.cells.get(name), found.step.leads.get(name)
        if cell is None:
            return RaceEntrant(backbone=name, status="absent")
        status: EntrantStatus = "pruned" if name in found.pruned else "measured"
        metrics = self.race.session.outputs.metrics(cell.run_id)
        further = FURTHER_SCORES.get(found.rung.protocol, ())
        return RaceEntrant(
            backbone=name,
            status=status,
            run_id=cell.run_id,
            score=cell.value,
            low=cell.ci_low,
            high=cell.ci_high,
            scores={metric: metrics[metric] for metric in further if metric in metrics},
            ahead=None if lead is None else lead.difference,
            ahead_low=None if lead is None else lead.low,
            ahead_high=None if lead is None else lead.high,
            badges=cell.badges,
        )


def _waiting(rung: PlannedRung) -> Iterator[RaceEntrant]:
    for run in rung.runs:
        yield RaceEntrant(backbone=run.candidate.backbone.name, status="waiting", run_id=run.run_id or "")
