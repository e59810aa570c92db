"""Whether a task's data are what its card says: every image looked at, splits and classes counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ssl_console.doctor import Check
from tasks.card import DatasetCard
from tasks.datasets.presence import presence
from tasks.own_data.surveyed import survey


def examine_dataset(card: DatasetCard, data_root: Path) -> Iterator[Check]:
    """Presence first; then what a process that opens the data and decodes every image says."""
    found = presence(card, data_root)
    if found.status != "present":
        yield Check("data", "bad", f"{found.missing[0]} is missing: {found.advice}")
        return
    yield Check("data", "good", "built in" if found.base == data_root else f"in {found.base}")
    answer = survey(card, data_root)
    if answer.error is not None:
        yield Check("reading", "bad", answer.error)
        return
    counts = ", ".join(f"{count:,} {split}" for split, count in answer.images.items())
    yield Check("reading", "good", f"{counts}; {answer.classes} classes; images of {answer.side} px (median)")
    for problem in answer.problems:
        yield Check("published", "note", problem)
    for warned in answer.warnings:
        yield Check(warned.kind, "bad" if warned.kind == "unreadable" else "note", warned.words)
    for note in answer.notes:
        yield Check("note", "note", note)
