"""The filter language: words, fields and comparisons, joined by `and` (or a space), `or`, `not` and parentheses.

dino params:<30 linear                      words, and a number compared
-method:supervised   not method:mae         what must not match
state:failed,cancelled   name:own/*         one of several; a pattern
family:dino score:linear/dtd>70 or mae      `or` binds less than `and`
"few shot"                                  words that belong together
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.published import PUBLISHED
from ssl_console.analysis.ranking import AGGREGATES, Ranking, RankingColumn, RankingRow, pick_columns, pick_rows
from tasks.datasets.card import DatasetCard

Value = str | float | None

SCORE = "score"
"""Field of the scores by task: `score:linear/dtd>70`; without a task, of any of them."""
CLOSE = ")"
_TOKEN = re.compile(r"""\s*(?:(?P<open>-?\()|(?P<close>\))|(?P<term>-?(?:[\w-]+:)?"[^"]*"?|[^\s()][^\s]*))""")
_TERM = re.compile(r'(-?)(?:([\w-]+):)?(?:"([^"]*)"?|(.*))$')
_COMPARED = re.compile(r"(<=|>=|<|>|=)(-?[\d.]+)$")
_FIELD_COMPARED = re.compile(r"([A-Za-z][\w-]*)((?:<=|>=|<|>|=)-?[\d.]+)$")
_UNFINISHED = re.compile(r"(<=|>=|<|>|=)-?$")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
ROW_FIELDS = "name, family, method, arch, params, pretraining, top1, year, epochs, dim, size, weights"
COLUMN_FIELDS = "task, protocol, dataset, domain, metric, classes, data"
RANKING_FIELDS = "score:TASK>70, mean, mean_rank, win_rate, source, complete"


@dataclass(frozen=True)
class Filterable:
    """Subject of a filter: its words, its fields, and its scores by task, if it has any."""

    words: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    scores: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Term:
    """One condition."""

    field: str
    """Empty for a plain word."""
    text: str
    negated: bool = False

    def holds(self, subject: Filterable) -> bool:
        """Whether the subject matches the term. An unknown value matches no term, not even a negated one."""
        if not self.field:
            return _contains(subject.words.lower(), self.text.lower()) != self.negated
        if self.field == SCORE:
            return _has_score(subject.scores or {}, self)
        value = subject.fields.get(self.field)
        return value is not None and _meets(value, self.text) != self.negated

    @property
    def complete(self) -> bool:
        """Whether text follows the colon or comparison sign."""
        return bool(self.text) and not (self.field and _UNFINISHED.search(self.text))

    @property
    def inverse(self) -> Term:
        """The opposite condition."""
        return Term(self.field, self.text, not self.negated)

    @property
    def leaves(self) -> Iterator[Term]:
        yield self


@dataclass(frozen=True)
class Group:
    """Conditions joined by `and` or `or`."""

    parts: tuple[Node, ...]
    any_of: bool = False

    def holds(self, subject: Filterable) -> bool:
        """Whether all conditions hold, or any."""
        return (any if self.any_of else all)(part.holds(subject) for part in self.parts)

    @property
    def inverse(self) -> Group:
        """The negation by De Morgan's laws: unknown values match no term on either side."""
        return Group(tuple(part.inverse for part in self.parts), not self.any_of)

    @property
    def leaves(self) -> Iterator[Term]:
        for part in self.parts:
            yield from part.leaves


