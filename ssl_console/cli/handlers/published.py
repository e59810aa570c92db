"""`doctor --published`: measure published cells and compare the scores."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from ssl_console.cli.handlers.backbones import fetch_weights
from ssl_console.cli.handlers.run import RunOptions, RunSelection, run
from ssl_console.cli.handlers.tasks import fetch_data
from ssl_console.cli.output import stdout
from ssl_console.operations.published_check import CELLS, CellVerdict, PublishedCell, judge_cells
from ssl_console.operations.session import Session
from ssl_console.system.errors import ExitCode, MissingInputs
from tasks.datasets.presence import presence

MARKS = {True: "ok  ", False: "BAD "}


def check_published(session: Session, *, as_json: bool, cells: Sequence[PublishedCell] = CELLS) -> ExitCode:
    """Measure the missing cells; 0 when every published score is reproduced, 1 otherwise.

    Raises MissingInputs where weights or data cannot be fetched.
    """
    backbones = tuple(dict.fromkeys(cell.backbone for cell in cells))
    tasks = tuple(dict.fromkeys(cell.task for cell in cells))
    stdout.say(f"{len(cells)} published scores: {', '.join(backbones)} on {', '.join(tasks)}")
    with redirect_stdout(sys.stderr):  # only the result goes to standard output
        _fetch(session, backbones, tasks)
        for preset in dict.fromkeys(cell.preset for cell in cells):
            run(session, RunSelection(backbones=backbones, tasks=tasks, preset=preset), RunOptions())
    verdicts = judge_cells(cells, session.results())
    if as_json:
        stdout.document({"published": [_document(verdict) for verdict in verdicts]})
    else:
        _show(verdicts)
    return ExitCode.DONE if all(verdict.agrees for verdict in verdicts) else ExitCode.RUN_FAILED


def _fetch(session: Session, backbones: Sequence[str], tasks: Sequence[str]) -> None:
    """Fetch missing inputs; failures have been printed."""
    absent = [
        card.name for card in session.backbones.select(backbones) if session.weights.state(card).status != "present"
    ]
    cards = {spec.dataset: session.tasks.card_of(spec) for spec in session.tasks.select(tasks)}
    missing = [name for name, card in cards.items() if presence(card, session.data_root).status != "present"]
    fetches = [(fetch_weights, name) for name in absent] + [(fetch_data, name) for name in missing]
    failed = next((name for fetch, name in fetches if fetch(session, (name,)) is not ExitCode.DONE), None)
    if failed is not None:
        raise MissingInputs(
            f"{failed} could not be fetched, so nothing was measured; this check requires network access"
        )


def _show(verdicts: Sequence[CellVerdict]) -> None:
    width = max(len(verdict.cell.backbone) for verdict in verdicts)
    stdout.lines([f"{MARKS[one.agrees]} {one.cell.backbone:<{width}} {one.words}" for one in verdicts])
    agreeing = sum(verdict.agrees for verdict in verdicts)
    stdout.lines([f"{agreeing} of {len(verdicts)} published scores are reproduced on this machine"])


def _document(verdict: CellVerdict) -> dict[str, object]:
    cell, result = verdict.cell, verdict.result
    return {
        "backbone": cell.backbone,
        "task": cell.task,
        "preset": cell.preset,
        "published": cell.expected,
        "allowed": cell.tolerance,
        "source": cell.source,
        "measured": None if result is None else result.value,
        "difference": verdict.difference,
        "run_id": None if result is None else result.run_id,
        "agrees": verdict.agrees,
    }
