"""`file:/path/to.pth?arch=resnet50&container=state_dict&prefix=module.`: a card described by a name alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qsl, unquote

from backbones.catalog.card import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneCard,
    Conversion,
    FactsCard,
    FileWeights,
    InputCard,
    KeyMapping,
    Padding,
    Pooling,
    Triple,
)
from backbones.catalog.timm_info import Description
from backbones.io.card_files import MalformedName, suggest
from backbones.io.files import expand_user

SCHEME = "file:"
NORMALISATIONS: dict[str, tuple[Triple, Triple]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
DEFAULT_NORMALISATION = "imagenet"
"""The same rule for `file:` and `add backbone`: a checkpoint of the user's own is preprocessed with the given
values, or those of a neighbouring file, else with ImageNet's. timm's published values for an architecture
apply to timm's weights only.
"""
CHOICES: dict[str, tuple[str, ...] | None] = {
    "arch": None,
    "container": None,
    "prefix": None,
    "drop": None,
    "conversion": get_args(Conversion),
    "pooling": get_args(Pooling),
    "padding": get_args(Padding),
    "norm": tuple(NORMALISATIONS),
    "size": None,
}
"""Options, and their values where these are enumerated. `drop` is a comma-separated list."""


def file_card(name: str, describe: Callable[[str], Description]) -> BackboneCard:
    """The card of `file:PATH?arch=ARCHITECTURE[&option=value...]`; `describe` returns timm's description of an
    architecture.

    Raises MalformedName for an invalid name, and whatever `describe` raises for its architecture.
    """
    path, options = _split(name)
    about = describe(options["arch"])
    mean, std = NORMALISATIONS[options.get("norm", DEFAULT_NORMALISATION)]
    drop = tuple(part for part in options.get("drop", "").split(",") if part)
    return BackboneCard.model_validate(
        {
            "name": name,
            "title": f"{path.name} ({about.architecture})",
            "architecture": about.architecture,
            "padding": options.get("padding", "torchvision"),
            "pooling": options.get("pooling", "default"),
            "weights": FileWeights(path=str(path)),
            "keys": KeyMapping.model_validate(
                {
                    "container": options.get("container"),
                    "prefix": options.get("prefix", ""),
                    "drop": tuple(dict.fromkeys((*drop, *about.head_keys()))),
                    "conversion": options.get("conversion", "none"),
                }
            ),
            "input": InputCard(
                size=_size(name, options.get("size"), about.size),
                mean=mean,
                std=std,
            ),
            "facts": FactsCard(
                method="own checkpoint",
                parameters_millions=about.parameters_millions,
                feature_dimension=about.feature_dimension,
            ),
        }
    )


def _split(name: str) -> tuple[Path, dict[str, str]]:
    """Absolute path and options, all validated except the architecture."""
    place, _, query = name.removeprefix(SCHEME).partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if not place or len(options) != len(pairs):
        raise MalformedName(f"{name!r}: expected file:PATH?arch=ARCHITECTURE, each option once")
    for key, value in options.items():
        _check(name, key, value)
    if not options.get("arch"):
        raise MalformedName(f"{name!r} has no architecture: add ?arch=resnet50 or another timm name")
    return expand_user(unquote(place)).absolute(), options


def _check(name: str, key: str, value: str) -> None:
    if key not in CHOICES:
        near = suggest(key, CHOICES, limit=1) or tuple(CHOICES)
        raise MalformedName(f"{name!r}: unknown option {key!r}; expected {' or '.join(near)}")
    choices = CHOICES[key]
    if choices is not None and value not in choices:
        raise MalformedName(f"{name!r}: {key}={value!r} is not one of {', '.join(choices)}")


def _size(name: str, given: str | None, native: int) -> int:
    if given is None:
        return native
    if not given.isdecimal() or not 8 <= int(given) <= 2048:
        raise MalformedName(f"{name!r}: size={given!r} is not a number of pixels from 8 to 2048")
    return int(given)