Node = Term | Group


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold."""

    parts: tuple[Node, ...] = ()

    def matches(self, subject: Filterable) -> bool:
        """Whether all conditions hold."""
        return all(part.holds(subject) for part in self.parts)

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple(term for part in self.parts for term in part.leaves)

    def uses(self, name: str) -> bool:
        """Whether a term refers to a field."""
        return any(term.field == name for term in self.terms)

    def unknown_fields(self, known: Iterable[str]) -> list[str]:
        """Fields that no shown subject has."""
        names = set(known)
        return [term.field for term in self.terms if term.field and term.field not in names]


def parse(text: str) -> Filter:
    """Parse a filter. Never fails: unfinished terms and parentheses are ignored, as the text may be incomplete while
    it is typed.
    """
    root = _Parser(text).alternatives()
    if root is None:
        return Filter()
    return Filter(root.parts) if isinstance(root, Group) and not root.any_of else Filter((root,))


class _Parser:
    """Recursive descent over the tokens: alternatives of conjunctions of terms."""

    def __init__(self, text: str) -> None:
        tokens = (found["open"] or found["close"] or found["term"] for found in _TOKEN.finditer(text))
        self._tokens = [part for token in tokens for part in _closed(token)]
        self._next = 0

    @property
    def _current(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def alternatives(self) -> Node | None:
        """Conjunctions separated by `or`."""
        found = [self._conjunction()]
        while self._current is not None and self._current.lower() == "or":
            self._next += 1
            found.append(self._conjunction())
        return _joined(found, any_of=True)

    def _conjunction(self) -> Node | None:
        found: list[Node | None] = []
        while self._current is not None and self._current != CLOSE and self._current.lower() != "or":
            found.append(self._one())
        return _joined(found, any_of=False)

    def _one(self) -> Node | None:
        token = self._current or ""
        self._next += 1
        match token.lower():
            case "and":
                return None
            case "not":
                following = self._one() if self._current not in {None, CLOSE} else None
                return following.inverse if following else None
            case "(" | "-(":
                inner = self.alternatives()
                self._next += self._current == CLOSE
                return inner.inverse if inner and token[0] == "-" else inner
        return _term(token)


def _closed(token: str) -> list[str]:
    """A term without the parentheses that close after it; those opened within it are its own."""
    closing = 0
    while token.endswith(")") and len(token) > 1 and token.count(")") > token.count("("):
        token, closing = token[:-1], closing + 1
    return [token, *[CLOSE] * closing]


def _joined(parts: Iterable[Node | None], *, any_of: bool) -> Node | None:
    found = tuple(part for part in parts if part is not None)
    if len(found) < 2:
        return found[0] if found else None
    flat: list[Node] = []
    for part in found:
        flat += part.parts if isinstance(part, Group) and part.any_of == any_of else (part,)
    return Group(tuple(flat), any_of)


def _term(token: str) -> Term | None:
    found = _TERM.match(token)
    assert found is not None
    negated, name, quoted, text = bool(found[1]), (found[2] or "").lower(), found[3], found[4]
    if not name and quoted is None and (compared := _FIELD_COMPARED.match(text)):
        name, text = compared[1].lower(), compared[2]
    term = Term(name, quoted if quoted is not None else text, negated)
    return term if term.complete and term.text not in _COMPARE else None


def split(terms: Filter, rows: Iterable[Filterable], columns: Iterable[Filterable]) -> tuple[Filter, Filter]:
    """The conditions for the rows and those for the columns of a grid.

    A field belongs to the side that has it; a word to the rows if any row has it, otherwise to the columns if one of
    them does. A word that nothing has narrows the rows, to none. Alternatives apply to the columns if all of them do.
    """
    row_subjects, column_subjects = list(rows), list(columns)
    for_rows: list[Node] = []
    for_columns: list[Node] = []
    for part in terms.parts:
        alone = all(_occurs(one, column_subjects) and not _occurs(one, row_subjects) for one in part.leaves)
        (for_columns if alone else for_rows).append(part)
    return Filter(tuple(for_rows)), Filter(tuple(for_columns))


def _occurs(term: Term, subjects: list[Filterable]) -> bool:
    """Whether any subject has the term's field, or matches its word, negated or not."""
    if term.field == SCORE and any(subject.scores is not None for subject in subjects):
        return True
    if term.field:
        return any(term.field in subject.fields for subject in subjects)
    word = Term("", term.text)
    return any(word.holds(subject) for subject in subjects)


def _contains(text: str, part: str) -> bool:
    """Whether a text contains a part, or matches a pattern entirely."""
    return fnmatchcase(text, part) if "*" in part or "?" in part else part in text


