"""Conversion of option and form texts to values; errors name the option."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from backbones.catalog.card import ArchitectureValue, Triple
from ssl_console.system.errors import ConsoleError


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


def split_words(option: str, settings: Iterable[str]) -> Iterator[tuple[str, str]]:
    """`holdout=test` texts as pairs. Raises ConsoleError."""
    for setting in settings:
        word, equals, split = setting.rpartition("=")
        if not equals or split not in ("train", "val", "test", "none"):
            raise ConsoleError(f"{option} {setting}: write WORD=train, WORD=val, WORD=test or WORD=none")
        yield word, split


def architecture_arguments(settings: Iterable[str]) -> dict[str, ArchitectureValue]:
    """`img_size=96` texts as a dictionary; numbers and true/false are converted. Raises ConsoleError."""
    found: dict[str, ArchitectureValue] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise ConsoleError(f"--arg {setting}: write NAME=VALUE, e.g. img_size=96")
        found[key] = _scalar(value)
    return found


def _scalar(text: str) -> ArchitectureValue:
    try:
        value = json.loads(f"[{text.strip('()').rstrip(',')}]" if "," in text and text.startswith("(") else text)
    except ValueError:
        return text
    if isinstance(value, list) and value and all(type(number) is int for number in value):
        return tuple(value)
    return value if isinstance(value, (int, float, bool)) else text
