"""Results with every reason to doubt them (from the run, its random twin and the backbone's card), and the marked
scores of a table. Pure; needs no numpy.

One of them is that the backbone was pre-trained on the data, or on data curated by similarity to it, according to its
card.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.random_baseline import Twins, distances, twins, with_twin_badges
from ssl_console.analysis.ranking import Ranking
from ssl_console.workspace.badges import ADVICE, LEGEND, MARK, NO_DOUBT, SEEN, Badge, marks
from ssl_console.workspace.field_sets import with_values
from ssl_console.workspace.result import Result, ResultRecord

Seen = Mapping[str, frozenset[str]]
"""Names of datasets by backbone."""
NAMED = 4
MOST_NAMED = 20
"""Maximum number of scores named in a sentence; the others are counted."""


@dataclass(frozen=True)
class BadgeSources:
    """Facts about backbones from which warnings follow that are not stored in a run."""

    twins: Twins = field(default_factory=dict)
    seen: Seen = field(default_factory=dict)

    @classmethod
    def of(cls, cards: Iterable[BackboneCard]) -> BadgeSources:
        """Facts from the backbones' cards."""
        known = list(cards)
        return cls(twins(known), seen_by(known))

    def badged(self, results: Sequence[Result]) -> list[Result]:
        """The same results with the names of all their badges."""
        return with_seen_badges(with_twin_badges(results, self.twins), self.seen)

    def explained(self, result: Result, record: ResultRecord | None, results: Sequence[Result]) -> tuple[Badge, ...]:
        """All badges of one result with their advice; its twin is looked up among `results`."""
        distance = distances([*results, result], self.twins).get(result.run_id)
        found = [*(record.badges if record else ()), distance and distance.badge, seen_badge(result, self.seen)]
        badges = {badge.name: badge for badge in found if badge}
        for name in result.badges:
            badges.setdefault(name, Badge(name=name, advice=ADVICE.get(name, "")))
        return tuple(badges.values())


def seen_by(cards: Iterable[BackboneCard]) -> Seen:
    """Names of seen datasets by backbone, from the cards."""
    return {card.name: frozenset(card.facts.seen_datasets) for card in cards if card.facts.seen_datasets}


def seen_badge(result: Result, seen: Seen) -> Badge | None:
    """Badge of a score on data that the pre-training used."""
    dataset = result.dataset_name
    if result.source != "mine" or dataset not in seen.get(result.backbone, frozenset()):
        return None
    advice = (
        f"according to its card, {result.backbone} was pre-trained on images of {dataset} or on data curated around "
        "them: comparisons with backbones that were not are unfair"
    )
    return Badge(name=SEEN, advice=advice)


def with_seen_badges(results: Sequence[Result], seen: Seen) -> list[Result]:
    """The same results, with the badge added to those on seen data."""
    return [
        with_values(result, badges=(*result.badges, SEEN)) if seen_badge(result, seen) else result for result in results
    ]


@dataclass(frozen=True)
class MarkedScore:
    """A score with warnings."""

    backbone: str
    column: str
    run_id: str
    badges: tuple[str, ...]

    @property
    def marks(self) -> str:
        """Suffix of the score."""
        return marks(self.badges)

    def __str__(self) -> str:
        reasons = [name for name in self.badges if name not in NO_DOUBT]
        return f"{self.backbone} on {self.column}" + (f" ({', '.join(reasons)}; {self.run_id})" if reasons else "")


def marked_scores(ranking: Ranking) -> tuple[MarkedScore, ...]:
    """Marked scores of a table, row by row."""
    return tuple(
        MarkedScore(row.backbone, label, cell.run_id, cell.badges)
        for row in ranking.rows
        for label, cell in row.cells.items()
        if cell.badges
    )


def mark_sentences(marked: Sequence[MarkedScore]) -> list[str]:
    """One sentence per mark: its meaning, and the scores that have it."""
    found = []
    for mark, meaning in LEGEND.items():
        scores = [str(one) for one in marked if mark in one.marks]
        if scores:
            shown = scores[: NAMED if mark == MARK else MOST_NAMED]
            more = f" and {len(scores) - len(shown)} more" if len(scores) > len(shown) else ""
            found.append(f"{mark} {meaning}: {'; '.join(shown)}{more}")
    return found


def marked_document(marked: Iterable[MarkedScore]) -> list[dict[str, object]]:
    """Marked scores for `--json`."""
    return [asdict(one) for one in marked]


def legend(badges: Iterable[Sequence[str]]) -> dict[str, str]:
    """The marks of scores with these badges, and their meaning."""
    found = {mark for names in badges for mark in marks(names)}
    return {mark: meaning for mark, meaning in LEGEND.items() if mark in found}
