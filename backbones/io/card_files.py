"""Folders of TOML cards: reading, naming, and search by name or glob.

Generic over the card's pydantic model, so backbones, datasets, tasks and suites share one reader. An invalid card
never hides the others: it becomes a `CardProblem` that names file, key and value. Needs neither torch nor numpy.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from backbones.io.urls import redacted_text

CardT = TypeVar("CardT", bound=BaseModel)

LARGEST_CARD = 256 * 1024
MOST_PROBLEMS = 10
"""Maximum number of reported problems per card."""
_NOT_IN_NAMES = re.compile(r"[\s*?\[\]:,]")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class CardProblem:
    """Reason why a card was left out. `key` is the dotted key in the file, None for the whole file."""

    path: Path
    key: str | None
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.key is None else f"{self.path}: {self.key}: {self.message}"


@dataclass(frozen=True)
class Override:
    """A user's card that replaces another one of the same name."""

    name: str
    path: Path
    instead_of: Path

    def __str__(self) -> str:
        return f"{self.name}: {self.path} is used instead of {self.instead_of}"


@dataclass(frozen=True)
class CardFolder(Generic[CardT]):
    """Content of a folder of cards: valid cards by name, their paths, and the problems of the others."""

    cards: dict[str, CardT]
    paths: dict[str, Path]
    problems: tuple[CardProblem, ...]


class CardNameError(ValueError):
    """A name without a card; the message contains the name and possible alternatives."""


class UnknownName(CardNameError):  # noqa: N818 - a domain word, raised as such
    """No card has this name, or no name matches this pattern."""

    def __init__(self, kind: str, name: str, suggestions: Sequence[str] = ()) -> None:
        self.kind, self.name, self.suggestions = kind, name, tuple(suggestions)
        what = f"no {kind} matches {name!r}" if _GLOB.search(name) else f"no {kind} is named {name!r}"
        super().__init__(what + _did_you_mean(self.suggestions))


class MalformedName(CardNameError):  # noqa: N818 - as above
    """A name that describes a card (`file:...`, `timm:...`) with invalid syntax."""


def read_cards(folder: Path, model: type[CardT], **fixed: object) -> CardFolder[CardT]:
    """Read every `*.toml` below `folder`; a card's name is its path there without the suffix (`paper/moco-v2`).

    `fixed` is added to every card in addition to its name and its file's content. A missing folder contains no cards.
    """
    cards: dict[str, CardT] = {}
    paths: dict[str, Path] = {}
    problems: list[CardProblem] = []
    for path in sorted(path for path in folder.rglob("*.toml") if path.is_file()):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # hidden
        name = path.relative_to(folder).with_suffix("").as_posix()
        answer = _read_card(path, model, {**fixed, "name": name})
        if isinstance(answer, list):
            problems.extend(answer)
        else:
            cards[name], paths[name] = answer, path
    return CardFolder(cards, paths, tuple(problems))


def check_card(path: Path, model: type[CardT], name: str) -> CardT | list[CardProblem]:
    """Validate one file as the card of a name, whatever its path; returns the card or all of its problems."""
    return _read_card(path, model, {"name": name})


