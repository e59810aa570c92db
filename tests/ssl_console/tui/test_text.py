from __future__ import annotations

import pytest
from rich.cells import cell_len

from ssl_console.tui.style.text import Span, Tone, clean, cut, fit, length, line, wrap, wrap_line

HOSTILE = "\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x07[bold]not markup[/bold] a\rb\x00\u202eevil"


def test_text_from_outside_loses_what_a_terminal_would_obey_and_keeps_its_brackets() -> None:
    shown = clean(HOSTILE)
    assert "[bold]not markup[/bold]" in shown
    assert shown.isprintable()


@pytest.mark.parametrize("text", ["", "a", "abcdefgh", "漢字かな交じり", HOSTILE])
@pytest.mark.parametrize("width", [0, 1, 2, 5, 8])
def test_fitted_text_takes_exactly_its_width(text: str, width: int) -> None:
    assert cell_len(fit(text, width)) == width


def test_what_is_cut_says_so() -> None:
    assert fit("backbone", 5) == "back…"
    assert fit("back", 5) == "back "
    assert fit("7.5", 6, "right") == "   7.5"


def test_a_cut_line_keeps_its_tones_and_ends_in_an_ellipsis() -> None:
    spans = cut(line("ab", Span("cdef", Tone.BAD)), 4)
    assert "".join(span.text for span in spans) == "abc…"
    assert spans[-1].tone is Tone.BAD
    assert length(cut(line("ab", "cd"), 4)) == 4


def test_wrapped_lines_are_never_too_long_and_lose_no_word() -> None:
    text = "the weights of paper/simclr are missing: run `ssl-console weights fetch paper/simclr` " + "x" * 40
    lines = wrap(text, 20)
    assert max(map(cell_len, lines)) <= 20
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize("width", [20, 40, 200])
def test_a_line_of_spans_is_wrapped_with_every_word_in_its_tone(width: int) -> None:
    spans = line(Span(" demo/mae", Tone.STRONG), Span("  ! chance: not better than guessing; check labels", Tone.WARN))
    parts = wrap_line(spans, width)
    assert max(map(length, parts)) <= width
    assert " ".join("".join(span.text for span in part).strip() for part in parts).split() == (
        "".join(span.text for span in spans).split()
    )
    assert {span.tone for part in parts for span in part if "guessing" in span.text} == {Tone.WARN}
