"""`imagefolder:/path`: a dataset card for any folder of class folders, without writing one."""

from __future__ import annotations

import os
from pathlib import Path

from backbones.cardfile import MalformedName
from tasks.card import DatasetCard

SCHEME = "imagefolder:"


def folder_card(name: str) -> DatasetCard:
    """The card of an `imagefolder:` name; its own name holds the absolute path, so it means the same everywhere.

    Whether the folder exists is not looked at: a missing one is missing data, not a wrong name.

    Raises:
        MalformedName: no path follows.
    """
    text = name.removeprefix(SCHEME)
    if not text.strip() or "\0" in text:
        raise MalformedName(f"{name!r} names no folder: write imagefolder:/path/to/folder")
    path = Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - collapses .. without following links
    return DatasetCard(
        name=f"{SCHEME}{path}",
        title=path.name or str(path),
        reader="imagefolder",
        reader_arguments={"path": str(path)},
        protocols=("linear", "finetune", "knn", "colour", "few-shot-*", "attention", "inversion"),
        domain="own images",
    )
