"""Import a dataset: `python -P -m tasks.datasets.importing.main REQUEST`, an `ImportRequest` as JSON.

Prints JSON lines: progress, then the result. Exit code 0 if the dataset can be used, 1 if not, 2 for a usage error.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from backbones.io.files import own_opener
from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import ContentDigests, using
from tasks.datasets.csv_index import Balance, IndexRow, class_names, index_text, split_names
from tasks.datasets.dataset import DataError, Dataset, ImageSource
from tasks.datasets.folders import Ambiguous
from tasks.datasets.importing.detect_layout import SEVERAL, each_once, layout_of, rows_of, unlisted, with_splits
from tasks.datasets.importing.messages import ImportFailure, ImportProgress, ImportRequest, ImportResult
from tasks.datasets.importing.scan_images import NotedImages, ScannedSplit, look, warnings
from tasks.datasets.importing.shards import image_column
from tasks.datasets.presence import files_place
from tasks.datasets.readers.csv_index import read
from tasks.datasets.registry import notes_on_links, settle
from tasks.datasets.shards import ShardImages

REPORT_EVERY_S = 0.2
NO_SPLIT = "none"
"""Value of the split column that selects a random split whatever the layout has."""


def run_import(order: ImportRequest, send: Callable[[BaseModel], None]) -> ImportResult:
    """Write the index and return the card. Raises Ambiguous, ValueError and DataError."""
    path = Path(order.path)
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path} is a pipe or a device: name a folder or a file")
    wish, balance = order.wish, Balance()
    kind = layout_of(path, wish)
    found = rows_of(path, kind, wish, balance)
    if wish.split_column == NO_SPLIT:
        found = [replace(row, split="") for row in found]
    several = kind in SEVERAL or bool(wish.several)
    column = image_column(path, wish) if kind == "parquet" else ""
    listed, digests = each_once(found, balance, several=several), ContentDigests()
    looked = look(_images(order, listed, column, digests), _Meter(len(listed), send).advance)
    if kind != "class-folders":
        for name in unlisted(path, listed):
            balance.leave_out("images that are not listed", name)
    if wish.skip_unreadable:
        for place in sorted(looked.unreadable):
            balance.leave_out("images that cannot be read", listed[place].file)
    usable = [row for at, row in enumerate(listed) if not (wish.skip_unreadable and at in looked.unreadable)]
    rows, notes = with_splits(usable, wish, several=several)
    seen = _by_split(looked, listed, rows)
    with using(digests):
        card, dataset = _store(order, rows, column, several=several)
    if order.cache:
        digests.record().write(files_place(card, Path("/"), Path(order.cache)))
    of_import = (*notes, *balance.notes(len(rows)))
    card = card.model_copy(update={"note": "; ".join(of_import) or None})
    notes = (*of_import, *dataset.notes, *notes_on_links(dataset.splits.values()))
    return ImportResult(layout=kind, card=card, notes=notes, warnings=tuple(warnings(dataset, seen)))


def _images(order: ImportRequest, rows: Sequence[IndexRow], column: str, digests: ContentDigests) -> ImageSource:
    """Images of all rows, whose digests are computed while they are scanned."""
    path = Path(order.path)
    root = path.parent if path.is_file() else path
    files = tuple(row.file for row in rows)
    if any(row.offset is not None for row in rows):
        return ShardImages(order.name, root, files, rows=tuple(rows), column=column)
    return NotedImages(order.name, root, files, digests=digests)


def _by_split(looked: ScannedSplit, listed: Sequence[IndexRow], rows: Sequence[IndexRow]) -> dict[str, ScannedSplit]:
    """Results of the scan for the images of each split."""
    places = {(row.file, row.offset): at for at, row in enumerate(listed)}
    return {
        name: looked.chosen([places[row.file, row.offset] for row in rows if row.split == name])
        for name in split_names(rows)
    }


def _store(
    order: ImportRequest, rows: Sequence[IndexRow], column: str, *, several: bool
) -> tuple[DatasetCard, Dataset]:
    """Write the index and open it as every run will."""
    root, index = Path(order.path), Path(order.index)
    with open(index, "w", encoding="utf-8", opener=own_opener) as file:
        file.write(index_text(rows))
    classes, splits = class_names(rows), split_names(rows)
    if len(classes) < 2:
        raise ValueError(f"{root} has only the class {', '.join(classes)}: classification requires at least two")
    card = DatasetCard(
        name=order.name,
        title=root.stem,
        reader="listed",
        reader_arguments={
            "path": str(root.parent if root.is_file() else root),
            "index": str(index),
            "multi_label": several,
            **({"image_column": column} if column else {}),
        },
        classes=len(classes),
        metric="map11" if several else "accuracy",
        domain="own images",
        splits="train-val-test" if {"val", "test"} <= set(splits) else "train-test",
        images={name: sum(row.split == name for row in rows) for name in splits},
        background=order.wish.background,
        orientation=order.wish.orientation,
    )
    dataset = settle(read(Path(str(card.reader_arguments["path"])), card))
    return card.model_copy(update={"manifest": dataset.manifest_digest}), dataset


@dataclass
class _Meter:
    """Reports progress a few times per second."""

    total: int
    send: Callable[[BaseModel], None]
    done: int = 0
    sent: float = 0.0

    def advance(self, count: int) -> None:
        """Count further images."""
        self.done += count
        if time.monotonic() - self.sent > REPORT_EVERY_S:
            self.sent = time.monotonic()
            self.send(ImportProgress(done=self.done, total=self.total))


def main(arguments: list[str]) -> int:
    """Run the import described by the argument."""
    try:
        order = ImportRequest.model_validate_json(arguments[0])
    except (IndexError, ValidationError) as error:
        print(f"usage: python -P -m tasks.datasets.importing.main REQUEST: {error}", file=sys.stderr)
        return 2

    def send(answer: BaseModel) -> None:
        print(answer.model_dump_json(), flush=True)

    try:
        send(run_import(order, send))
    except (ValueError, DataError, OSError, csv.Error) as error:
        send(ImportFailure(error=str(error), question=isinstance(error, Ambiguous)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
