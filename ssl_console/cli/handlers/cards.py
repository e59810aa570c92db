"""`edit`, `rename`, `copy` and `remove`: the user's own backbone cards."""

from __future__ import annotations

import sys

from ssl_console.cli.output import stdout
from ssl_console.operations.backbone_cards import CardChange, copy_card, edit_card, remove_card, rename_card
from ssl_console.operations.session import Session


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
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    stdout.say(words)
    sys.stderr.write("edit again (y), or leave the card unchanged (n)? ")
    sys.stderr.flush()
    return not sys.stdin.readline().strip().lower().startswith("n")