def suggest(name: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Known names most similar to `name`, best first; a name's last part counts as much as the whole."""
    wanted = name.lower()
    scored = [(_likeness(wanted, candidate.lower()), candidate) for candidate in known]
    close = sorted((item for item in scored if item[0] >= 0.6), key=lambda item: (-item[0], item[1]))
    return tuple(candidate for _, candidate in close[:limit])


def match(patterns: Iterable[str], known: Iterable[str], kind: str = "card") -> list[str]:
    """Known names selected by the patterns, each once, in the patterns' order and then in that of `known`.

    A pattern that is itself a known name selects just that one. Raises UnknownName when a pattern selects nothing.
    """
    names = list(known)
    chosen: dict[str, None] = {}
    for pattern in patterns:
        hits = [pattern] if pattern in names else fnmatch.filter(names, pattern) if is_glob(pattern) else []
        if not hits:
            raise UnknownName(kind, pattern, suggest(pattern.replace("*", ""), names))
        chosen.update(dict.fromkeys(hits))
    return list(chosen)


def is_glob(name: str) -> bool:
    """Whether a name is a pattern (`paper/*`) rather than the name of one card."""
    return _GLOB.search(name) is not None


def _read_card(path: Path, model: type[CardT], given: dict[str, object]) -> CardT | list[CardProblem]:
    try:
        name, size = str(given["name"]), path.stat().st_size
        if not name.isprintable() or _NOT_IN_NAMES.search(name):
            raise ValueError(f"the name {name!r} contains a space, a control character or one of * ? [ ] : ,")
        if size > LARGEST_CARD:
            raise ValueError(f"it has {size:,} bytes, but a card has at most {LARGEST_CARD:,}")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        taken = sorted(set(content) & set(given))
        if taken:
            raise ValueError(f"{', '.join(taken)}: must not be in the file; a card's name is its path")
    except OSError as error:
        return [CardProblem(path, None, f"cannot be read: {error.strerror or error}")]
    except RecursionError:
        return [CardProblem(path, None, "is nested too deeply to be a card")]
    except ValueError as error:
        return [CardProblem(path, None, f"is not a card: {error}")]
    try:
        return model.model_validate({**content, **given})
    except ValidationError as error:
        return list(_problems(path, model, content, error))


def _problems(
    path: Path, model: type[BaseModel], content: dict[str, object], error: ValidationError
) -> Iterator[CardProblem]:
    found = error.errors(include_url=False)
    for item in found[:MOST_PROBLEMS]:
        key = _place(item["loc"], content)
        if item["type"] == "extra_forbidden":
            message = "unknown key" + _did_you_mean(suggest(str(item["loc"][-1]), _field_names(model)))
        elif item["type"] == "missing":
            message = "is missing"
        else:
            message = f"{_sentence(item['msg'])}, not {_short(item['input'])}"
        yield CardProblem(path, key or None, message)
    if len(found) > MOST_PROBLEMS:
        yield CardProblem(path, None, f"and {len(found) - MOST_PROBLEMS:,} more problems")


def _place(location: tuple[int | str, ...], content: object) -> str:
    """Key as in the file: pydantic also lists the attempted member of a union, which is not in the file."""
    parts: list[str] = []
    for index, part in enumerate(location):
        here = _child(content, part)
        if not isinstance(here, (dict, list)) and index + 1 < len(location):
            continue
        parts.append(str(part))
        content = here
    return ".".join(parts)


def _child(content: object, part: int | str) -> object:
    if isinstance(content, dict):
        return cast("dict[object, object]", content).get(part)
    if isinstance(content, list) and isinstance(part, int) and part < len(content):
        return cast("list[object]", content)[part]
    return None


@cache
def _field_names(model: type[BaseModel]) -> frozenset[str]:
    """Names of all fields of the model and of nested models."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return frozenset(name for part in parts for name in part.get("properties", {}))


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:]


def _short(value: object, limit: int = 60) -> str:
    text = redacted_text(repr(value))
    return text if len(text) <= limit else text[:limit] + "..."


def _did_you_mean(suggestions: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else ""


def _likeness(wanted: str, candidate: str) -> float:
    if wanted and wanted in candidate:
        return 1.0 + len(wanted) / len(candidate)
    return max(_ratio(wanted, candidate), _ratio(wanted, candidate.rsplit("/", 1)[-1]))


def _ratio(left: str, right: str) -> float:
    matcher = difflib.SequenceMatcher(None, left, right)
    return matcher.ratio() if matcher.real_quick_ratio() >= 0.6 and matcher.quick_ratio() >= 0.6 else 0.0


class CardModel(BaseModel):
    """Frozen model that rejects unknown keys, so that a misspelt key is never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
