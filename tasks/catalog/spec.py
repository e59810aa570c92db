"""One task, fully resolved: protocol, version, dataset and every parameter that affects the score; and overrides of
single parameters by name, `linear.max_iter=500`: parsed, typed and checked. An override names the protocol's family
(`few-shot` for few-shot-5, -20 and -50) and a field of its parameters. Needs neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from backbones.catalog.card import Scalar
from backbones.io.card_files import suggest
from backbones.io.file_digests import canonical
from tasks.catalog.protocol import Parameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.card import MetricName

ParameterValue = Scalar | tuple[Scalar, ...]
Overrides = Mapping[str, Mapping[str, ParameterValue]]
"""Family, then field, then value; text is converted to the field's type."""


class TaskSpec(BaseModel):
    """Specification for the worker and the result's key. `name` is `protocol/dataset` or a task card's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    protocol: str
    protocol_version: int
    dataset: str
    preset: str
    parameters: dict[str, ParameterValue]

    @property
    def variant(self) -> str:
        """`preset`, or `preset+digest` if parameters differ from it: identifies the columns of one task."""
        preset = PROTOCOLS[self.protocol].presets.get(self.preset)
        parameters = canonical(self.parameters)
        if preset is not None and canonical(as_values(preset)) == parameters:
            return self.preset
        return f"{self.preset}+{hashlib.sha256(parameters).hexdigest()[:6]}"

    @property
    def further_datasets(self) -> tuple[str, ...]:
        """Names of datasets whose test images are scored too: the parameter `also`."""
        also = self.parameters.get("also", ())
        return tuple(str(name) for name in also) if isinstance(also, tuple | list) else ()

    def typed_parameters(self) -> Parameters:
        """The protocol's own frozen dataclass."""
        return type(PROTOCOLS[self.protocol].presets["default"])(**self.parameters)


NO_CONDITIONS: Mapping[str, Any] = MappingProxyType({})


def result_identity(
    backbone_identity: Mapping[str, Any],
    manifest_digest: str,
    task: TaskSpec,
    seed: int,
    *,
    precision: str = "float32",
    metric: MetricName = "accuracy",
    conditions: Mapping[str, Any] = NO_CONDITIONS,
) -> dict[str, Any]:
    """The parts of a result's key in readable form.

    `backbone_identity` is `backbones.catalog.card.identity(...)`: weights digest, architecture, pooling, preprocessing.
    `manifest_digest` is the dataset's: the content of images and how they are read (background, orientation, bits),
    labels, classes and splits. `metric` is that of the dataset card. `conditions` are further settings that affect the
    score (layers, engine); those with their default are omitted, so that earlier keys stay valid.
    """
    return {
        **conditions,
        "backbone": dict(backbone_identity),
        "data": {"manifest": manifest_digest, "metric": metric},
        "task": {
            "protocol": task.protocol,
            "version": task.protocol_version,
            "parameters": {  # several values as a list, as JSON reads them back
                name: list(value) if isinstance(value, tuple) else value for name, value in task.parameters.items()
            },
        },
        "seed": seed,
        "precision": precision,
    }


def result_key(
    backbone_identity: Mapping[str, Any],
    manifest_digest: str,
    task: TaskSpec,
    seed: int,
    *,
    precision: str = "float32",
    metric: MetricName = "accuracy",
    conditions: Mapping[str, Any] = NO_CONDITIONS,
) -> str:
    """SHA-256 over `result_identity`, as 64 hexadecimal digits."""
    parts = result_identity(
        backbone_identity, manifest_digest, task, seed, precision=precision, metric=metric, conditions=conditions
    )
    return hashlib.sha256(canonical(parts)).hexdigest()


def comparability_key(manifest_digest: str, task: TaskSpec, *, metric: MetricName = "accuracy") -> str:
    """SHA-256 of the parts that results of one ranking column have in common: protocol with version and parameters,
    data, and metric. Backbone and seed may differ.
    """
    parts = {
        "data": {"manifest": manifest_digest, "metric": metric},
        "task": {"protocol": task.protocol, "version": task.protocol_version, "parameters": dict(task.parameters)},
    }
    return hashlib.sha256(canonical(parts)).hexdigest()


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
    if not changes:
        return parameters
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
    """The parameters in the form of a task specification. Their values are flat: `asdict` would copy each of them."""
    return dict(vars(parameters))


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
