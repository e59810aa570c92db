"""Overrides of single parameters of protocols by name, `linear.max_iter=500`: parsed, typed and checked. An override
names the protocol's family (`few-shot` for few-shot-5, -20 and -50) and a field of its parameters. Needs neither
torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from backbones.io.card_files import suggest
from tasks.catalog.protocol import Parameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.spec import ParameterValue

Overrides = Mapping[str, Mapping[str, ParameterValue]]
"""Family, then field, then value; text is converted to the field's type."""


class OverrideError(ValueError):
    """An invalid override; the message names it and the alternatives."""


def parse_overrides(settings: Iterable[str]) -> Overrides:
    """Read `family.key=value` texts, as for `--set`. Of several with the same key, the last applies.

    Raises:
        OverrideError: the text has another form, the family or key does not exist, or the value does not fit.
    """
    parsed: dict[str, dict[str, ParameterValue]] = {}
    for setting in settings:
        place, equals, value = setting.partition("=")
        family, dot, key = place.strip().rpartition(".")
        if not equals or not dot:
            raise OverrideError(f"{setting!r} is not a setting: write family.key=value, e.g. linear.max_iter=500")
        parsed.setdefault(family, {})[key] = typed_value(family, key, value.strip())
    return parsed


def merged(first: Overrides, second: Overrides) -> Overrides:
    """Both combined; for the same field, the second applies."""
    families = dict.fromkeys([*first, *second])
    return {family: {**first.get(family, {}), **second.get(family, {})} for family in families}


def check_overrides(overrides: Overrides) -> None:
    """Raise OverrideError for an unknown family or key, or an invalid value."""
    for family, changes in overrides.items():
        for key, value in changes.items():
            typed_value(family, key, value)


def apply_overrides(parameters: Parameters, family: str, overrides: Overrides) -> Parameters:
    """The parameters with the changes for their family made.

    Raises:
        OverrideError: for a change that does not exist or fit, of any family.
    """
    check_overrides(overrides)
    changes = {key: typed_value(family, key, value) for key, value in overrides.get(family, {}).items()}
    try:
        return replace(parameters, **changes)
    except ValueError as error:
        raise OverrideError(f"{family}: {error}") from error


def typed_value(family: str, key: str, value: ParameterValue) -> ParameterValue:
    """`value` as the type of the family's field; a tuple may be written as `10,20`.

    Raises:
        OverrideError: the family or key does not exist, or the value does not fit.
    """
    adapters = _adapters(family)
    if key not in adapters:
        close = suggest(key, adapters)
        raise OverrideError(f"{family} has no parameter {key!r}: {_hint(close, adapters)}")
    hint, adapter, many = adapters[key]
    given = value.split(",") if many and isinstance(value, str) else value
    try:
        typed: ParameterValue = adapter.validate_python(given)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise OverrideError(f"{family}.{key} cannot be {value!r}: it takes {hint} ({message})") from error
    return typed


def as_values(parameters: Parameters) -> dict[str, ParameterValue]:
    """The parameters in the form of a task specification."""
    return asdict(parameters)


@lru_cache(maxsize=16)
def _adapters(family: str) -> Mapping[str, tuple[str, TypeAdapter[Any], bool]]:
    """By field: description of its type, validator, and whether it has several values."""
    classes = {facts.family: type(facts.presets["default"]) for facts in PROTOCOLS.values()}
    if family not in classes:
        raise OverrideError(f"there is no protocol family {family!r}: {_hint(suggest(family, classes), classes)}")
    hints = get_type_hints(classes[family])
    return {
        item.name: (_words(hint), TypeAdapter(hint), get_origin(hint) is tuple)
        for item in fields(classes[family])
        for hint in (hints[item.name],)
    }


def _words(hint: object) -> str:
    """Description of a field's type."""
    names: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    if hint in names:
        return names[hint]
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        return f"several values with commas between, each {_words(arguments[0])}"
    return " or ".join(str(argument) for argument in arguments)


def _hint(close: Iterable[str], known: Iterable[str]) -> str:
    names = list(close)
    return f"did you mean {' or '.join(map(repr, names))}?" if names else f"choose from {', '.join(known)}"
