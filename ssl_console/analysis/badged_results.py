"""Results with every reason to doubt them (from the run, its random twin and the backbone's card), and the marked
scores of a table. Pure; needs no numpy.

One reason is that the backbone was pre-trained on the data, or on data curated by similarity to it, according to its
card. Random twins are untrained networks of the same architecture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.ranking import Ranking
from ssl_console.workspace.badges import ADVICE, LEGEND, MARK, NO_DOUBT, SEEN, Badge, marks
from ssl_console.workspace.records import with_values
from ssl_console.workspace.result import Result, ResultRecord
from tasks.catalog.protocols import is_descriptive

Seen = Mapping[str, frozenset[str]]
"""Names of datasets by backbone."""
NAMED = 4
MOST_NAMED = 20
"""Maximum number of scores named in a sentence; the others are counted."""
UNTRAINED = frozenset({"none", "random"})
"""Methods of untrained backbones, as named by cards."""
Twins = Mapping[str, str]
"""By backbone, the untrained one of its architecture and input size."""


@dataclass(frozen=True)
class BadgeSources:
    """Facts about backbones from which further warnings of their results follow, which are not stored in the runs."""

    twins: Twins = field(default_factory=dict)
    seen: Seen = field(default_factory=dict)

    @classmethod
    def of(cls, cards: Iterable[BackboneCard]) -> BadgeSources:
        """Facts from the backbones' cards."""
        known = list(cards)
        seen = {card.name: frozenset(card.facts.seen_datasets) for card in known if card.facts.seen_datasets}
        return cls(twins(known), seen)

    def badged(self, results: Sequence[Result]) -> list[Result]:
        """The same results with the names of all their badges; results without further ones are the same objects."""
        of_twins = {run_id: one.badge for run_id, one in distances(results, self.twins).items()}
        badged = []
        for result in results:
            found = (of_twins.get(result.run_id), seen_badge(result, self.seen))
            names = [badge.name for badge in found if badge]
            badged.append(with_values(result, badges=(*result.badges, *names)) if names else result)
        return badged

    def explained(self, result: Result, record: ResultRecord | None, results: Sequence[Result]) -> tuple[Badge, ...]:
        """All badges of one result with their advice; its twin is looked up among `results`."""
        distance = distances([*results, result], self.twins).get(result.run_id)
        found = [*(record.badges if record else ()), distance and distance.badge, seen_badge(result, self.seen)]
        badges = {badge.name: badge for badge in found if badge}
        for name in result.badges:
            badges.setdefault(name, Badge(name=name, advice=ADVICE.get(name, "")))
        return tuple(badges.values())


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


def _distance(result: Result, twin: Result) -> BaselineComparison:
    sign = 1 if result.higher_is_better else -1
    lead = sign * (result.value - twin.value)
    half = (((result.ci_high - result.ci_low) ** 2 + (twin.ci_high - twin.ci_low) ** 2) ** 0.5) / 2
    return BaselineComparison(twin.backbone, lead, lead - half, lead + half, result.protocol_name)


def _is_untrained(card: BackboneCard) -> bool:
    return card.weights.kind == "random" or card.facts.method.lower() in UNTRAINED


def _kind(card: BackboneCard) -> tuple[object, ...]:
    return card.architecture, tuple(sorted(card.architecture_arguments.items())), card.pooling, card.input.size
