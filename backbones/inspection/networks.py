"""The networks that a checkpoint holds side by side, and which of them is meant to be used.

Self-supervised training keeps two copies of a network, and each method's own evaluation takes a particular one. Only
such conventions decide; two networks that no convention tells apart are the user's to choose from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from backbones.catalog.card import Conversion
from backbones.checkpoints.key_mapping import Shape, tensors_of
from backbones.checkpoints.resnet_conversions import lightly_name, separius_name

Item = TypeVar("Item")

STEMS = (
    "patch_embed.proj.weight",
    "conv_stem.weight",
    "stem.conv1.weight",
    "stem.conv.weight",
    "stem.0.weight",
    "features.conv0.weight",
    "features.0.weight",
    "conv1.0.weight",
    "conv1.weight",
)
"""How architectures call their first layer; the longest that fits is cut off to find the prefix."""
RENAMED: tuple[tuple[str, Conversion], ...] = (
    ("net.0.0.weight", "simclr-separius"),
    ("0.weight", "lightly-sequential"),
)
"""First layers under other projects' names, and the conversion that renames them."""


@dataclass(frozen=True)
class CheckpointNetwork:
    """One network's tensors: `shapes` by their names in the architecture."""

    container: str | None
    prefix: str
    conversion: Conversion
    shapes: Mapping[str, Shape]

    @property
    def place(self) -> str:
        """Container and prefix in one text, which conventions are told by."""
        return f"{self.container or ''}.{self.prefix}"


@dataclass(frozen=True)
class Convention:
    """Of two networks, the one that a method's own evaluation uses."""

    preferred: re.Pattern[str]
    other: re.Pattern[str]
    method: str
    words: str


def _convention(preferred: str, other: str, method: str, words: str) -> Convention:
    return Convention(re.compile(preferred), re.compile(other), method, words)


CONVENTIONS = (
    _convention(r"\bencoder_q\.", r"\bencoder_k\.", "moco", "MoCo is evaluated by its query encoder"),
    _convention(r"base_encoder\.", r"momentum_encoder\.", "moco-v3", "MoCo v3 is evaluated by its base encoder"),
    _convention(r"teacher", r"student", "dino", "DINO and iBOT are evaluated by their teacher"),
    _convention(r"online", r"target", "byol", "BYOL is evaluated by its online network"),
    _convention(r"target_encoder", r"(^|\.)encoder", "ijepa", "I-JEPA is evaluated by its target encoder"),
    _convention(
        r"^(?!.*(momentum|target|ema)).*(backbone|encoder|model)",
        r"(momentum_|target_)(backbone|encoder)|(backbone|encoder)_(momentum|target)",
        "own checkpoint",
        "the trained network is evaluated, not its momentum copy",
    ),
    _convention(
        r"(^|[._])(ema|averaged?|swa)(_|\.|$)",
        r"^(?!.*(^|[._])(ema|averaged?|swa)(_|\.|$))",
        "own checkpoint",
        "the averaged (EMA) weights are evaluated, as timm loads them",
    ),
)
LAYOUTS = (
    (re.compile(r"encoder_q\."), "moco"),
    (re.compile(r"base_encoder\."), "moco-v3"),
    (re.compile(r"decoder_blocks\.0\."), "mae"),
    (re.compile(r"prototypes"), "swav"),
    (re.compile(r"\bonline_"), "byol"),
    (re.compile(r"(^|\.)predictor\."), "simsiam"),
)
"""What else in a checkpoint tells the method; the first that is there counts."""


def find_streams(checkpoint: Mapping[str, object]) -> list[CheckpointNetwork]:
    """Every network of the checkpoint: whatever begins with a layer that takes three colours."""
    by_container: dict[str | None, dict[str, Shape]] = {}
    for container, key, tensor in tensors_of(checkpoint):
        by_container.setdefault(container, {})[key] = tuple(tensor.shape)
    return [
        _stream(container, shapes, prefix, conversion)
        for container, shapes in by_container.items()
        for prefix, conversion in dict.fromkeys(_beginnings(shapes))
    ]


def stream_at(checkpoint: Mapping[str, object], container: str | None, prefix: str) -> CheckpointNetwork | None:
    """The tensors at a place, under the names that they have there; None when there are none."""
    shapes = {key: tuple(t.shape) for where, key, t in tensors_of(checkpoint) if where == container}
    found = _stream(container, shapes, prefix, "none")
    return found if found.shapes else None


def prefer(items: Sequence[tuple[Item, str]]) -> tuple[Item, Convention] | None:
    """Of several things with their places, the one that a convention chooses; None when none tells them apart."""
    for convention in CONVENTIONS:
        chosen = [item for item, place in items if convention.preferred.search(place)]
        others = [item for item, place in items if convention.other.search(place)]
        if len(chosen) == 1 and len(others) >= len(items) - 1:
            return chosen[0], convention
    return None


def method_of(checkpoint: Mapping[str, object]) -> str | None:
    """The method whose layout this is, where it shows."""
    names = [f"{container or ''}.{key}" for container, key, _ in tensors_of(checkpoint)]
    return next((method for pattern, method in LAYOUTS if any(pattern.search(name) for name in names)), None)


def _beginnings(shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Conversion]]:
    """Prefix and conversion of every network among these tensors."""
    for key, shape in shapes.items():
        if len(shape) != 4 or shape[1] != 3:
            continue
        known = next((stem for stem in STEMS if _ends(key, stem)), None)
        if known is not None:
            yield key.removesuffix(known), "none"
            continue
        for stem, conversion in RENAMED:
            if _ends(key, stem):
                yield key.removesuffix(stem), conversion
                break


def _stream(
    container: str | None, shapes: Mapping[str, Shape], prefix: str, conversion: Conversion
) -> CheckpointNetwork:
    rename = {"simclr-separius": separius_name, "lightly-sequential": lightly_name}.get(conversion, str)
    inside = {rename(key[len(prefix) :]): shape for key, shape in shapes.items() if key.startswith(prefix)}
    return CheckpointNetwork(container, prefix, conversion, inside)


def _ends(key: str, stem: str) -> bool:
    return key == stem or key.endswith(f".{stem}")
