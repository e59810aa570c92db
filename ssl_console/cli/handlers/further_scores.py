"""`rank --optimism` and `rank --shifts`: further scores of own results, next to those that are ranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backbones.io.card_files import match
from ssl_console.analysis.badged_results import legend
from ssl_console.analysis.optimism import (
    ABOUT,
    NOTHING_CHOSEN,
    Optimism,
    ProtocolOptimism,
    WithoutOptimism,
    audit,
    by_protocol,
    optimism_document,
)
from ssl_console.analysis.shift_scores import ShiftScores, shift_document, shift_scores, shifts_of
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

PROTOCOL_HEAD = ("protocol", "results", "lacking", "median", "largest", "other leader", "pairs swapped")
HEAD = ("task", "variant", "backbone", "seed", "score", "chosen without test", "best on test", "optimism", "choice")


@dataclass(frozen=True)
class ResultSelection:
    """Own results by suite, backbones and tasks; empty: all."""

    suite: str | None = None
    backbones: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def show_optimism(session: Session, selection: ResultSelection, *, as_json: bool) -> None:
    """Print the optimism of every protocol and result. Raises UnknownName for names without results."""
    rows = selected_results(session, selection)
    known, unknown = audit(rows, {row.run_id: session.outputs.record(row.run_id) for row in rows})
    if as_json:
        stdout.document(optimism_document(known, unknown))
        return
    if known:
        stdout.table(
            PROTOCOL_HEAD, [_protocol_row(one) for one in by_protocol(known, unknown)], right=frozenset(range(1, 7))
        )
        stdout.lines([""])
        stdout.table(HEAD, [_row(one) for one in known], right=frozenset({3, 4, 5, 6, 7}))
        _say_marks(one.badges for one in known)
        stdout.say(ABOUT)
    _say_what_lacks(unknown)
    if not rows:
        stdout.say("no results yet: start with `ssl-console demo` or `ssl-console run`")


def show_shifts(session: Session, selection: ResultSelection, *, as_json: bool) -> None:
    """Print a table for each task with scores by shift. Raises UnknownName for names without results."""
    rows = selected_results(session, selection)
    records = {row.run_id: session.outputs.record(row.run_id) for row in rows}
    scores = shift_scores(rows, {run_id: record.metrics for run_id, record in records.items() if record is not None})
    if as_json:
        stdout.document(shift_document(scores))
        return
    by_task: dict[tuple[str, str], list[ShiftScores]] = {}
    for one in scores:
        by_task.setdefault((one.result.task, one.result.variant), []).append(one)
    for (task, variant), of_task in by_task.items():
        shifts = shifts_of(of_task)
        head = ("backbone", "seed", f"unshifted {of_task[0].metric}", *shifts, "drop")
        cells = [(one.result.backbone, str(one.result.seed), *one.cells(shifts)) for one in of_task]
        stdout.lines([f"{task} [{variant}]"])
        stdout.table(head, cells, right=frozenset(range(1, len(head))))
    _say_marks(one.result.badges for one in scores)
    if not scores:
        stdout.say("no result has scores by shift: run `robustness` tasks, e.g. `ssl-console run -t robustness/shapes`")


def selected_results(session: Session, selection: ResultSelection) -> list[Result]:
    """Own results of a selection. Raises UnknownName for a name or glob without results."""
    rows = [row for row in session.badged_results() if row.source == "mine"]
    if selection.suite is not None:
        wanted = {(spec.name, spec.variant) for spec in session.tasks.select(suite=selection.suite)}
        rows = [row for row in rows if (row.task, row.variant) in wanted]
    for patterns, field, kind in (
        (selection.tasks, "task", "task with results"),
        (selection.backbones, "backbone", "measured backbone"),
    ):
        if patterns:
            names = set(match(patterns, dict.fromkeys(getattr(row, field) for row in rows), kind))
            rows = [row for row in rows if getattr(row, field) in names]
    return rows


def _protocol_row(one: ProtocolOptimism) -> tuple[str, ...]:
    return (
        one.protocol,
        str(one.results),
        str(one.without) if one.without else "",
        f"{one.median:+.2f}",
        f"{one.largest:+.2f}",
        f"{one.other_leader} of {one.columns}" if one.columns else "—",
        f"{one.swapped} of {one.pairs}" if one.pairs else "—",
    )


def _row(one: Optimism) -> tuple[str, ...]:
    choice = one.choice if one.candidates is None else f"{one.choice} (of {one.candidates})"
    scores = (
        f"{one.value:.2f}{marks(one.badges)}",
        f"{one.selected:.2f}",
        f"{one.on_test:.2f}",
        f"{one.inflation:+.2f}",
    )
    return (one.task, one.variant, one.backbone, str(one.seed), *scores, choice)


def _say_marks(badges: Iterable[Sequence[str]]) -> None:
    for mark, meaning in legend(badges).items():
        stdout.say(f"{mark} {meaning}")


def _say_what_lacks(unknown: Sequence[WithoutOptimism]) -> None:
    """One line for each reason and protocol."""
    for (reason, protocol), count in sorted(Counter((one.reason, one.protocol) for one in unknown).items()):
        results = "result" if count == 1 else "results"
        verb = "nothing to inflate" if reason == NOTHING_CHOSEN else "optimism unknown"
        stdout.say(f"{protocol}: {verb} in {count} {results}: {reason}")
