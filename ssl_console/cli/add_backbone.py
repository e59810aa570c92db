"""`add backbone`: look into a checkpoint, say what was found and what will be dropped, write the card."""

from __future__ import annotations

import sys

from backbones.card import BackboneCard
from backbones.proposal import Inspection, Proposal
from ssl_console.cli import output
from ssl_console.cli.session import Session
from ssl_console.errors import ConsoleError, ExitCode
from ssl_console.own_backbone import DEFAULT_NORMALISATION, Said, card_of, card_path, check, look_into, write_card

MILLION = 1e6


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


def in_words(found: Inspection, said: Said) -> list[str]:
    """What was found, a line each."""
    if found.chosen is None:
        lines = [f"no way to load it was found among its {found.tensors} tensors"]
        return lines + [f"  nearest: {_proposal(other)}" for other in found.others]
    chosen = found.chosen
    lines = [
        f"architecture   {chosen.architecture}{_arguments(chosen)}",
        f"tensors        {chosen.matched} of {chosen.expected} ({chosen.share:.0%}) at {chosen.place}",
    ]
    if chosen.keys.conversion != "none":
        lines.append(f"names          converted ({chosen.keys.conversion})")
    lines += [
        f"dropped        {item.prefix} ({item.tensors} tensors, {item.parameters / MILLION:.2f} M)"
        for item in chosen.dropped
    ]
    lines += [f"method         {said.method or found.method}"]
    lines += [f"chosen because {found.reason}"] if found.reason else []
    lines += [f"also there     {_proposal(other)}: {_flags(other)}" for other in found.others if other.exact]
    norm = said.normalisation or f"{DEFAULT_NORMALISATION} (no file says it; --norm half or none for another)"
    return [*lines, f"normalisation  {norm}", f"input          {said.size or chosen.size} px"]


def _ask(found: Inspection) -> Inspection:
    """Have the user choose between exact proposals; as it is where nobody can be asked or nothing is to choose."""
    options = [other for other in found.others if other.exact]
    if found.question is None or not options or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return found
    output.say(f"{found.path}: several ways to load it fit:")
    for number, option in enumerate(options, start=1):
        output.say(f"  {number}  {_proposal(option)}")
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


def _proposal(proposal: Proposal) -> str:
    share = f"{proposal.matched} of {proposal.expected}"
    obstacles = f" ({'; '.join(proposal.obstacles)})" if proposal.obstacles else ""
    return f"{proposal.architecture}{_arguments(proposal)}, {share} tensors at {proposal.place or 'the top'}{obstacles}"


def _flags(proposal: Proposal) -> str:
    keys = proposal.keys
    container = f"--container {keys.container} " if keys.container else ""
    return f"{container}--prefix '{keys.prefix}'"


def _arguments(proposal: Proposal) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in proposal.arguments.items())
    return f"({given})" if given else ""
