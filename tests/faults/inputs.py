"""Invalid inputs: real files with a few bytes changed, and values of every type where one type is expected."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.scale import chosen

Item = TypeVar("Item")

FUZZ = settings(settings.get_profile("default"), max_examples=chosen().inputs, deadline=None, database=None)
NAMES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "../../etc/passwd",
            "/etc/passwd",
            "a\nb\r\nc",
            "\x1b]52;c;aGk=\x07",
            "\x9b31mred",
            "[bold red]x[/]",
            "[@click=app.quit]x[/]",
            "=cmd|' /C calc'!A0",
            "+1+1",
            "-2+3",
            "@SUM(A1)",
            "\uff1d1+1",
            "\t=1",
            "\\input{/etc/passwd}",
            "$x$ & 1 \\\\ \\write18{id}",
            "[5pt]",
            "*",
            "<script>alert(1)</script>",
            "|`_*~",
            "\u202eexe.csv",
            "x" * 10_000,
        ]
    ),
)
"""Names that control terminals, spreadsheets, LaTeX, Markdown, markup or paths, among others."""


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """The file with up to four places changed, cut or lengthened; or unrelated bytes."""
    places = st.integers(0, max(0, len(whole) - 1))
    edit = st.tuples(places, st.integers(0, 12), st.binary(max_size=8))
    return st.one_of(st.lists(edit, min_size=1, max_size=4).map(lambda edits: _edited(whole, edits)), st.binary())


def values() -> st.SearchStrategy[object]:
    """Any value that TOML or JSON can represent."""
    plain = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), NAMES)
    return st.recursive(plain, lambda inner: st.one_of(st.lists(inner), st.dictionaries(NAMES, inner)), max_leaves=8)


def try_inputs(strategy: st.SearchStrategy[Item], look: Callable[[Path, Item], object]) -> int:
    """Run a reader on many inputs, each in a folder that is empty at first; return their number."""
    count = 0

    @FUZZ
    @given(strategy)
    def tried(item: Item) -> None:
        nonlocal count
        count += 1
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            look(Path(folder), item)

    tried()
    return count


def _edited(whole: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, added in edits:
        whole = whole[:place] + added + whole[place + removed :]
    return whole
