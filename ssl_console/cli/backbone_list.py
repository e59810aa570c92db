"""`backbones`: which there are, whether their weights are here, and if not, how to get them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from backbones.card import BackboneCard
from backbones.weights import WeightsFolder
from ssl_console.cli import output
from ssl_console.cli.session import Session
from ssl_console.commands import fetch_weights

UNKNOWN = "—"


@dataclass(frozen=True)
class BackboneLine:
    """One backbone as the listing has it."""

    backbone: str
    title: str
    architecture: str
    method: str
    pretraining_data: str | None
    epochs: int | None
    imagenet_top1: float | None
    parameters_millions: float | None
    feature_dimension: int | None
    weights: str
    path: str | None
    size: int | None
    advice: str | None
    fetch: str | None
    """The command that gets the weights; None when they are here."""


def backbones(session: Session, *, as_json: bool) -> None:
    """List all backbone cards with the state of their weights."""
    rows = [_backbone(card, session.weights) for card in session.backbones.cards.values()]
    if as_json:
        problems = [str(problem) for problem in session.backbones.problems]
        output.document({"backbones": [asdict(row) for row in rows], "problems": problems})
        return
    head = ("backbone", "method", "architecture", "top-1", "weights", "how to get them")
    output.table(head, [_line(row) for row in rows], right=frozenset({3}))


def _backbone(card: BackboneCard, weights: WeightsFolder) -> BackboneLine:
    state = weights.state(card)
    facts = card.facts
    return BackboneLine(
        backbone=card.name,
        title=card.title,
        architecture=card.architecture,
        method=facts.method,
        pretraining_data=facts.pretraining_data,
        epochs=facts.epochs,
        imagenet_top1=facts.imagenet_top1,
        parameters_millions=facts.parameters_millions,
        feature_dimension=facts.feature_dimension,
        weights=state.status,
        path=None if state.path is None else str(state.path),
        size=state.size,
        advice=state.advice,
        fetch=None if state.status == "present" else fetch_weights(card.name),
    )


def _line(row: BackboneLine) -> tuple[str, ...]:
    top1 = UNKNOWN if row.imagenet_top1 is None else f"{row.imagenet_top1:.1f}"
    return row.backbone, row.method, row.architecture, top1, row.weights, row.fetch or ""
