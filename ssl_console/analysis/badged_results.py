"""Results with every reason to doubt them: of the run, of its random twin, of the backbone's card. Pure; no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.contamination import Seen, seen_badge, seen_by, with_seen_badges
from ssl_console.analysis.random_baseline import Twins, distances, twins, with_twin_badges
from ssl_console.workspace.badges import ADVICE, Badge
from ssl_console.workspace.result import Result, ResultRecord


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
