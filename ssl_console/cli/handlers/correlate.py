"""`correlate`: correlation of ImageNet accuracy with transfer accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl_console.analysis.badged_results import legend, mark_sentences, marked_document
from ssl_console.analysis.imagenet_correlation import Setting, Transfer, published_transfer, transfer
from ssl_console.analysis.statistics.correlation import Coefficient
from ssl_console.cli.handlers.rank import Origin, origin_of
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError


def correlate(session: Session, source: str, *, as_json: bool) -> None:
    """Correlate ImageNet top-1 with every setting. Raises ConsoleError without data to correlate."""
    analyses = _analyses(session, source)
    settings = [setting for one in analyses for setting in one.settings]
    if as_json:
        tasks = [_document(task) for one in analyses for task in one.tasks]
        used = legend(one.badges for setting in settings for one in setting.marked)
        stdout.document({"settings": [_document(setting) for setting in settings], "tasks": tasks, "marks": used})
        return
    head = ("setting", "source", "tasks", "backbones", "Pearson", "95 % interval", "Spearman", "95 % interval")
    stdout.table(head, [_line(setting) for setting in settings], right=frozenset({2, 3, 4, 6}))
    _say_what_is_left_out(settings)
    _say_marks(settings)


def correlation_picture(session: Session, source: str, path: Path) -> None:
    """Write the scatter plot of every setting. Raises ConsoleError as `correlate` does, and for an unusable file
    name.
    """
    from ssl_console.analysis.figures import check_name, save_transfer

    check_name(path)
    settings = [setting for one in _analyses(session, source) for setting in one.settings if setting.points]
    save_transfer(settings, path)
    stdout.say(f"{path} written: {len(settings)} settings")


def _analyses(session: Session, source: str) -> list[Transfer]:
    found = [_of_origin(session, one) for one in _each(origin_of(source))]
    if not any(setting.points for one in found for setting in one.settings):
        raise ConsoleError(
            "no backbone with results has an ImageNet accuracy on its card (facts.imagenet_top1); "
            "`--source paper` shows the published numbers"
        )
    return found


def _each(origin: Origin) -> Sequence[Origin]:
    return ("paper", "mine") if origin == "both" else (origin,)


def _of_origin(session: Session, origin: Origin) -> Transfer:
    if origin == "paper":
        return published_transfer()
    return transfer(session.badged_results(), _imagenet(session))


def _imagenet(session: Session) -> Mapping[str, float]:
    cards = session.backbones.cards
    quoted = {name: card.facts.imagenet_top1 for name, card in cards.items()}
    return {name: value for name, value in quoted.items() if value is not None}


TOO_FEW = "too few"


def _line(setting: Setting) -> tuple[str, ...]:
    found = setting.association
    coefficients = ("—", TOO_FEW, "—", TOO_FEW) if found is None else (*_shown(found.pearson), *_shown(found.spearman))
    return (setting.name, setting.source, str(len(setting.tasks)), str(len(setting.points)), *coefficients)


def _shown(coefficient: Coefficient) -> tuple[str, str]:
    return f"{coefficient.value:+.2f}", f"{coefficient.low:+.2f} to {coefficient.high:+.2f}"


def _say_what_is_left_out(settings: Sequence[Setting]) -> None:
    for setting in settings:
        if setting.incomplete:
            stdout.say(f"{setting.name}: left out, because a task is missing: {', '.join(setting.incomplete)}")
    if any(setting.association is None for setting in settings):
        stdout.say("— too few: fewer than four backbones with an ImageNet accuracy, or all have the same score")


def _say_marks(settings: Sequence[Setting]) -> None:
    marked = dict.fromkeys(one for setting in settings for one in setting.marked)
    for sentence in mark_sentences(list(marked)):
        stdout.say(sentence)


def _document(setting: Setting) -> dict[str, object]:
    found = setting.association
    return {
        "name": setting.name,
        "source": setting.source,
        "tasks": list(setting.tasks),
        "n": len(setting.points),
        "pearson": None if found is None else _coefficient(found.pearson),
        "spearman": None if found is None else _coefficient(found.spearman),
        "points": {name: {"imagenet": x, "transfer": y} for name, (x, y) in setting.points.items()},
        "incomplete": list(setting.incomplete),
        "doubts": marked_document(setting.marked),
    }


def _coefficient(coefficient: Coefficient) -> dict[str, float]:
    return {"value": coefficient.value, "ci_low": coefficient.low, "ci_high": coefficient.high}
