"""The record of a race under way, for screens that draw it and for a repeated command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ssl_console.analysis.predictors import FURTHER_SCORES
from ssl_console.analysis.race import Goal, RaceRound, chosen
from ssl_console.operations.choose import Race
from ssl_console.operations.ladder import PlannedRung, plan_rungs
from ssl_console.workspace.race_record import (
    EntrantStatus,
    RaceContender,
    RaceEntrant,
    RaceRecord,
    RaceRungRecord,
    race_file,
    write_race,
)


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
        )


def _waiting(rung: PlannedRung) -> Iterator[RaceEntrant]:
    for run in rung.runs:
        yield RaceEntrant(backbone=run.candidate.backbone.name, status="waiting", run_id=run.run_id or "")
