"""Cards and indices for the user's own datasets. Without numpy: a subprocess reads the images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import tomli_w

from backbones.io.files import write_atomically
from ssl_console.operations.card_names import NAME
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace
from tasks.datasets.card import DatasetCard
from tasks.datasets.importing.messages import ImportOptions, ImportProgress, ImportRequest, ImportResult, import_dataset


def dataset_name(path: Path, given: str | None) -> str:
    """Name of the card. Raises ConsoleError for one that cannot be a file name."""
    name = given or re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-.").lower() or "dataset"
    if not NAME.fullmatch(name):
        raise ConsoleError(f"--name {name}: use letters, digits, dots and dashes, with / between the parts")
    return name


def dataset_card_path(workspace: Workspace, name: str, *, replace: bool = False) -> Path:
    """Path of a new card. Raises ConsoleError when the name is taken."""
    path = workspace.tasks / f"{name}.toml"
    if path.exists() and not replace:
        raise ConsoleError(f"{path} already exists: choose another --name, or --replace it")
    return path


def scan_dataset(
    workspace: Workspace, path: Path, name: str, options: ImportOptions, on_progress: Callable[[ImportProgress], None]
) -> ImportResult:
    """Recognise the dataset, split it and check every image; the index is stored next to the card's path under a
    hidden name until `write_dataset`. Raises DatasetProblem.
    """
    workspace.create()
    draft = _draft(workspace, name)
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        request = ImportRequest(path=str(path), name=name, index=str(draft), cache=str(workspace.cache), wish=options)
        return import_dataset(request, on_progress)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_dataset(workspace: Workspace, imported: ImportResult, *, replace: bool = False) -> Path:
    """Move index and card to the catalogue's folder and return the card's path. Raises ConsoleError, OSError.

    Both are on disk before either is moved, so that a card never refers to another dataset's index.
    """
    name = imported.card.name
    path = dataset_card_path(workspace, name, replace=replace)
    index = path.with_suffix(".csv")
    arguments = {**imported.card.reader_arguments, "index": str(index)}
    card = imported.card.model_copy(update={"reader_arguments": arguments})
    waiting = path.with_name(f".{path.name}")
    write_atomically(waiting, tomli_w.dumps(_content(card)).encode())
    _draft(workspace, name).replace(index)
    waiting.replace(path)
    return path


def discard_draft(workspace: Workspace, name: str) -> None:
    """Remove the index of a dataset that is not written."""
    _draft(workspace, name).unlink(missing_ok=True)


def format_import(imported: ImportResult) -> list[str]:
    """Summary of the scan, one line per property."""
    card = imported.card
    counts = ", ".join(f"{count:,} {split}" for split, count in card.images.items())
    labels = "several labels per image" if card.reader_arguments.get("multi_label") else "one label per image"
    return [
        f"layout    {imported.layout}",
        f"images    {counts}",
        f"classes   {card.classes}, {labels}, measured by {card.metric}",
        f"manifest  {str(card.manifest)[:16]}",
        *(f"note      {note}" for note in imported.notes),
        *(f"WARNING   {warned.words}" for warned in imported.warnings),
    ]


def _draft(workspace: Workspace, name: str) -> Path:
    place = workspace.tasks / name
    return place.with_name(f".{place.name}.csv")


def _content(card: DatasetCard) -> dict[str, object]:
    content: dict[str, object] = card.model_dump(
        mode="json", exclude={"name"}, exclude_none=True, exclude_defaults=True
    )
    return content
