"""Comparison of backbones with random twins, untrained networks of their architecture. Pure; needs no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backbones.catalog.card import BackboneCard
from ssl_console.workspace.badges import Badge
from ssl_console.workspace.field_sets import with_values
from ssl_console.workspace.result import Result
from tasks.catalog.protocols import is_descriptive

UNTRAINED = frozenset({"none", "random"})
"""Methods of untrained backbones, as named by cards."""

Twins = Mapping[str, str]
"""By backbone, the untrained one of its architecture and input size."""


@dataclass(frozen=True)
class BaselineComparison:
    """Difference of a result from that of its random twin."""

    twin: str
    margin: float
    """Positive when the result is better."""
    low: float
    """Bounds of the 95 % interval of the lead, from both intervals (less powerful than a paired test)."""
    high: float
    protocol: str = ""

    @property
    def badge(self) -> Badge | None:
        """A warning if the result is not better than that of the twin."""
        if self.low > 0 or is_descriptive(self.protocol):
            return None
        words = f"{self.margin:+.1f} points from {self.twin}, its untrained twin"
        if self.high < 0:
            advice = (
                f"{words}: worse than random features, so check the preprocessing and the key mapping, unless the task "
                "measures what training makes a backbone invariant to"
            )
            return Badge(name="below random", advice=advice)
        advice = f"{words}, no significant difference: check that the weights were loaded, or choose a harder task"
        return Badge(name="random twin", advice=advice)


def twins(cards: Iterable[BackboneCard]) -> Twins:
    """Random twin by backbone."""
    known = sorted(cards, key=lambda card: card.name)
    untrained = {_kind(card): card.name for card in reversed(known) if _is_untrained(card)}
    return {card.name: untrained[_kind(card)] for card in known if not _is_untrained(card) and _kind(card) in untrained}


def distances(results: Sequence[Result], known: Twins) -> dict[str, BaselineComparison]:
    """By run id, for every result whose twin was measured in the same column."""
    newest = {(one.column, one.backbone): one for one in sorted(results, key=lambda one: one.finished)}
    found = {}
    for result in results:
        twin = newest.get((result.column, known.get(result.backbone, "")))
        if twin is not None and result.source == twin.source == "mine":
            found[result.run_id] = _distance(result, twin)
    return found


def with_twin_badges(results: Sequence[Result], known: Twins) -> list[Result]:
    """The same results, with a badge added to those that are no better than their twin's."""
    badges = {run_id: one.badge for run_id, one in distances(results, known).items()}
    return [_marked(result, badges.get(result.run_id)) for result in results]


def _marked(result: Result, badge: Badge | None) -> Result:
    return result if badge is None else with_values(result, badges=(*result.badges, badge.name))


def _distance(result: Result, twin: Result) -> BaselineComparison:
    sign = 1 if result.higher_is_better else -1
    lead = sign * (result.value - twin.value)
    half = (((result.ci_high - result.ci_low) ** 2 + (twin.ci_high - twin.ci_low) ** 2) ** 0.5) / 2
    return BaselineComparison(twin.backbone, lead, lead - half, lead + half, result.protocol_name)


def _is_untrained(card: BackboneCard) -> bool:
    return card.weights.kind == "random" or card.facts.method.lower() in UNTRAINED


def _kind(card: BackboneCard) -> tuple[object, ...]:
    return card.architecture, tuple(sorted(card.architecture_arguments.items())), card.pooling, card.input.size
