"""The characters for drawing, in Unicode and in ASCII."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

ASCII_VARIABLE = "SSL_CONSOLE_ASCII"


@dataclass(frozen=True)
class Glyphs:
    """One set of signs, each one cell wide."""

    name: str
    ellipsis: str
    ticked: str
    partly: str
    unticked: str
    none: str
    """Unknown value, never zero."""
    running: str
    queued: str
    starting: str
    done: str
    failed: str
    cancelled: str
    stale: str
    missing: str
    empty: str
    bar: tuple[str, ...]
    """Parts of a filled cell, from the first to the full one."""
    bar_rest: str
    halves: tuple[str, str, str]
    """A line on the left half of a cell, on the right half, and on both."""
    steps: tuple[str, ...]
    """Heights that show a level without colour, lowest first."""
    up: str
    down: str
    left: str
    right: str
    rule: str
    rule_down: str
    corner: str
    tick_mark: str
    markers: tuple[str, ...]
    """Markers of the series of a chart, distinct in shape."""
    braille: bool
    dot: str
    plus_minus: str
    times: str


UNICODE = Glyphs(
    name="unicode",
    ellipsis="…",
    ticked="■",
    partly="▪",
    unticked="□",
    none="—",
    running="▶",
    queued="◌",
    starting="◍",
    done="✓",
    failed="✗",
    cancelled="⊘",
    stale="~",
    missing="↓",
    empty="·",
    bar=("╸", "━"),
    bar_rest="─",
    halves=("╸", "╺", "━"),
    steps=("▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"),
    up="▲",
    down="▼",
    left="‹",  # noqa: RUF001
    right="›",  # noqa: RUF001
    rule="─",
    rule_down="│",
    corner="└",
    tick_mark="┤",
    markers=("●", "▲", "■", "◆", "○", "△", "□", "◇"),
    braille=True,
    dot="•",
    plus_minus="±",
    times="×",  # noqa: RUF001
)

ASCII = Glyphs(
    name="ascii",
    ellipsis="~",
    ticked="*",
    partly="+",
    unticked=".",
    none="-",
    running=">",
    queued="o",
    starting="s",
    done="v",
    failed="x",
    cancelled="c",
    stale="?",
    missing="!",
    empty=".",
    bar=("=",),
    bar_rest="-",
    halves=("=", "=", "="),
    steps=(".", ":", ";", "=", "+", "*", "%", "#"),
    up="^",
    down="v",
    left="<",
    right=">",
    rule="-",
    rule_down="|",
    corner="+",
    tick_mark="|",
    markers=("o", "x", "#", "@", "+", "%", "&", "$"),
    braille=False,
    dot="*",
    plus_minus="+-",
    times="x",
)


def choose(ascii_only: bool | None = None) -> Glyphs:
    """The requested set; by default that of the environment variable, or of the encoding of the output."""
    if ascii_only is None:
        ascii_only = bool(os.environ.get(ASCII_VARIABLE)) or not _can_encode("▁✓⣿…")
    return ASCII if ascii_only else UNICODE


def _can_encode(sample: str) -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        sample.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def bar(share: float, width: int, glyphs: Glyphs) -> str:
    """A progress bar of `width` cells, `share` of it filled."""
    parts = len(glyphs.bar)
    filled = round(max(0.0, min(1.0, share)) * width * parts)
    full, rest = divmod(filled, parts)
    part = glyphs.bar[rest - 1] if rest else ""
    return glyphs.bar[-1] * full + part + glyphs.bar_rest * (width - full - len(part))
