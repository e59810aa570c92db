"""`backbones` and `weights`: available backbones, the state of their weights, and how to get them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from backbones.catalog.card import BackboneCard
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.errors import WeightsError
from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress_bar import Meter
from ssl_console.operations.add_backbone import fetch_hub_model
from ssl_console.operations.session import Session
from ssl_console.planning.duration import megabytes
from ssl_console.system.command_hints import fetch_weights_command
from ssl_console.system.errors import ConsoleError, ExitCode

UNKNOWN = "—"


@dataclass(frozen=True)
class BackboneLine:
    """One backbone in the listing."""

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
    """Command that fetches the weights; None when they are present."""


def backbones(session: Session, names: tuple[str, ...], *, as_json: bool) -> None:
    """List the backbones of these names and globs, or all cards, with the state of their weights."""
    rows = [_backbone(card, session.weights) for card in _cards(session, names)]
    if as_json:
        problems = [str(problem) for problem in session.backbones.problems]
        stdout.document({"backbones": [asdict(row) for row in rows], "problems": problems})
        return
    head = ("backbone", "method", "architecture", "top-1", "weights", "how to get them")
    stdout.table(head, [_line(row) for row in rows], right=frozenset({3}))


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
        fetch=None if state.status == "present" else fetch_weights_command(card.name),
    )


def _line(row: BackboneLine) -> tuple[str, ...]:
    top1 = UNKNOWN if row.imagenet_top1 is None else f"{row.imagenet_top1:.1f}"
    return row.backbone, row.method, row.architecture, top1, row.weights, row.fetch or ""


@dataclass(frozen=True)
class WeightsLine:
    """Weights of one backbone in the listing."""

    backbone: str
    status: str
    path: str | None
    size: int | None
    digest: str | None
    advice: str | None


def list_weights(session: Session, names: tuple[str, ...], *, as_json: bool) -> None:
    """List which weights are present, and where."""
    rows = []
    for card in _cards(session, names):
        state = session.weights.state(card)
        path = str(state.path) if state.path else None
        rows.append(WeightsLine(card.name, state.status, path, state.size, state.digest, state.advice))
    if as_json:
        stdout.document({"weights": [asdict(row) for row in rows]})
        return
    lines = [
        (row.backbone, row.status, megabytes(row.size) if row.size else "", row.path or "", row.advice or "")
        for row in rows
    ]
    stdout.table(("backbone", "weights", "size", "file", "fix"), lines, right=frozenset({2}))


def check_weights(session: Session, names: tuple[str, ...]) -> ExitCode:
    """Read all bytes of the present weights; missing ones count as an error only if they are named."""
    code = ExitCode.DONE
    for card in _cards(session, names):
        if not names and session.weights.state(card).status == "missing":
            continue
        try:
            state = session.weights.verified(card)
        except WeightsError as error:
            stdout.say(f"ssl-console: {error}")
            code = ExitCode.MISSING
        else:
            stdout.lines([f"{card.name}: verified, {(state.digest or '')[:12]}"])
    return code


def fetch_weights(session: Session, names: tuple[str, ...]) -> ExitCode:
    """Download missing weights; a failure does not stop the remaining downloads."""
    code = ExitCode.DONE
    hub = [name for name in names if session.backbones.is_of_hub(name)]
    others = tuple(name for name in names if name not in hub)
    for subject in (*hub, *(_cards(session, others) if others else ())):
        name = subject if isinstance(subject, str) else subject.name
        try:
            with Meter(name) as meter:
                card = fetch_hub_model(session, name, meter.update) if isinstance(subject, str) else subject
                state = session.weights.fetch(card, meter.update)
        except (WeightsError, ConsoleError) as error:
            stdout.say(f"ssl-console: {error}")
            code = ExitCode.MISSING
        else:
            stdout.lines([f"{card.name}: present{f', {state.path}' if state.path else ''}"])
    return code


def _cards(session: Session, names: tuple[str, ...]) -> list[BackboneCard]:
    return session.backbones.select(names) if names else list(session.backbones.cards.values())
