"""`multiverse`: which backbone is ahead over all reasonable protocols, from stored features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssl_console.analysis.multiverse import (
    BackboneSpread,
    MultiversePair,
    curve_text,
    multiverse_document,
    pair_of,
    pairs_of,
    percent,
    specification_curve,
    spreads,
)
from ssl_console.cli.output import stdout
from ssl_console.operations.multiverse import multiverse, read_multiverse_card
from ssl_console.operations.session import Session
from tasks.features.requests import Advance, MultiverseCard, MultiverseResult, Phase

HEAD = ("backbone", "first in", "mean", "lowest", "highest", "ranks")
PAIR_HEAD = ("backbone", "against", "ahead in", "95 % interval", "ties", "loses where")
COLUMNS = 100
"""Width of the curve where standard output is no terminal."""


def show_multiverse(
    session: Session,
    backbones: Sequence[str],
    dataset: str,
    card_file: Path | None,
    seeds: Sequence[int],
    figure: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print backbones, pairs and the curve of the first two. Raises ConsoleError, MissingInputs, OperationFailed."""
    card = MultiverseCard() if card_file is None else read_multiverse_card(card_file)
    if seeds:
        card = card.with_seeds(tuple(dict.fromkeys(seeds)))
    if figure is not None:
        from ssl_console.analysis.figures import check_name

        check_name(figure)
    result = multiverse(session, backbones, dataset, card, _progress)
    if as_json:
        stdout.document(multiverse_document(result))
    else:
        _print(result, _shown_pair(result, backbones))
    if figure is not None:
        _draw(result, _shown_pair(result, backbones), figure)


def _progress(report: Phase | Advance) -> None:
    if isinstance(report, Phase) and report.total:
        stdout.say(f"{report.total} evaluations of stored features")


def _shown_pair(result: MultiverseResult, wanted: Sequence[str]) -> MultiversePair:
    """The first two backbones that were named, else the two that lead most often."""
    measured = {one.backbone for one in result.backbones}
    named = [name for name in dict.fromkeys(wanted) if name in measured]
    leading = [one.backbone for one in spreads(result)]
    one, two = (named if len(named) == 2 else leading)[:2]
    return pair_of(result, one, two)


def _print(result: MultiverseResult, shown: MultiversePair) -> None:
    stdout.table(HEAD, [_backbone_row(one) for one in spreads(result)], right=frozenset(range(1, 6)))
    stdout.lines([""])
    stdout.table(PAIR_HEAD, [_pair_row(one) for one in pairs_of(result)], right=frozenset({2, 4}))
    curve = specification_curve(result, shown.first, shown.second)
    columns = stdout.terminal_columns() or COLUMNS
    stdout.lines(["", *curve_text(curve, shown.first, shown.second, columns), "", shown.sentence])
    for note in result.notes:
        stdout.say(note)
    stdout.say(
        f"{result.metric} on {result.test_images} test images of {result.dataset}; classifiers choose their strength "
        "on validation images; intervals are over other test images (coverage 89 to 96 % in simulations); protocols "
        "are not independent"
    )


def _backbone_row(one: BackboneSpread) -> tuple[str, ...]:
    scores = (f"{one.mean:.1f}", f"{one.lowest:.1f}", f"{one.highest:.1f}")
    return one.backbone, percent(one.first), *scores, f"{one.best_rank:g} to {one.worst_rank:g}"


def _pair_row(one: MultiversePair) -> tuple[str, ...]:
    interval = f"{percent(one.low)} to {percent(one.high)}"
    where = ", ".join(map(str, one.reversed_by))
    return one.first, one.second, percent(one.share), interval, str(one.ties), where


def _draw(result: MultiverseResult, shown: MultiversePair, path: Path) -> None:
    from ssl_console.analysis.figures import save_specification_curve

    curve = specification_curve(result, shown.first, shown.second)
    save_specification_curve(curve, (shown.first, shown.second), path, [shown.sentence, *result.notes])
    stdout.say(f"{path} written")
