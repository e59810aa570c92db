"""Option values from the texts of the dataset form, and messages about options in the terms of the form."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from ssl_console.operations.option_texts import split_words
from ssl_console.system.errors import ConsoleError
from tasks.datasets.importing.messages import ImportOptions

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


def in_words_of_the_form(message: str) -> str:
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
