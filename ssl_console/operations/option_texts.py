"""Conversion of option and form texts to values; errors name the option.

The form that adds a backbone gives the same options; its errors name the field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar, cast, get_args

from backbones.catalog.card import ArchitectureValue, Interpolation, Pooling, Triple
from backbones.catalog.hub_models import is_hub_name
from backbones.io.files import expand_user
from ssl_console.operations.add_backbone import BackboneOptions
from ssl_console.system.errors import ConsoleError

Value = TypeVar("Value")


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


def options_of_form(fields: Mapping[str, str]) -> BackboneOptions:
    """Options from the texts of the fields; empty ones count as not given. Raises ConsoleError."""
    given = {name: text for name, text in fields.items() if text}
    source = given.get("path", "")
    words = given.get("arguments", "").replace(",", " ") if "(" not in given.get("arguments", "") else ""
    return BackboneOptions(
        path=Path(source) if is_hub_name(source) else expand_user(source).absolute(),
        hub_name=source if is_hub_name(source) else None,
        name=given.get("name"),
        architecture=given.get("architecture"),
        arguments=architecture_arguments(words.split() or given.get("arguments", "").split()),
        container=given.get("container"),
        prefix=given.get("prefix"),
        drop=tuple(given.get("drop", "").replace(",", " ").split()),
        pooling=cast("Pooling", _one_of("pooling", given.get("pooling", "default"), get_args(Pooling))),
        normalisation=given.get("normalisation"),
        mean=_optional(given.get("mean"), lambda text: three_numbers("mean", text)),
        std=_optional(given.get("std"), lambda text: three_numbers("std", text)),
        size=_optional(given.get("size"), lambda text: _pixels("input size", text)),
        resize=_optional(given.get("resize"), lambda text: _pixels("resize", text)),
        crop=_optional(given.get("crop"), _fraction),
        interpolation=_optional(
            given.get("interpolation"),
            lambda text: cast("Interpolation", _one_of("interpolation", text, get_args(Interpolation))),
        ),
    )


def _optional(text: str | None, read: Callable[[str], Value]) -> Value | None:
    return None if text is None else read(text)


def _pixels(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ConsoleError(f"{name} {text}: a number of pixels")
    return int(text)


def _fraction(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConsoleError(f"crop {text}: a fraction of the resized image, above 0 and at most 1") from None


def _one_of(name: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ConsoleError(f"{name} {text}: choose {', '.join(choices)}")
    return text
