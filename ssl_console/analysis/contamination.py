"""Scores on data that a backbone's pre-training saw, or was curated around, by what the cards say. Pure; no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backbones.catalog.card import BackboneCard
from ssl_console.workspace.badges import SEEN, Badge
from ssl_console.workspace.result import Result

Seen = Mapping[str, frozenset[str]]
"""Names of datasets by backbone."""


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
