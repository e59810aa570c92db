"""Completion of paths, as a shell does it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOST_LISTED = 40
MOST_READ = 5000
"""Entries of a folder that are looked at."""


@dataclass(frozen=True)
class PathCompletion:
    """What a path can become."""

    text: str
    """As far as there is one way on."""
    names: tuple[str, ...] = ()
    """The entries that begin so, folders with a slash; at most `MOST_LISTED`."""


def complete_path(text: str) -> PathCompletion:
    """Complete the last part of a path; a folder that cannot be read has no entries. `~` is the user's home."""
    folder, _, begun = text.rpartition("/")
    place = Path(f"{folder}/" if "/" in text else ".").expanduser()
    names = sorted(_entries(place, begun))
    if not names:
        return PathCompletion(text)
    common = _common_beginning(names[0], names[-1])
    return PathCompletion(f"{folder}/{common}" if "/" in text else common, tuple(names[:MOST_LISTED]))


def _common_beginning(first: str, last: str) -> str:
    """The common beginning of a sorted list of names, by its ends."""
    length = next((place for place, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), None)
    return first[:length] if length is not None else min(first, last, key=len)


def _entries(folder: Path, begun: str) -> list[str]:
    """Names that begin so; hidden ones only after a dot."""
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_READ:
                    break
                if entry.name.startswith(begun) and (begun.startswith(".") or not entry.name.startswith(".")):
                    found.append(entry.name + "/" * entry.is_dir())
    except OSError:
        return []
    return found
