"""Every backbone by name: the built-in cards, the user's own, and names that describe a card.

Needs neither torch nor timm: `timm:` and `file:` names are resolved in a subprocess (`backbones.catalog.timm_info`).

Names for `torch.hub.load` find the cards of the same weights: `facebookresearch/dinov2:dinov2_vits14`, also with a
branch (`facebookresearch/swav:main/resnet50`); an entry point of only one repository (`dinov2_vits14`) is enough.
Nothing of such a repository is downloaded or run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
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
    TimmWeights,
    Triple,
)
from backbones.catalog.hub_models import HubStore, hub_reference, is_hub_name
from backbones.catalog.timm_info import Description, Resolver, timm_card
from backbones.io.card_files import (
    CardNameError,
    CardProblem,
    MalformedName,
    Override,
    UnknownName,
    match,
    read_cards,
    suggest,
)
from backbones.io.files import expand_user
from backbones.io.plugins import BACKBONES, PlugInProblem, card_folders

FILE = "file:"
NORMALISATIONS: dict[str, tuple[Triple, Triple]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
DEFAULT_NORMALISATION = "imagenet"
"""Used for `file:` and `add backbone` alike: a checkpoint of the user's own is preprocessed with the given
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
BUILT_IN = Path(__file__).parents[1] / "cards"
TIMM = "timm:"
OWNER = "facebookresearch/"
_SIZES = {"s": "small", "b": "base", "l": "large", "g": "giant"}
_DINOV3 = {
    "vits16": "small", "vits16plus": "small_plus", "vitb16": "base", "vitl16": "large", "vith16plus": "huge_plus",
    "vit7b16": "7b",
}  # fmt: skip
ENTRIES: Mapping[str, Mapping[str, str]] = {
    "dino": {
        "dino_vits16": "timm:vit_small_patch16_224.dino",
        "dino_vits8": "timm:vit_small_patch8_224.dino",
        "dino_vitb16": "timm:vit_base_patch16_224.dino",
        "dino_vitb8": "timm:vit_base_patch8_224.dino",
        "dino_resnet50": "ssl/dino-resnet50",
    },
    "dinov2": {
        **{f"dinov2_vit{s}14": f"timm:vit_{size}_patch14_dinov2.lvd142m" for s, size in _SIZES.items()},
        **{f"dinov2_vit{s}14_reg": f"timm:vit_{size}_patch14_reg4_dinov2.lvd142m" for s, size in _SIZES.items()},
    },
    "dinov3": {
        **{f"dinov3_{entry}": f"timm:vit_{size}_patch16_dinov3.lvd1689m" for entry, size in _DINOV3.items()},
        **{
            f"dinov3_convnext_{size}": f"timm:convnext_{size}.dinov3_lvd1689m"
            for size in ("tiny", "small", "base", "large")
        },
    },
    "swav": {"resnet50": "paper/swav"},
    "vicreg": {"resnet50": "ssl/vicreg"},
    "barlowtwins": {"resnet50": "ssl/barlow-twins"},
}
"""Entry points by repository, and the name of the card with the same weights."""
_ALONE = {entry: name for entries in ENTRIES.values() for entry, name in entries.items() if "_" in entry}


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
    place, _, query = name.removeprefix(FILE).partition("?")
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


