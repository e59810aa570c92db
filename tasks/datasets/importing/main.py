"""Import a dataset: `python -P -m tasks.datasets.importing.main ORDER`, a `messages.Order` as JSON.

Prints JSON lines: progress, then one answer. Exit code 0 when the dataset can be used, 1 when not, 2 for a wrong call.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from tasks.datasets.card import DatasetCard
from tasks.datasets.csv_index import IndexRow, class_names, index_text, split_names
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.importing.detect_layout import SEVERAL, layout_of, rows_of, with_splits
from tasks.datasets.importing.messages import Ambiguous, ImportFailure, ImportProgress, ImportRequest, ImportResult
from tasks.datasets.importing.scan_images import ScannedSplit, look_through, warnings
from tasks.datasets.readers.csv_index import read
from tasks.datasets.symlinks import notes_on_links

TELL_EVERY_S = 0.2


def bring(order: ImportRequest, tell: Callable[[BaseModel], None]) -> ImportResult:
    """Write the index and return the card. Raises Ambiguous, ValueError and DataError."""
    path = Path(order.path)
    if not path.exists():
        raise ValueError(f"{path} is not there")
    kind = layout_of(path, order.wish)
    several = kind in SEVERAL or order.wish.several
    rows, notes = with_splits(rows_of(path, kind, order.wish), order.wish, several=several)
    card, dataset = _store(order, rows, several=several)
    seen = look_through(dataset, _Meter(len(rows), tell).advance)
    broken = {(name, place) for name, one in seen.items() for place in one.unreadable}
    if broken and order.wish.skip_unreadable:
        notes = (*notes, f"{len(broken)} images that cannot be read are left out")
        card, dataset = _store(order, _without(rows, broken), several=several)
        seen = {name: _whole(one) for name, one in seen.items()}
    found = tuple(warnings(dataset, seen))
    told = (*notes, *notes_on_links(dataset.splits.values()))
    return ImportResult(layout=kind, card=card, notes=told, warnings=found)


def _store(order: ImportRequest, rows: Sequence[IndexRow], *, several: bool) -> tuple[DatasetCard, Dataset]:
    """Write the index, and open what it lists as every run will."""
    root, index = Path(order.path), Path(order.index)
    index.write_text(index_text(rows), encoding="utf-8")
    classes, splits = class_names(rows), split_names(rows)
    if len(classes) < 2:
        raise ValueError(f"{root} has the only class {', '.join(classes)}: there is nothing to tell apart")
    card = DatasetCard(
        name=order.name,
        title=root.stem,
        reader="listed",
        reader_arguments={
            "path": str(root.parent if root.is_file() else root),
            "index": str(index),
            "multi_label": several,
        },
        classes=len(classes),
        metric="map11" if several else "accuracy",
        domain="own images",
        splits="train-val-test" if {"val", "test"} <= set(splits) else "train-test",
        images={name: sum(row.split == name for row in rows) for name in splits},
    )
    dataset = read(Path(str(card.reader_arguments["path"])), card)
    return card.model_copy(update={"manifest": dataset.manifest_digest}), dataset


def _without(rows: Sequence[IndexRow], broken: set[tuple[str, int]]) -> list[IndexRow]:
    """The rows but those at the given positions of their splits."""
    kept: list[IndexRow] = []
    counts: dict[str, int] = {}
    for row in rows:
        place = counts.get(row.split, 0)
        counts[row.split] = place + 1
        if (row.split, place) not in broken:
            kept.append(row)
    return kept


def _whole(seen: ScannedSplit) -> ScannedSplit:
    """What was seen, as positions in a split that has only the readable images."""
    return ScannedSplit(seen.grey, np.arange(len(seen.grey)), seen.sides, {})


@dataclass
class _Meter:
    """Tells progress a few times a second."""

    total: int
    tell: Callable[[BaseModel], None]
    done: int = 0
    told: float = 0.0

    def advance(self, count: int) -> None:
        """`count` more images were looked at."""
        self.done += count
        if time.monotonic() - self.told > TELL_EVERY_S:
            self.told = time.monotonic()
            self.tell(ImportProgress(done=self.done, total=self.total))


def main(arguments: list[str]) -> int:
    """Bring in what the order names."""
    try:
        order = ImportRequest.model_validate_json(arguments[0])
    except (IndexError, ValidationError) as error:
        print(f"usage: python -P -m tasks.datasets.importing.main ORDER: {error}", file=sys.stderr)
        return 2

    def tell(answer: BaseModel) -> None:
        print(answer.model_dump_json(), flush=True)

    try:
        tell(bring(order, tell))
    except (ValueError, DataError, OSError, csv.Error) as error:
        tell(ImportFailure(error=str(error), question=isinstance(error, Ambiguous)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
