"""`add backbone`: look into a checkpoint, say what was found and what will be dropped, write the card."""

from __future__ import annotations

import sys

from backbones.card import BackboneCard
from backbones.proposal import Inspection
from ssl_console.cli import output
from ssl_console.cli.session import Session
from ssl_console.errors import ConsoleError, ExitCode
from ssl_console.own_backbone import Said, card_of, card_path, check, look_into, write_card
from ssl_console.proposal_words import in_words, proposal_line


def add_backbone(session: Session, said: Said, *, dry_run: bool, as_json: bool) -> ExitCode:
    """Write a card for the checkpoint; with `dry_run`, only say what it would be.

    What only the user can decide is asked at a terminal; elsewhere it is an error that names the choices.
    """
    check(said)
    card_path(session.workspace, said.card_name, replace=said.replace or dry_run)
    if not as_json:
        output.say(f"looking into {said.path} ...")
    found = look_into(said)
    if as_json and found.chosen is None:
        output.document({"inspection": found.model_dump(mode="json"), "card": None, "path": None})
        return ExitCode.MISSING if found.problem else ExitCode.USAGE
    found = _ask(found) if found.chosen is None and not as_json else found
    if not as_json:
        output.lines(in_words(found, said))
    card = card_of(said, found)
    path = None if dry_run else write_card(session.workspace, card, replace=said.replace)
    if as_json:
        content = {"inspection": found, "card": card}
        plain = {name: model.model_dump(mode="json") for name, model in content.items()}
        output.document({**plain, "path": None if path is None else str(path)})
    else:
        output.lines(_written(card, None if path is None else str(path)))
    return ExitCode.DONE


def _ask(found: Inspection) -> Inspection:
    """Have the user choose between exact proposals; as it is where nobody can be asked or nothing is to choose."""
    options = [other for other in found.others if other.exact]
    if found.question is None or not options or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return found
    output.say(f"{found.path}: several ways to load it fit:")
    for number, option in enumerate(options, start=1):
        output.say(f"  {number}  {proposal_line(option)}")
    sys.stderr.write(f"which one (1 to {len(options)})? ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    if not answer.isdecimal() or not 1 <= int(answer) <= len(options):
        raise ConsoleError(f"{answer!r} is none of 1 to {len(options)}: nothing was written")
    chosen = options[int(answer) - 1]
    rest = tuple(option for option in options if option is not chosen)
    return found.model_copy(update={"chosen": chosen, "question": None, "reason": "you chose it", "others": rest})


def _written(card: BackboneCard, path: str | None) -> list[str]:
    if path is None:
        return ["nothing was written (--dry-run)"]
    return [f"{card.name} is in {path}", f"check it: ssl-console doctor {card.name}"]
