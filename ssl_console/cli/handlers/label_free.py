"""`correlate --with`: rank correlation of a score that needs no training with the results of this workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from ssl_console.analysis.badged_results import mark_sentences, marked_document
from ssl_console.analysis.layer_curves import PROTOCOL, LayerCurve, curves_of
from ssl_console.analysis.score_correlation import (
    ScoreCorrelation,
    known_scores,
    mean_by_protocol,
    score_correlations,
)
from ssl_console.cli.handlers.results import show_pictures
from ssl_console.cli.output import stdout
from ssl_console.operations.patch_maps import patch_maps
from ssl_console.operations.session import Session
from ssl_console.operations.similarity import Measure, similarity_matrix
from ssl_console.system.errors import ConsoleError

HEAD = ("score", "task", "backbones", "Spearman", "95 % interval", "weighted tau")
CURVE_HEAD = ("task", "backbone", "block", "depth", "pooling", "score", "95 % interval", "validation", "")


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
        stdout.document({"correlations": [_document(one) for one in found], "protocols": _means(found)})
        return
    stdout.table(HEAD, [_line(one) for one in found], right=frozenset({2, 3, 5}))
    for protocol, mean in _means(found).items():
        text = f"{protocol}: mean Spearman {mean['spearman']:+.2f}, weighted tau {mean['weighted_tau']:+.2f}"
        stdout.say(f"{text} over {mean['tasks']} tasks")
    if any(one.spearman is None for one in found):
        stdout.say("— too few: fewer than four backbones, or all have the same score")
    for sentence in mark_sentences(list(dict.fromkeys(mark for one in found for mark in one.marked))):
        stdout.say(sentence)


def _line(one: ScoreCorrelation) -> tuple[str, ...]:
    order = one.spearman
    shown = ("—", "too few") if order is None else (f"{order.value:+.2f}", f"{order.low:+.2f} to {order.high:+.2f}")
    tau = "—" if one.weighted_tau is None else f"{one.weighted_tau:+.2f}"
    return (one.score, one.task, str(len(one.points)), *shown, tau)


def _means(found: list[ScoreCorrelation]) -> dict[str, dict[str, float]]:
    return {
        protocol: {"tasks": tasks, "spearman": order, "weighted_tau": tau}
        for protocol, (tasks, order, tau) in mean_by_protocol(found).items()
    }


def _document(one: ScoreCorrelation) -> dict[str, object]:
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
        raise ConsoleError("no layer curve was measured of these: `ssl-console run -b BACKBONE -t layers/DATASET`")
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