@dataclass(frozen=True)
class BackboneCatalog:
    """Cards by name, sorted; problems of other cards; and the user's cards that replace others."""

    cards: dict[str, BackboneCard]
    problems: tuple[CardProblem | PlugInProblem, ...] = ()
    overrides: tuple[Override, ...] = ()
    resolver: Resolver = field(default_factory=Resolver)
    hub: HubStore = field(default_factory=HubStore)

    @classmethod
    def load(
        cls, user_folders: Sequence[Path] = (), cache_folder: Path | None = None, hub: HubStore | None = None
    ) -> BackboneCatalog:
        """Read the built-in cards, those of plug-ins, then each folder; later cards of a name take precedence,
        which is reported.

        `cache_folder` caches timm's descriptions of `timm:` and `file:` names; without one, each lookup queries timm.
        `hub` contains the fetched models of `hf:` names.
        """
        cards: dict[str, BackboneCard] = {}
        paths: dict[str, Path] = {}
        problems: list[CardProblem] = []
        overrides: list[Override] = []
        plugged, plug_in_problems = card_folders(BACKBONES)
        for folder in (BUILT_IN, *plugged, *user_folders):
            found = read_cards(folder, BackboneCard)
            overrides.extend(Override(name, found.paths[name], paths[name]) for name in found.cards if name in paths)
            cards.update(found.cards)
            paths.update(found.paths)
            problems.extend(found.problems)
        problems_found: list[CardProblem | PlugInProblem] = [*problems, *plug_in_problems]
        return cls(
            dict(sorted(cards.items())),
            tuple(problems_found),
            tuple(overrides),
            Resolver(cache_folder),
            hub or HubStore(),
        )

    def get(self, name: str) -> BackboneCard:
        """The card of this name, or the one described by a `timm:`, `file:` or `hf:` name or one of torch.hub.

        Raises UnknownName or MalformedName (both CardNameError), ResolverError when timm cannot be queried, and
        UnfetchedModel for a model of the hub that was not fetched.
        """
        if name in self.cards:
            return self.cards[name]
        if name.startswith(FILE):
            return file_card(name, self.resolver.describe)
        if is_hub_name(name):
            return self._of_timm(name) or self.hub.get(name)
        if name.startswith(TIMM):
            return self._timm(name.removeprefix(TIMM))
        if same := torch_hub_card(name):
            return self.get(same)
        raise UnknownName("backbone", name, suggest(name, self.cards))

    def select(self, patterns: Iterable[str]) -> list[BackboneCard]:
        """Cards selected by names and globs (`paper/*`, `*moco*`), each once, in the order of the patterns.

        Raises as `get` does, and UnknownName for a glob without matches.
        """
        chosen: dict[str, BackboneCard] = {}
        for pattern in patterns:
            cards = (
                [self.get(pattern)]
                if pattern not in self.cards and self._is_described(pattern)
                else [self.cards[name] for name in match([pattern], self.cards, "backbone")]
            )
            chosen.update({card.name: card for card in cards})
        return list(chosen.values())

    @staticmethod
    def _is_described(name: str) -> bool:
        """Whether the name itself describes a card."""
        return name.startswith((FILE, TIMM)) or is_hub_name(name) or torch_hub_card(name) is not None

    def is_of_hub(self, name: str) -> bool:
        """Whether the name refers to a model of the hub that is stored in the hub's folder. Raises MalformedName."""
        return name not in self.cards and is_hub_name(name) and self._of_timm(name) is None

    def _of_timm(self, name: str) -> BackboneCard | None:
        """Card of the tag, where the newest commit of timm's own repository is meant."""
        reference = hub_reference(name)
        if reference.repository.startswith("timm/") and reference.name == f"hf:{reference.repository}":
            with suppress(CardNameError):
                return self._timm(reference.model)
        return None

    def _timm(self, name: str) -> BackboneCard:
        """Built-in card of a tag if there is one, else a card from timm's registry."""
        by_tag: dict[str, BackboneCard] = {}
        for card in self.cards.values():
            if isinstance(card.weights, TimmWeights):
                by_tag.setdefault(card.weights.tag, card)
        if name in by_tag:
            return by_tag[name]
        description = self.resolver.describe(name)
        if description.tag is None:
            raise MalformedName(
                f"timm has the architecture {name} but no pretrained weights for it: use file:PATH?arch={name}"
            )
        return by_tag.get(f"{description.architecture}.{description.tag}") or timm_card(description)


def torch_hub_card(name: str) -> str | None:
    """Name of the card; None if the name is not one of torch.hub. Raises UnknownName for an unknown entry point."""
    if name in _ALONE:
        return _ALONE[name]
    parts = [part for part in re.split(r"[/:]", name.removeprefix("torch.hub:").removeprefix(OWNER)) if part]
    if not name.removeprefix("torch.hub:").startswith(OWNER) or parts[0] not in ENTRIES:
        return None
    entries = ENTRIES[parts[0]]
    if len(parts) > 1 and parts[-1] in entries:
        return entries[parts[-1]]
    known = [f"{OWNER}{parts[0]}:{entry}" for entry in entries]
    raise UnknownName("entry point of torch.hub", name, suggest(name, known) or known)
