"""`add`, `edit`, `rename`, `copy` and `remove`: the user's own backbones and datasets, as cards."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from backbones.inspection.proposal import Inspection
from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress_bar import Meter
from ssl_console.operations.add_backbone import (
    BackboneOptions,
    card_path,
    check_options,
    format_inspection,
    inspect_checkpoint,
    local_options,
    make_card,
    proposal_line,
    write_card,
)
from ssl_console.operations.add_dataset import (
    dataset_card_path,
    dataset_name,
    discard_draft,
    format_import,
    scan_dataset,
    write_dataset,
)
from ssl_console.operations.backbone_cards import CardChange, copy_card, edit_card, remove_card, rename_card
from ssl_console.operations.option_texts import architecture_arguments
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError, ExitCode, MissingInputs
from tasks.datasets.importing.messages import DatasetProblem, ImportOptions, ImportProgress


def add_backbone(session: Session, options: BackboneOptions, *, dry_run: bool, as_json: bool) -> ExitCode:
    """Write a card for the checkpoint; with `dry_run`, only print it. A model of the hub is fetched first.

    Ambiguities are resolved by questions at a terminal; elsewhere they are an error that names the choices.
    """
    check_options(options)
    if options.hub_name is not None:
        with Meter(options.hub_name) as meter:
            options = local_options(session, options, meter.update)
    card_path(session.workspace, options.card_name, replace=options.replace or dry_run)
    if not as_json:
        stdout.say(f"inspecting {options.path} ...")
    inspection = inspect_checkpoint(options)
    if as_json and inspection.chosen is None:
        stdout.document({"inspection": inspection.model_dump(mode="json"), "card": None, "path": None})
        return ExitCode.MISSING if inspection.problem else ExitCode.USAGE
    if not as_json:
        options, inspection = _decide(options, inspection)
        stdout.lines(format_inspection(inspection, options))
        if not dry_run:
            _confirm_assumptions(inspection)
    card = make_card(options, inspection)
    path = None if dry_run else write_card(session.workspace, card, replace=options.replace)
    if as_json:
        content = {"inspection": inspection, "card": card}
        plain = {name: model.model_dump(mode="json") for name, model in content.items()}
        stdout.document({**plain, "path": None if path is None else str(path)})
    else:
        stdout.lines(_written(card.name, path, f"check it: ssl-console doctor {card.name}"))
    return ExitCode.DONE


def _decide(options: BackboneOptions, inspection: Inspection) -> tuple[BackboneOptions, Inspection]:
    """Resolve ambiguities by questions, at a terminal; unchanged elsewhere."""
    while inspection.chosen is None and _is_terminal():
        asked = next((other.asks for other in inspection.others if other.exact and other.asks), None)
        leftovers = next((other.undecided for other in inspection.others if other.undecided), ())
        if asked is not None:
            name, suggestion = asked
            answer = _ask(f"{inspection.question}\n{name} [{suggestion}]? ") or str(suggestion)
            given = {**options.arguments, **architecture_arguments([f"{name}={answer}"])}
            options = replace(options, arguments=given)
        elif leftovers:
            if _ask(f"{inspection.problem}\nare {', '.join(leftovers)} irrelevant for the features (y or n)? ") != "y":
                break
            options = replace(options, drop=(*options.drop, *leftovers))
        elif inspection.question is not None and any(other.exact for other in inspection.others):
            return options, _choose_proposal(inspection)
        else:
            break
        inspection = inspect_checkpoint(options)
    return options, inspection


def _confirm_assumptions(inspection: Inspection) -> None:
    """At a terminal, ask for confirmation of assumed values. Raises ConsoleError for a no."""
    assumed = inspection.chosen.assumptions if inspection.chosen else ()
    if assumed and _is_terminal() and _ask("write the card with the assumed values (y or n) [y]? ") not in ("", "y"):
        raise ConsoleError("nothing was written: set the known values by --arg, --mean, --std, --size or --pooling")


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower()


def _choose_proposal(inspection: Inspection) -> Inspection:
    """Let the user choose between exact proposals."""
    proposals = [other for other in inspection.others if other.exact]
    stdout.say(f"{inspection.path}: several architectures match:")
    for number, option in enumerate(proposals, start=1):
        stdout.say(f"  {number}  {proposal_line(option)}")
    answer = _ask(f"which one, 1 to {len(proposals)}? ")
    if not answer.isdecimal() or not 1 <= int(answer) <= len(proposals):
        raise ConsoleError(f"{answer!r} is not in 1 to {len(proposals)}: nothing was written")
    chosen = proposals[int(answer) - 1]
    rest = tuple(option for option in proposals if option is not chosen)
    return inspection.model_copy(update={"chosen": chosen, "question": None, "reason": "you chose it", "others": rest})


@dataclass(frozen=True)
class AddDatasetRequest:
    """Arguments of `add dataset`."""

    path: Path
    name: str | None
    options: ImportOptions
    replace: bool
    dry_run: bool


def add_dataset(session: Session, request: AddDatasetRequest, *, as_json: bool) -> ExitCode:
    """Write the card; with `dry_run`, only print what was detected. 2 for a question, 3 for unusable data."""
    name = dataset_name(request.path, request.name)
    dataset_card_path(session.workspace, name, replace=request.replace or request.dry_run)
    try:
        imported = scan_dataset(session.workspace, request.path, name, request.options, _progress)
    except DatasetProblem as error:
        raise (ConsoleError if error.question else MissingInputs)(str(error)) from error
    path = None
    if request.dry_run:
        discard_draft(session.workspace, name)
    else:
        path = write_dataset(session.workspace, imported, replace=request.replace)
    if as_json:
        stdout.document({**imported.model_dump(mode="json"), "path": None if path is None else str(path)})
    else:
        use = f"measure it: ssl-console run -b BACKBONE -t linear/{name}"
        stdout.lines([*format_import(imported), *_written(name, path, use)])
    return ExitCode.DONE


def _written(name: str, path: Path | None, use: str) -> list[str]:
    """The card's place and the command that uses it; `path` is None for a dry run."""
    return ["nothing was written (--dry-run)"] if path is None else [f"{name}: written to {path}", use]


