"""`add backbone`: look into a checkpoint, say what was found and what will be dropped, write the card."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from backbones.catalog.card import BackboneCard
from backbones.inspection.proposal import Inspection
from ssl_console.cli.output import stdout
from ssl_console.operations.add_backbone import (
    BackboneOptions,
    card_of,
    card_path,
    check,
    format_inspection,
    look_into,
    proposal_line,
    write_card,
)
from ssl_console.operations.add_dataset import card_place, dataset_name, forget_draft, look_through, write_dataset
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError, ExitCode, MissingInputs
from tasks.datasets.importing.messages import DatasetProblem, ImportOptions, ImportProgress, ImportResult


def add_backbone(session: Session, said: BackboneOptions, *, dry_run: bool, as_json: bool) -> ExitCode:
    """Write a card for the checkpoint; with `dry_run`, only say what it would be.

    What only the user can decide is asked at a terminal; elsewhere it is an error that names the choices.
    """
    check(said)
    card_path(session.workspace, said.card_name, replace=said.replace or dry_run)
    if not as_json:
        stdout.say(f"looking into {said.path} ...")
    found = look_into(said)
    if as_json and found.chosen is None:
        stdout.document({"inspection": found.model_dump(mode="json"), "card": None, "path": None})
        return ExitCode.MISSING if found.problem else ExitCode.USAGE
    found = _ask(found) if found.chosen is None and not as_json else found
    if not as_json:
        stdout.lines(format_inspection(found, said))
    card = card_of(said, found)
    path = None if dry_run else write_card(session.workspace, card, replace=said.replace)
    if as_json:
        content = {"inspection": found, "card": card}
        plain = {name: model.model_dump(mode="json") for name, model in content.items()}
        stdout.document({**plain, "path": None if path is None else str(path)})
    else:
        stdout.lines(_write_backbone(card, None if path is None else str(path)))
    return ExitCode.DONE


def _ask(found: Inspection) -> Inspection:
    """Have the user choose between exact proposals; as it is where nobody can be asked or nothing is to choose."""
    options = [other for other in found.others if other.exact]
    if found.question is None or not options or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return found
    stdout.say(f"{found.path}: several ways to load it fit:")
    for number, option in enumerate(options, start=1):
        stdout.say(f"  {number}  {proposal_line(option)}")
    sys.stderr.write(f"which one (1 to {len(options)})? ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    if not answer.isdecimal() or not 1 <= int(answer) <= len(options):
        raise ConsoleError(f"{answer!r} is none of 1 to {len(options)}: nothing was written")
    chosen = options[int(answer) - 1]
    rest = tuple(option for option in options if option is not chosen)
    return found.model_copy(update={"chosen": chosen, "question": None, "reason": "you chose it", "others": rest})


def _write_backbone(card: BackboneCard, path: str | None) -> list[str]:
    if path is None:
        return ["nothing was written (--dry-run)"]
    return [f"{card.name} is in {path}", f"check it: ssl-console doctor {card.name}"]


@dataclass(frozen=True)
class AddBackboneRequest:
    """What the command line said."""

    path: Path
    name: str | None
    wish: ImportOptions
    replace: bool
    dry_run: bool


def add_dataset(session: Session, request: AddBackboneRequest, *, as_json: bool) -> ExitCode:
    """Write the card; with `dry_run`, only say what was found. 2 for a question, 3 for data that cannot be used."""
    name = dataset_name(request.path, request.name)
    card_place(session.workspace, name, replace=request.replace or request.dry_run)
    try:
        brought = look_through(session.workspace, request.path, name, request.wish, _progress)
    except DatasetProblem as error:
        raise (ConsoleError if error.question else MissingInputs)(str(error)) from error
    path = None
    if request.dry_run:
        forget_draft(session.workspace, name)
    else:
        path = write_dataset(session.workspace, brought, replace=request.replace)
    if as_json:
        stdout.document({**brought.model_dump(mode="json"), "path": None if path is None else str(path)})
    else:
        stdout.lines([*format_import(brought), *_write_dataset(name, path)])
    return ExitCode.DONE


def format_import(brought: ImportResult) -> list[str]:
    """What was found, a line each."""
    card = brought.card
    counts = ", ".join(f"{count:,} {split}" for split, count in card.images.items())
    labels = "several labels per image" if card.reader_arguments.get("multi_label") else "one label per image"
    return [
        f"layout    {brought.layout}",
        f"images    {counts}",
        f"classes   {card.classes}, {labels}, measured by {card.metric}",
        f"manifest  {str(card.manifest)[:16]}",
        *(f"note      {note}" for note in brought.notes),
        *(f"WARNING   {warned.words}" for warned in brought.warnings),
    ]


def _write_dataset(name: str, path: Path | None) -> list[str]:
    if path is None:
        return ["nothing was written (--dry-run)"]
    return [f"{name} is in {path}", f"measure it: ssl-console run -b BACKBONE -t linear/{name}"]


def _progress(progress: ImportProgress) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rlooking at images: {progress.done:,} of {progress.total:,} ")
        sys.stderr.write("\n" if progress.done == progress.total else "")
        sys.stderr.flush()
