"""Scan one dataset: `python -P -m tasks.datasets.importing.scan_main DATA_ROOT`, its card as JSON on stdin."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.datasets.importing.messages import ScanReport
from tasks.datasets.importing.scan_images import look_through, warnings
from tasks.datasets.manifest import manifest_of
from tasks.datasets.registry import open_dataset


def survey(card: DatasetCard, data_root: Path) -> ScanReport:
    """Open and scan a dataset."""
    try:
        dataset = open_dataset(card, data_root)
    except DataError as error:
        return ScanReport(error=str(error))
    manifest = manifest_of(dataset, card)
    seen = look_through({name: split.images for name, split in dataset.splits.items()}, lambda _count: None)
    sides = np.concatenate([one.sides for one in seen.values()])
    return ScanReport(
        images={name: len(split.images) for name, split in dataset.splits.items()},
        classes=len(dataset.classes),
        side=int(np.median(sides)) if len(sides) else 0,
        problems=manifest.problems,
        notes=dataset.notes,
        warnings=tuple(warnings(dataset, seen)),
    )


if __name__ == "__main__":
    print(survey(DatasetCard.model_validate_json(sys.stdin.read()), Path(sys.argv[1])).model_dump_json())
