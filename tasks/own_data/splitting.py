"""Splits of a dataset that has none, or not enough of them: seeded, stratified, and said aloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tasks.own_data.index import Row, class_names
from tasks.own_data.wish import Wish
from tasks.splits import held_out


def with_splits(rows: Sequence[Row], wish: Wish, *, several: bool) -> tuple[list[Row], tuple[str, ...]]:
    """Every row in a split, and notes about what was decided. Rows that the splits leave out are dropped."""
    named = [row for row in rows if row.split]
    splits = {row.split for row in named}
    if len(splits) <= 1:
        return _divided(rows, wish, several=several), (_derived(wish, several=several),)
    notes = []
    if len(named) < len(rows):
        notes.append(f"{len(rows) - len(named)} images are in no split and are left out")
    if "test" not in splits:
        notes.append("there is no test split, so the val split is the test split")
    return named, tuple(notes)


def _divided(rows: Sequence[Row], wish: Wish, *, several: bool) -> list[Row]:
    numbers = {name: index for index, name in enumerate(class_names(rows))}
    labels = np.array([0 if several else numbers[row.labels[0]] for row in rows], dtype=np.int64)
    _, test = held_out(labels, wish.test_share, wish.seed)
    chosen = set(test.tolist())
    return [replace(row, split="test" if place in chosen else "train") for place, row in enumerate(rows)]


def _derived(wish: Wish, *, several: bool) -> str:
    how = "at random" if several else "of every class"
    return f"it has no splits, so {wish.test_share:.0%} {how}, drawn under seed {wish.seed}, is the test split"
