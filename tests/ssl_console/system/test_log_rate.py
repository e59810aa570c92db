"""Lines that repeat are logged once per interval, with how many were left out."""

from __future__ import annotations

import logging

from ssl_console.system.safe_text import PrintableFormatter, RateLimit


def written(limit: RateLimit, level: int, text: str, *arguments: object) -> str | None:
    """The line as it is written; None for one that is left out."""
    record = logging.LogRecord("name", level, "file.py", 3, text, arguments, None)
    return record.getMessage() if limit.filter(record) else None


def test_a_repeating_line_is_written_once_a_minute_with_its_count() -> None:
    times = iter([0.0, 1.0, 2.0, 61.0])
    limit = RateLimit(by_text=True, clock=lambda: next(times))
    lines = [written(limit, logging.ERROR, "%s: no space", "end.1.json") for _ in range(4)]
    assert lines == ["end.1.json: no space", None, None, "end.1.json: no space (and 2 more like it)"]


def test_lines_of_one_place_are_alike_unless_their_texts_count() -> None:
    by_place, by_text = RateLimit(clock=lambda: 0.0), RateLimit(by_text=True, clock=lambda: 0.0)
    assert [written(by_place, logging.WARNING, "from %s", who) for who in "ab"] == ["from a", None]
    assert [written(by_text, logging.WARNING, "from %s", who) for who in "ab"] == ["from a", "from b"]


def test_what_happens_is_always_written() -> None:
    limit = RateLimit(by_text=True, clock=lambda: 0.0)
    assert [written(limit, logging.INFO, "run a: done") for _ in range(2)] == ["run a: done"] * 2


def test_a_line_of_a_log_has_no_escape_sequences_and_no_further_lines() -> None:
    record = logging.LogRecord(
        "x", logging.ERROR, "x.py", 1, "hook said: %s", ("\x1b]0;title\x07red\n2026 forged",), None
    )
    assert PrintableFormatter("now %(message)s").format(record) == "now hook said: red2026 forged"
