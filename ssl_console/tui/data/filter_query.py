"""The filter language: words and `field:value`, all of which must hold.

dino params:<30 linear        words, and a number compared
-method:supervised            a leading minus turns a term round
state:failed,cancelled        one of several
"few shot"                    words that belong together
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Value = str | float | None

_TERM = re.compile(r'(-?)(?:([\w-]+):)?(?:"([^"]*)"?|(\S*))')
_COMPARED = re.compile(r"(<=|>=|<|>|=)(-?[\d.]+)$")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Filterable:
    """Subject of a filter: its words, and its fields."""

    words: str
    fields: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Term:
    """One condition."""

    field: str
    """Empty for a plain word."""
    text: str
    negated: bool = False

    def holds(self, subject: Filterable) -> bool:
        """Whether the subject meets the term. An unknown value meets no term, not even a negated one."""
        if not self.field:
            return (self.text.lower() in subject.words.lower()) != self.negated
        value = subject.fields.get(self.field)
        return value is not None and _meets(value, self.text) != self.negated

    @property
    def complete(self) -> bool:
        """Whether something has been typed behind the colon yet."""
        return bool(self.text)


@dataclass(frozen=True)
class Filter:
    """Terms that must all hold."""

    terms: tuple[Term, ...] = ()

    def matches(self, subject: Filterable) -> bool:
        """Whether all hold."""
        return all(term.holds(subject) for term in self.terms)

    def unknown_fields(self, known: Iterable[str]) -> list[str]:
        """Fields that nothing shown has."""
        names = set(known)
        return [term.field for term in self.terms if term.field and term.field not in names]


def parse(text: str) -> Filter:
    """Parse a filter. Never fails: unfinished terms are ignored."""
    terms = (
        Term((found[2] or "").lower(), found[3] if found[3] is not None else found[4], bool(found[1]))
        for found in _TERM.finditer(text)
    )
    return Filter(tuple(term for term in terms if term.complete and term.text not in {"<", ">", "=", "<=", ">="}))


def split(terms: Filter, rows: Iterable[Filterable], columns: Iterable[Filterable]) -> tuple[Filter, Filter]:
    """The terms for the rows and those for the columns of a grid.

    A field belongs to the side that has it; a word to the rows if any row has it, otherwise to the columns if one of
    them does. A word that nothing has narrows the rows, to none.
    """
    row_subjects, column_subjects = list(rows), list(columns)
    for_rows: list[Term] = []
    for_columns: list[Term] = []
    for term in terms.terms:
        plain = Term(term.field, term.text)
        mine = _belongs(plain, row_subjects)
        target = for_columns if not mine and _belongs(plain, column_subjects) else for_rows
        target.append(term)
    return Filter(tuple(for_rows)), Filter(tuple(for_columns))


def _belongs(term: Term, subjects: list[Filterable]) -> bool:
    if term.field:
        return any(term.field in subject.fields for subject in subjects)
    return any(term.holds(subject) for subject in subjects)


def _meets(value: str | float, text: str) -> bool:
    compared = _COMPARED.match(text)
    if compared and isinstance(value, int | float):
        try:
            return _COMPARE[compared[1]](value, float(compared[2]))
        except ValueError:
            return False
    return any(_is(value, part) for part in text.lower().split(",") if part)


def _is(value: str | float, part: str) -> bool:
    if isinstance(value, str):
        return part.lstrip("=") in value.lower()
    try:
        return float(part.lstrip("=")) == value
    except ValueError:
        return False