def _has_score(scores: Mapping[str, float], term: Term) -> bool:
    """Whether a score of the tasks satisfies the comparison; without a comparison, whether there is a score."""
    compared = _COMPARED.search(term.text)
    wanted = (term.text[: compared.start()] if compared else term.text).lower()
    found = [value for name, value in scores.items() if _contains(name.lower(), wanted)]
    if compared is None:
        return bool(found) != term.negated
    return bool(found) and any(_compares(value, compared) for value in found) != term.negated


def _meets(value: str | float, text: str) -> bool:
    compared = _COMPARED.match(text)
    if compared and isinstance(value, int | float):
        return _compares(value, compared)
    wanted = [part.lstrip("=") for part in text.lower().split(",") if part]
    if isinstance(value, str):
        return any(_contains(value.lower(), part) for part in wanted)
    return any(_number(part) == value for part in wanted)


def _compares(value: float, compared: re.Match[str]) -> bool:
    number = _number(compared[2])
    return number is not None and _COMPARE[compared[1]](value, number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def backbone_subject(card: BackboneCard, weights: str) -> Filterable:
    """The words and fields of a backbone; `weights` is `present` or `missing`."""
    facts = card.facts
    fields: dict[str, Value] = {
        "name": card.name,
        "family": facts.method,
        "method": facts.method,
        "arch": card.architecture,
        "params": facts.parameters_millions,
        "pretraining": facts.pretraining_data,
        "top1": facts.imagenet_top1,
        "year": facts.year,
        "epochs": facts.epochs,
        "dim": facts.feature_dimension,
        "size": card.input.size,
        "weights": weights,
    }
    return Filterable(f"{card.name} {facts.method} {card.architecture}", fields)


def task_subject(name: str, protocol: str, dataset: DatasetCard, data: str) -> Filterable:
    """The words and fields of a task; `data` is `present` or `missing`."""
    fields: dict[str, Value] = {
        "task": name,
        "protocol": protocol,
        "dataset": dataset.name,
        "domain": dataset.domain,
        "metric": dataset.metric,
        "classes": dataset.classes,
        "data": data,
    }
    return Filterable(f"{name} {dataset.title}", fields)


def column_subject(column: RankingColumn, task: Filterable | None) -> Filterable:
    """A column of a ranking: its task, if its card is known, and its variant."""
    fields = {**(task.fields if task else {}), "variant": column.variant, "task": column.task}
    return Filterable(f"{column.label} {task.words if task else ''}", fields)


def row_subject(row: RankingRow, backbone: Filterable | None) -> Filterable:
    """A row of a ranking: its backbone, if its card is known, its scores and its aggregates."""
    found = backbone or Filterable(row.backbone, {"name": row.backbone})
    own: dict[str, Value] = {aggregate.name: aggregate.value(row) for aggregate in AGGREGATES}
    own |= {
        "complete": "yes" if row.complete else "no",
        "source": "published" if row.backbone.endswith(PUBLISHED) else "mine",
    }
    if own["win_rate"] is not None:
        own["win_rate"] = 100 * float(own["win_rate"])
    scores = {label: cell.value for label, cell in row.cells.items()}
    return replace(found, fields={**found.fields, **own}, scores=scores)


def filter_ranking(
    base: Ranking, text: str, rows: Mapping[str, Filterable], columns: Mapping[str, Filterable]
) -> tuple[Ranking, tuple[str, ...]]:
    """The matching rows and columns, with aggregates recomputed, and the fields of the filter that no row or column
    has.

    `rows` are the subjects by backbone, `columns` those by label; other columns are omitted.
    """
    terms = parse(text)
    for_rows, for_columns = split(terms, rows.values(), columns.values())
    fields = {SCORE, *(name for subject in (*rows.values(), *columns.values()) for name in subject.fields)}
    labels = [label for label, subject in columns.items() if for_columns.matches(subject)]
    matching = rows if for_rows == Filter() else {name for name, row in rows.items() if for_rows.matches(row)}
    ranking = pick_rows(base, matching) if len(labels) == len(base.columns) else pick_columns(base, labels, matching)
    return ranking, tuple(terms.unknown_fields(fields))
