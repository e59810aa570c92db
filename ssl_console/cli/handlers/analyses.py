"""`correlate` and `multiverse`: analyses over many backbones and protocols, from stored results and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from ssl_console.analysis.badged_results import legend, mark_sentences, marked_document
from ssl_console.analysis.correlations import (
    ScoreCorrelation,
    Setting,
    Transfer,
    known_scores,
    mean_by_protocol,
    published_transfer,
    score_correlations,
    transfer,
)
from ssl_console.analysis.layer_curves import PROTOCOL, LayerCurve, curves_of
from ssl_console.analysis.multiverse import (
    MultiversePair,
    curve_text,
    multiverse_document,
    pair_of,
    pairs_of,
    percent,
    specification_curve,
    spreads,
)
from ssl_console.analysis.statistics.correlation import Coefficient
from ssl_console.cli.handlers.rank import origin_of
from ssl_console.cli.handlers.results import show_pictures
from ssl_console.cli.output import stdout
from ssl_console.operations.multiverse import multiverse, read_multiverse_card
from ssl_console.operations.patch_maps import patch_maps
from ssl_console.operations.session import Session
from ssl_console.operations.similarity import Measure, similarity_matrix
from ssl_console.system.errors import ConsoleError
from tasks.features.requests import Advance, MultiverseCard, MultiverseResult, Phase

CORRELATION_HEAD = ("score", "task", "backbones", "Spearman", "95 % interval", "weighted tau")
CURVE_HEAD = ("task", "backbone", "block", "depth", "pooling", "score", "95 % interval", "validation", "")
MULTIVERSE_HEAD = ("backbone", "first in", "mean", "lowest", "highest", "ranks")
PAIR_HEAD = ("backbone", "against", "ahead in", "95 % interval", "ties", "loses where")
COLUMNS = 100
"""Width of the curve where standard output is no terminal."""


def correlate_score(session: Session, name: str, *, as_json: bool) -> None:
    """Print the correlations of a score. Raises ConsoleError where no two backbones have it and a result."""
    results = session.badged_results()
    found = score_correlations(results, name, session.outputs.metrics)
    if not found:
        known = ", ".join(known_scores(results, session.outputs.metrics))
        raise ConsoleError(
            f"no two backbones have {name!r} and a result on the same dataset: "
            + (f"available: {known}" if known else "run transferability/... and other tasks first")
        )
    if as_json:
        stdout.document({"correlations": [_label_free_document(one) for one in found], "protocols": _means(found)})
        return
    stdout.table(CORRELATION_HEAD, [_label_free_line(one) for one in found], right=frozenset({2, 3, 5}))
    for protocol, mean in _means(found).items():
        text = f"{protocol}: mean Spearman {mean['spearman']:+.2f}, weighted tau {mean['weighted_tau']:+.2f}"
        stdout.say(f"{text} over {mean['tasks']} tasks")
    if any(one.spearman is None for one in found):
        stdout.say("— too few: fewer than four backbones, or all have the same score")
    for sentence in mark_sentences(list(dict.fromkeys(mark for one in found for mark in one.marked))):
        stdout.say(sentence)


def _label_free_line(one: ScoreCorrelation) -> tuple[str, ...]:
    order = one.spearman
    shown = ("—", "too few") if order is None else (f"{order.value:+.2f}", f"{order.low:+.2f} to {order.high:+.2f}")
    tau = "—" if one.weighted_tau is None else f"{one.weighted_tau:+.2f}"
    return (one.score, one.task, str(len(one.points)), *shown, tau)


def _means(found: list[ScoreCorrelation]) -> dict[str, dict[str, float]]:
    return {
        protocol: {"tasks": tasks, "spearman": order, "weighted_tau": tau}
        for protocol, (tasks, order, tau) in mean_by_protocol(found).items()
    }


def _label_free_document(one: ScoreCorrelation) -> dict[str, object]:
    order = one.spearman
    bounds = None if order is None else {"value": order.value, "ci_low": order.low, "ci_high": order.high}
    return {
        "score": one.score,
        "task": one.task,
        "n": len(one.points),
        "spearman": bounds,
        "weighted_tau": one.weighted_tau,
        "points": {name: {"score": x, "result": y} for name, (x, y) in one.points.items()},
        "doubts": marked_document(one.marked),
    }


def similarity(session: Session, dataset: str, backbones: Sequence[str], *, as_json: bool) -> None:
    """Print CKA and mutual k-NN of every pair. Raises ConsoleError where fewer than two backbones have features."""
    matrix = similarity_matrix(session, dataset, backbones)
    if as_json:
        about = {"dataset": matrix.dataset, "split": matrix.split, "images": matrix.images}
        matrices = {measure: matrix.values(measure) for measure in get_args(Measure)}
        pairs = [asdict(one) for one in matrix.pairs]
        stdout.document({**about, "backbones": list(matrix.backbones), "matrices": matrices, "pairs": pairs})
        return
    rows = [
        (
            one.first,
            one.second,
            f"{one.cka:.3f}",
            f"{one.cka_low:.3f} to {one.cka_high:.3f}",
            f"{one.mutual_knn:.3f}",
            f"{one.knn_low:.3f} to {one.knn_high:.3f}",
        )
        for one in matrix.pairs
    ]
    head = ("backbone", "and", "CKA", "95 % interval", "mutual k-NN", "95 % interval")
    stdout.table(head, rows, right=frozenset({2, 4}))
    stdout.say(f"{matrix.images} images of {matrix.dataset}/{matrix.split}; chance of mutual k-NN: {matrix.chance:.3f}")


def layer_curves(session: Session, datasets: Sequence[str], backbones: Sequence[str], *, as_json: bool) -> None:
    """Print the curves of own results. Raises ConsoleError where there are none."""
    wanted = [
        one
        for one in session.badged_results()
        if one.source == "mine"
        and one.protocol_name == PROTOCOL
        and (not datasets or one.dataset_name in datasets)
        and (not backbones or one.backbone in backbones)
    ]
    records = [record for one in wanted if (record := session.record(one.run_id)) is not None]
    curves = curves_of(records)
    if not curves:
        raise ConsoleError(
            "no layer curve was measured for these backbones: `ssl-console run -b BACKBONE -t layers/DATASET`"
        )
    if as_json:
        stdout.document({"curves": [asdict(curve) for curve in curves]})
        return
    stdout.table(CURVE_HEAD, [row for curve in curves for row in _rows(curve)], right=frozenset({2, 3, 5, 7}))


def _rows(curve: LayerCurve) -> list[tuple[str, ...]]:
    return [
        (
            curve.task,
            curve.backbone,
            str(point.block),
            f"{point.depth:.0f} %",
            point.pooling,
            f"{point.score:.1f}",
            f"{point.low:.1f} to {point.high:.1f}",
            f"{point.validation_score:.1f}",
            "chosen" if (point.block, point.pooling) == (curve.block, curve.pooling) else "",
        )
        for point in curve.points
    ]


def show_patch_maps(session: Session, dataset: str, backbones: Sequence[str], output: Path, *, as_json: bool) -> None:
    """Write the picture, and print it. Raises ConsoleError where there are no results to draw, or no file is made."""
    maps = patch_maps(session.workspace, session.results(), dataset, backbones)
    try:
        maps.save(output)
    except OSError as error:
        raise ConsoleError(f"{output} cannot be written ({error.strerror}): name another file with -o") from error
    if as_json:
        stdout.document({"task": maps.task, "backbones": list(maps.backbones), "picture": str(output)})
        return
    stdout.lines([f"columns  image, {', '.join(maps.backbones)}"])
    show_pictures([output])


def correlate(session: Session, source: str, *, as_json: bool) -> None:
    """Correlate ImageNet top-1 with every setting. Raises ConsoleError without data to correlate."""
    analyses = _analyses(session, source)
    settings = [setting for one in analyses for setting in one.settings]
    if as_json:
        tasks = [_correlation_document(task) for one in analyses for task in one.tasks]
        used = legend(one.badges for setting in settings for one in setting.marked)
        stdout.document(
            {"settings": [_correlation_document(setting) for setting in settings], "tasks": tasks, "marks": used}
        )
        return
    head = ("setting", "source", "tasks", "backbones", "Pearson", "95 % interval", "Spearman", "95 % interval")
    stdout.table(head, [_correlation_line(setting) for setting in settings], right=frozenset({2, 3, 4, 6}))
    for setting in settings:
        if setting.incomplete:
            stdout.say(f"{setting.name}: left out, because a task is missing: {', '.join(setting.incomplete)}")
    if any(setting.association is None for setting in settings):
        stdout.say("— too few: fewer than four backbones with an ImageNet accuracy, or all have the same score")
    for sentence in mark_sentences(list(dict.fromkeys(one for setting in settings for one in setting.marked))):
        stdout.say(sentence)


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
    origin = origin_of(source)
    found = [published_transfer()] if origin in {"paper", "both"} else []
    if origin in {"mine", "both"}:
        quoted = {name: card.facts.imagenet_top1 for name, card in session.backbones.cards.items()}
        imagenet = {name: value for name, value in quoted.items() if value is not None}
        found.append(transfer(session.badged_results(), imagenet))
    if not any(setting.points for one in found for setting in one.settings):
        raise ConsoleError(
            "no backbone with results has an ImageNet accuracy on its card (facts.imagenet_top1); "
            "`--source paper` shows the published numbers"
        )
    return found


TOO_FEW = "too few"


def _correlation_line(setting: Setting) -> tuple[str, ...]:
    found = setting.association
    coefficients = ("—", TOO_FEW, "—", TOO_FEW) if found is None else (*_shown(found.pearson), *_shown(found.spearman))
    return (setting.name, setting.source, str(len(setting.tasks)), str(len(setting.points)), *coefficients)


def _shown(coefficient: Coefficient) -> tuple[str, str]:
    return f"{coefficient.value:+.2f}", f"{coefficient.low:+.2f} to {coefficient.high:+.2f}"


def _correlation_document(setting: Setting) -> dict[str, object]:
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
    rows = []
    for one in spreads(result):
        scores = (f"{one.mean:.1f}", f"{one.lowest:.1f}", f"{one.highest:.1f}")
        rows.append((one.backbone, percent(one.first), *scores, f"{one.best_rank:g} to {one.worst_rank:g}"))
    stdout.table(MULTIVERSE_HEAD, rows, right=frozenset(range(1, 6)))
    stdout.lines([""])
    pairs = []
    for pair in pairs_of(result):
        interval, where = f"{percent(pair.low)} to {percent(pair.high)}", ", ".join(map(str, pair.reversed_by))
        pairs.append((pair.first, pair.second, percent(pair.share), interval, str(pair.ties), where))
    stdout.table(PAIR_HEAD, pairs, right=frozenset({2, 4}))
    curve = specification_curve(result, shown.first, shown.second)
    columns = stdout.terminal_columns() or COLUMNS
    stdout.lines(["", *curve_text(curve, shown.first, shown.second, columns), "", shown.sentence])
    for note in result.notes:
        stdout.say(note)
    stdout.say(
        f"{result.metric} on {result.test_images} test images of {result.dataset}; classifiers choose their strength "
        "on validation images; intervals are over other test images (coverage 92 to 98 % in simulations); protocols "
        "are not independent"
    )


def _draw(result: MultiverseResult, shown: MultiversePair, path: Path) -> None:
    from ssl_console.analysis.figures import save_specification_curve

    curve = specification_curve(result, shown.first, shown.second)
    save_specification_curve(curve, (shown.first, shown.second), path, [shown.sentence, *result.notes])
    stdout.say(f"{path} written")
