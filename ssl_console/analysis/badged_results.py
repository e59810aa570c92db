"""Results with every reason to doubt them: of the run, of its random twin, of the backbone's card. Pure; no numpy.

Among them: the backbone's pre-training saw the data, or was curated around it, according to the cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.random_baseline import Twins, distances, twins, with_twin_badges
from ssl_console.workspace.badges import ADVICE, SEEN, Badge
from ssl_console.workspace.result import Result, ResultRecord

Seen = Mapping[str, frozenset[str]]
"""Names of datasets by backbone."""


@dataclass(frozen=True)
class BadgeSources:
    """Facts about backbones, of which badges follow that no single run has."""

    twins: Twins = field(default_factory=dict)
    seen: Seen = field(default_factory=dict)

    @classmethod
    def of(cls, cards: Iterable[BackboneCard]) -> BadgeSources:
        """Read them from the backbones' cards."""
        known = list(cards)
        return cls(twins(known), seen_by(known))

    def badged(self, results: Sequence[Result]) -> list[Result]:
        """The same results, each with the names of all its badges."""
        return with_seen_badges(with_twin_badges(results, self.twins), self.seen)

    def explained(self, result: Result, record: ResultRecord | None, results: Sequence[Result]) -> tuple[Badge, ...]:
        """All badges of one result with their advice; `results` are those among which its twin is looked up."""
        distance = distances([*results, result], self.twins).get(result.run_id)
        found = [*(record.badges if record else ()), distance and distance.badge, seen_badge(result, self.seen)]
        badges = {badge.name: badge for badge in found if badge}
        for name in result.badges:
            badges.setdefault(name, Badge(name=name, advice=ADVICE.get(name, "")))
        return tuple(badges.values())


def seen_by(cards: Iterable[BackboneCard]) -> Seen:
    """What the cards say."""
    return {card.name: frozenset(card.facts.seen_datasets) for card in cards if card.facts.seen_datasets}


def seen_badge(result: Result, seen: Seen) -> Badge | None:
    """The badge of a score on such data."""
    dataset = result.dataset_name
    if result.source != "mine" or dataset not in seen.get(result.backbone, frozenset()):
        return None
    advice = (
        f"the card of {result.backbone} says that its pre-training saw images of {dataset} or was curated around them: "
        "a comparison with backbones that did not is not fair"
    )
    return Badge(name=SEEN, advice=advice)


def with_seen_badges(results: Sequence[Result], seen: Seen) -> list[Result]:
    """The same results, those on such data with its badge as well."""
    return [
        result.model_copy(update={"badges": (*result.badges, SEEN)}) if seen_badge(result, seen) else result
        for result in results
    ]
