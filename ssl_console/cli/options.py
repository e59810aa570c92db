"""Option values with a form of their own, checked with the option's name in the error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import get_args

from backbones.catalog.card import Scalar
from ssl_console.system.errors import ConsoleError


def one_of(option: str, value: str, literal: object) -> str:
    """`value` if the Literal type has it. Raises ConsoleError."""
    if value not in get_args(literal):
        raise ConsoleError(f"{option} {value}: choose {', '.join(get_args(literal))}")
    return value


def split_words(settings: Iterable[str]) -> Iterator[tuple[str, str]]:
    """`holdout=test` texts as pairs. Raises ConsoleError."""
    for setting in settings:
        word, equals, split = setting.rpartition("=")
        if not equals or split not in ("train", "val", "test", "none"):
            raise ConsoleError(f"--split {setting}: write WORD=train, WORD=val, WORD=test or WORD=none")
        yield word, split


def architecture_arguments(settings: Iterable[str]) -> dict[str, Scalar]:
    """`img_size=96` texts as a dictionary; numbers and true/false are taken as such. Raises ConsoleError."""
    found: dict[str, Scalar] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise ConsoleError(f"--arg {setting}: write NAME=VALUE, img_size=96 say")
        found[key] = _scalar(value)
    return found


def _scalar(text: str) -> Scalar:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (int, float, bool)) else text