def _progress(progress: ImportProgress) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rreading images: {progress.done:,} of {progress.total:,} ")
        sys.stderr.write("\n" if progress.done == progress.total else "")
        sys.stderr.flush()


def edit_backbone(session: Session, name: str) -> None:
    """Open the card in the editor until it is valid or the edit is abandoned. Raises ConsoleError, UnknownName."""
    change = edit_card(session, name, _ask_again)
    if change is None:
        stdout.lines([f"{name} is unchanged"])
        return
    stdout.lines([f"{name}: written to {change.path}"])
    if change.measured and change.results:
        stdout.say(
            f"{_results(change.results)} measured with the earlier card: `ssl-console plan -b {name}` shows what "
            "would run again"
        )


def rename_backbone(session: Session, name: str, new: str, *, as_json: bool) -> None:
    """Rename the card with its results. Raises ConsoleError, UnknownName."""
    change = rename_card(session, name, new)
    _show(change, f"{name} is now {new}, {_results(change.results)} renamed", as_json=as_json)


def copy_backbone(session: Session, name: str, new: str, *, as_json: bool) -> None:
    """Copy the card, built-in or own. Raises ConsoleError, UnknownName."""
    change = copy_card(session, name, new)
    _show(change, f"{new}: written to {change.path}; `ssl-console edit backbone {new}`", as_json=as_json)


def remove_backbone(session: Session, name: str, *, as_json: bool) -> None:
    """Remove the card. Raises ConsoleError, UnknownName."""
    change = remove_card(session, name)
    remaining = f"; results under its name: {change.results}" if change.results else ""
    _show(change, f"{name} is removed, its weights are unchanged{remaining}", as_json=as_json)


def _results(count: int) -> str:
    return "1 result was" if count == 1 else f"{count} results were"


def _show(change: CardChange, words: str, *, as_json: bool) -> None:
    if as_json:
        stdout.document({"backbone": change.name, "path": str(change.path), "results": change.results})
    else:
        stdout.lines([words])


def _ask_again(words: str) -> bool:
    """At a terminal, whether the user wants to edit the text once more; elsewhere False."""
    if not _is_terminal():
        return False
    stdout.say(words)
    return not _ask("edit again (y), or leave the card unchanged (n)? ").startswith("n")
