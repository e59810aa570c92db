"""Runs and backbones by the names that people give them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from backbones.cardfile import UnknownName, suggest
from ssl_console.errors import ConsoleError

SHOWN = 4


def resolve_run(name: str, run_ids: Iterable[str]) -> str:
    """The run that an id, or the unambiguous beginning of one, means.

    Raises UnknownName with suggestions, ConsoleError when several runs begin like that.
    """
    known = sorted(run_ids)
    if name in known:
        return name
    found = [run_id for run_id in known if name and run_id.startswith(name)]
    if len(found) > 1:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ConsoleError(f"{name!r} is the beginning of {', '.join(found[:SHOWN])}{more}: give more of the id")
    if not found:
        raise UnknownName("run", name, suggest(name, known))
    return found[0]


def resolve_runs(names: Iterable[str], run_ids: Iterable[str]) -> tuple[str, ...]:
    """Several of them, each once. Raises as `resolve_run` does, before any is acted upon."""
    known = tuple(run_ids)
    return tuple(dict.fromkeys(resolve_run(name, known) for name in names))


def resolve_backbone(name: str, known: Iterable[str]) -> str:
    """The backbone of this name, of those known. Raises UnknownName with suggestions."""
    names = tuple(known)
    if name not in names:
        raise UnknownName("measured backbone", name, suggest(name, names))
    return name
