"""Cards and indices for the user's own datasets and for further test sets (`--test-also`), from options or the form.
Without numpy: a subprocess reads the images.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tomli_w
from pydantic import ValidationError

from backbones.io.files import expand_user, write_atomically
from ssl_console.operations.card_names import NAME
from ssl_console.operations.option_texts import split_words
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace
from tasks.datasets.card import DatasetCard
from tasks.datasets.importing.messages import ImportOptions, ImportProgress, ImportRequest, ImportResult, import_dataset

FIELDS = {
    "--several": "several labels = yes",
    "--single": "several labels = no",
    "--split": "split words",
    "--split-column": "split column",
    "--file-column": "file column",
    "--label-column": "label column",
    "--layout": "layout",
    "--leave-out": "leave out = yes",
    "--skip-unreadable": "skip unreadable = yes",
    "--name": "name",
}
"""Text in the form that corresponds to an option of the command line."""
_OPTION = re.compile("|".join(sorted(FIELDS, key=len, reverse=True)) + r"(?![a-z-])")
SETTING = "robustness.also"


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
    except BaseException:  # no draft is left, even by an interruption
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


def options_of_dataset_form(fields: Mapping[str, str]) -> ImportOptions:
    """Options from the texts of the form's fields; empty ones are not given. Raises ConsoleError naming the field."""
    given = {name: text for name, text in fields.items() if text and name not in {"path", "name"}}
    values = {name: _PARSED.get(name, _text)(_label(name), text) for name, text in given.items()}
    try:
        return ImportOptions.model_validate(values, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        raise ConsoleError(f"{_label(field)} {given[field]}: {first['msg']}") from error


def in_words_of_dataset_form(message: str) -> str:
    """A message with options replaced by the fields of the form."""
    return _OPTION.sub(lambda found: FIELDS[found[0]], message)


def _label(field: str) -> str:
    return {"several": "several labels"}.get(field, field.replace("_", " "))


def _text(_label: str, text: str) -> object:
    return text


def _yes(label: str, text: str) -> object:
    if text.lower() not in {"yes", "no"}:
        raise ConsoleError(f"{label} {text}: yes or no")
    return text.lower() == "yes"


def _words(label: str, text: str) -> object:
    try:
        settings = shlex.split(text)
    except ValueError as error:
        raise ConsoleError(f"{label} {text}: {error}") from error
    return tuple(split_words(label, settings))


_PARSED: Mapping[str, Callable[[str, str], object]] = {
    "several": _yes,
    "skip_unreadable": _yes,
    "leave_out": _yes,
    "split_words": _words,
}


def further_test_sets(workspace: Workspace, given: Sequence[str]) -> tuple[str, ...]:
    """Settings that name the test sets, `robustness.also=a,b`; none without any.

    NAME=FOLDER adds a card for a folder of class folders, NAME alone is an existing dataset. Raises ConsoleError for a
    name that is taken by another folder, and for a folder that does not exist.
    """
    names = []
    for each in given:
        name, _, folder = each.partition("=")
        if not NAME.fullmatch(name):
            raise ConsoleError(f"--test-also {each}: write NAME=FOLDER, NAME of letters, digits, dots and dashes")
        if folder:
            _add(workspace, name, expand_user(folder).absolute())
        names.append(name)
    return (f"{SETTING}={','.join(dict.fromkeys(names))}",) if names else ()


def _add(workspace: Workspace, name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ConsoleError(f"--test-also {name}={folder}: no such folder; expected one with a folder per class")
    path = workspace.tasks / f"{name}.toml"
    content = tomli_w.dumps(
        {
            "title": f"{name} (further test set)",
            "reader": "imagefolder",
            "splits": "all",
            "reader_arguments": {"path": str(folder)},
        }
    ).encode()
    if path.exists():
        if path.read_bytes() != content:
            raise ConsoleError(f"{path} already exists for other data: choose another name for {folder}")
        return
    workspace.create()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
