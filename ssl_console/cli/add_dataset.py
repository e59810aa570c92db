"""`add dataset`: recognise a layout, decide splits, look at every image, write card and index."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ssl_console.cli import output
from ssl_console.cli.session import Session
from ssl_console.errors import ConsoleError, ExitCode, MissingInputs
from ssl_console.own_dataset import card_place, dataset_name, forget_draft, look_through, write_dataset
from tasks.own_data.brought import Brought, DatasetProblem, Progress
from tasks.own_data.wish import Wish


@dataclass(frozen=True)
class Request:
    """What the command line said."""

    path: Path
    name: str | None
    wish: Wish
    replace: bool
    dry_run: bool


def add_dataset(session: Session, request: Request, *, as_json: bool) -> ExitCode:
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
        output.document({**brought.model_dump(mode="json"), "path": None if path is None else str(path)})
    else:
        output.lines([*in_words(brought), *_written(name, path)])
    return ExitCode.DONE


def in_words(brought: Brought) -> list[str]:
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


def _written(name: str, path: Path | None) -> list[str]:
    if path is None:
        return ["nothing was written (--dry-run)"]
    return [f"{name} is in {path}", f"measure it: ssl-console run -b BACKBONE -t linear/{name}"]


def _progress(progress: Progress) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rlooking at images: {progress.done:,} of {progress.total:,} ")
        sys.stderr.write("\n" if progress.done == progress.total else "")
        sys.stderr.flush()
