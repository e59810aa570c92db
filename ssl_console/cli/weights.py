"""`weights list|check|fetch`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from backbones.card import BackboneCard
from backbones.errors import WeightsError
from ssl_console.cli import output
from ssl_console.cli.meter import Meter
from ssl_console.cli.session import Session
from ssl_console.errors import ExitCode
from ssl_console.estimate import megabytes


@dataclass(frozen=True)
class WeightsLine:
    """The weights of one backbone as the listing has them."""

    backbone: str
    status: str
    path: str | None
    size: int | None
    digest: str | None
    advice: str | None


def list_weights(session: Session, names: tuple[str, ...], *, as_json: bool) -> None:
    """Say which weights are here, and where."""
    rows = [_line(session, card) for card in _cards(session, names)]
    if as_json:
        output.document({"weights": [asdict(row) for row in rows]})
        return
    lines = [
        (row.backbone, row.status, megabytes(row.size) if row.size else "", row.path or "", row.advice or "")
        for row in rows
    ]
    output.table(("backbone", "weights", "size", "file", "way out"), lines, right=frozenset({2}))


def check_weights(session: Session, names: tuple[str, ...]) -> ExitCode:
    """Read every byte of the weights that are here; a missing one counts only if it was asked for by name."""
    code = ExitCode.DONE
    for card in _cards(session, names):
        if not names and session.weights.state(card).status == "missing":
            continue
        try:
            state = session.weights.verified(card)
        except WeightsError as error:
            output.say(f"ssl-console: {error}")
            code = ExitCode.MISSING
        else:
            output.lines([f"{card.name}: whole, {(state.digest or '')[:12]}"])
    return code


def fetch_weights(session: Session, names: tuple[str, ...]) -> ExitCode:
    """Download what is missing; one that fails does not keep the others from being fetched."""
    code = ExitCode.DONE
    for card in _cards(session, names):
        try:
            with Meter(card.name) as meter:
                state = session.weights.fetch(card, meter.update)
        except WeightsError as error:
            output.say(f"ssl-console: {error}")
            code = ExitCode.MISSING
        else:
            output.lines([f"{card.name}: here{f', {state.path}' if state.path else ''}"])
    return code


def _cards(session: Session, names: tuple[str, ...]) -> list[BackboneCard]:
    return session.backbones.select(names) if names else list(session.backbones.cards.values())


def _line(session: Session, card: BackboneCard) -> WeightsLine:
    state = session.weights.state(card)
    path = str(state.path) if state.path else None
    return WeightsLine(card.name, state.status, path, state.size, state.digest, state.advice)
