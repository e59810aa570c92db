"""Choosing a backbone for a dataset: the rounds of a race, from the results of a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.predictors import prediction_error, predictor_errors
from ssl_console.analysis.race import Contender, RaceRound, belief_of_race, race_round
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
from ssl_console.workspace.result import Result

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


def _fate(name: str, mine: Sequence[RaceRound], last_round: RaceRound) -> str:
    if name in mine[-1].pruned:
        return f"pruned after {mine[-1].rung.task}"
    return "finalist" if mine[-1] is last_round else f"predicted from {mine[-1].rung.task}"
