"""Format of p-values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ssl_console
from ssl_console.analysis.statistics.distributions import format_p


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "p = 0.5"), (0.0321, "p = 0.032"), (1e-4, "p = 0.0001"), (9e-5, "p < 0.0001"), (0.0, "p < 0.0001")],
)
def test_no_p_value_is_written_as_zero(value: float, text: str) -> None:
    assert format_p(value) == text
    assert format_p(value, "") == text.removeprefix("p ").removeprefix("= ")


def test_p_values_are_written_by_one_function() -> None:
    root = Path(ssl_console.__file__).parent
    shown = re.compile(r"""\bp (=|<|\{)[^"]*\{|p_value:|adjusted_p:\.""")
    others = [
        f"{path}: {text.strip()}"
        for path in root.rglob("*.py")
        for text in path.read_text().splitlines()
        if 'f"' in text and shown.search(text)
    ]
    assert others == []
