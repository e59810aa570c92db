"""Option values with a form of their own, checked with the option's name in the error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import get_args

from backbones.catalog.card import ArchitectureValue, Triple
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


def three_numbers(option: str, text: str) -> Triple:
    """`0.5,0.5,0.5`, or `0.5` for all three colours. Raises ConsoleError."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(0 <= number <= 1 for number in numbers):
        raise ConsoleError(f"{option} {text}: three numbers from 0 to 1 with commas, or one for all colours")
    red, green, blue = numbers * (3 // len(numbers))
    return (red, green, blue)


def architecture_arguments(settings: Iterable[str]) -> dict[str, ArchitectureValue]:
    """`img_size=96` texts as a dictionary; numbers and true/false are taken as such. Raises ConsoleError."""
    found: dict[str, ArchitectureValue] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise ConsoleError(f"--arg {setting}: write NAME=VALUE, img_size=96 say")
        found[key] = _scalar(value)
    return found


def margins(settings: Iterable[str]) -> dict[str, float]:
    """`accuracy=0.5` texts as a dictionary. Raises ConsoleError."""
    found: dict[str, float] = {}
    for setting in settings:
        metric, _, size = setting.partition("=")
        try:
            found[metric] = float(size)
        except ValueError:
            found[metric] = 0.0
        if not metric or not found[metric] > 0:
            raise ConsoleError(f"--margin {setting}: write METRIC=SIZE with a size above 0, accuracy=0.5 say")
    return found


def _scalar(text: str) -> ArchitectureValue:
    try:
        value = json.loads(f"[{text.strip('()').rstrip(',')}]" if "," in text and text.startswith("(") else text)
    except ValueError:
        return text
    if isinstance(value, list) and value and all(type(number) is int for number in value):
        return tuple(value)
    return value if isinstance(value, (int, float, bool)) else text
