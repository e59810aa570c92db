"""Option values with their own syntax; errors name the option."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from ssl_console.system.errors import ConsoleError


def one_of(option: str, value: str, literal: object) -> str:
    """Return `value` if the Literal type has it. Raises ConsoleError."""
    if value not in get_args(literal):
        raise ConsoleError(f"{option} {value}: choose {', '.join(get_args(literal))}")
    return value


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
            raise ConsoleError(f"--margin {setting}: write METRIC=SIZE with a size above 0, e.g. accuracy=0.5")
    return found
