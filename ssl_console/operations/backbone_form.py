"""Conversion of the form that adds a backbone to options. Errors name the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, cast, get_args

from backbones.catalog.card import Interpolation, Pooling
from backbones.catalog.hub_models import is_hub_name
from ssl_console.operations.add_backbone import BackboneOptions
from ssl_console.operations.option_texts import architecture_arguments, three_numbers
from ssl_console.system.errors import ConsoleError

Value = TypeVar("Value")


def options_of_form(fields: Mapping[str, str]) -> BackboneOptions:
    """Options from the texts of the fields; empty ones count as not given. Raises ConsoleError."""
    given = {name: text for name, text in fields.items() if text}
    source = given.get("path", "")
    words = given.get("arguments", "").replace(",", " ") if "(" not in given.get("arguments", "") else ""
    return BackboneOptions(
        path=Path(source) if is_hub_name(source) else Path(source).expanduser().absolute(),
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
