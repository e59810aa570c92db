"""From the names and shapes of a network's tensors to the timm architectures that could have them.

Only a hint: whoever asks compares every tensor afterwards. Depth, width and patch size show in shapes; what does not
(activations, padding, where strides lie) is that of the published model of the shape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from timm.models import list_models

from backbones.catalog.card import Scalar
from backbones.checkpoints.key_mapping import Shape

Shapes = Mapping[str, Shape]

BOTTLENECKS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "resnet50",
    (3, 4, 23, 3): "resnet101",
    (3, 8, 36, 3): "resnet152",
}
BASICS: dict[tuple[int, ...], str] = {(2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet34"}
NAMED = {
    ("resnet50", 1, 128): "wide_resnet50_2",
    ("resnet101", 1, 128): "wide_resnet101_2",
    ("resnet50", 32, 4): "resnext50_32x4d",
    ("resnet101", 32, 8): "resnext101_32x8d",
}
"""Depth, groups and width per group of the variants that have a name of their own."""
TRANSFORMERS = {
    (192, 12, 16): "vit_tiny_patch16_224",
    (384, 12, 8): "vit_small_patch8_224",
    (384, 12, 16): "vit_small_patch16_224",
    (384, 12, 32): "vit_small_patch32_224",
    (768, 12, 8): "vit_base_patch8_224",
    (768, 12, 16): "vit_base_patch16_224",
    (768, 12, 32): "vit_base_patch32_224",
    (1024, 24, 14): "vit_large_patch14_224",
    (1024, 24, 16): "vit_large_patch16_224",
    (1280, 32, 14): "vit_huge_patch14_224",
    (1280, 32, 16): "vit_huge_patch16_gap_448",
}
SCALED = {
    (384, 12, 14): "vit_small_patch14_dinov2",
    (768, 12, 14): "vit_base_patch14_dinov2",
    (1024, 24, 14): "vit_large_patch14_dinov2",
    (1536, 40, 14): "vit_giant_patch14_dinov2",
}
"""Transformers with a learned scale behind every layer (DINOv2)."""
FAMILIES = (
    (re.compile(r"stages\.0\.blocks\.0\.mlp\.grn\."), ("convnextv2_*", "test_convnext*")),
    (re.compile(r"stages\.0\.blocks\.0\.conv_dw\."), ("convnext_*", "test_convnext*")),
    (re.compile(r"layers\.0\.blocks\.0\.attn\.logit_scale"), ("swinv2_*",)),
    (re.compile(r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table"), ("swin_*",)),
    (re.compile(r"s1\.b1\.conv1\.conv\."), ("regnetx_*", "regnety_*")),
    (re.compile(r"features\.denseblock1\."), ("densenet*",)),
    (re.compile(r"conv_stem\."), ("efficientnet_b*", "tf_efficientnet_b*", "mobilenetv3_*", "test_efficientnet*")),
    (re.compile(r"layer1\.0\.se\."), ("seresnet*", "test_resnet*")),
    (re.compile(r"conv1\.0\.weight"), ("resnet*d", "test_resnet*")),
    (re.compile(r"layer1\.0\.conv1\."), ("test_resnet*",)),
    (re.compile(r"blocks\.0\.attn\.qkv\."), ("test_vit*", "deit3_*")),
    (re.compile(r"features\.0\.weight"), ("vgg*",)),
)
"""A tensor that only one family has, and the names to try; the first that fits counts."""


@dataclass(frozen=True)
class ArchitectureCandidate:
    """An architecture to try."""

    architecture: str
    arguments: dict[str, Scalar] = field(default_factory=dict)
    published: bool = False
    """Whether it is the one published model of its shape, so that it is proposed without asking."""
    trust_imports: bool = False
    """Whether the user trusts what its code imports, where it is code of the user's."""


class NoArchitecture(ValueError):  # noqa: N818 - a domain word, raised as such
    """The tensors are a network's, and timm has none like it; the message says what was seen."""


def guesses(shapes: Shapes) -> tuple[ArchitectureCandidate, ...]:
    """What to try, likeliest first; empty when nothing is recognised. Raises NoArchitecture for a known stranger."""
    if "patch_embed.proj.weight" in shapes and "blocks.0.attn.qkv.weight" in shapes:
        return (*_transformer(shapes), *_family(shapes))
    if "conv1.weight" in shapes and "layer1.0.conv1.weight" in shapes:
        return (*_resnet(shapes), *_family(shapes))
    return tuple(_family(shapes))


def _family(shapes: Shapes) -> Iterator[ArchitectureCandidate]:
    for pattern, globs in FAMILIES:
        if any(pattern.match(key) for key in shapes):
            yield from (ArchitectureCandidate(name) for glob in globs for name in list_models(glob))
            return


def _resnet(shapes: Shapes) -> Iterator[ArchitectureCandidate]:
    stem = shapes["conv1.weight"]
    if stem[-1] == 3 and _count(shapes, "layer4"):
        raise NoArchitecture(
            f"a ResNet whose first convolution is {stem[-2]} x {stem[-1]} (the variant for CIFAR), which timm does not "
            "have: give its code by --arch FILE.py:FUNCTION --trust-code"
        )
    stages = tuple(_count(shapes, f"layer{stage}") for stage in (1, 2, 3, 4))
    if "layer1.0.conv3.weight" not in shapes:
        if stages in BASICS:
            yield ArchitectureCandidate(BASICS[stages], published=True)
        return
    depth = BOTTLENECKS.get(stages)
    width, per_group = shapes["layer1.0.conv2.weight"][:2]
    if depth is None:
        return
    groups = width // per_group
    if stem[0] != 64:
        raise NoArchitecture(
            f"a {depth} that is {stem[0] / 64:g} times as wide everywhere, which timm does not have: give its code by "
            "--arch FILE.py:FUNCTION --trust-code"
        )
    if (groups, per_group) == (1, 64):
        yield ArchitectureCandidate(depth, published=True)
    elif (depth, groups, per_group) in NAMED:
        yield ArchitectureCandidate(NAMED[depth, groups, per_group], published=True)
    elif groups == 1:
        yield ArchitectureCandidate(depth, {"base_width": width}, published=True)
    else:
        yield ArchitectureCandidate(depth, {"base_width": per_group, "cardinality": groups}, published=True)


def _transformer(shapes: Shapes) -> Iterator[ArchitectureCandidate]:
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    depth = _count(shapes, "blocks")
    table = SCALED if "blocks.0.ls1.gamma" in shapes else TRANSFORMERS
    name = table.get((width, depth, patch))
    if name is None:
        return
    arguments: dict[str, Scalar] = {}
    if "cls_token" not in shapes:
        arguments |= {"class_token": False, "global_pool": "avg"}
    if "fc_norm.weight" in shapes and "norm.weight" not in shapes:
        arguments |= {"global_pool": "avg"}
    if (side := _side(shapes, patch)) is not None:
        arguments |= {"img_size": side}
    yield ArchitectureCandidate(name, arguments, published=True)


def _side(shapes: Shapes, patch: int) -> int | None:
    """Image side in pixels that the position embedding is for, if it is for a square."""
    if "pos_embed" not in shapes:
        return None
    places = shapes["pos_embed"][-2] - ("cls_token" in shapes)
    side = math.isqrt(places)
    return side * patch if side * side == places else None


def _count(shapes: Shapes, name: str) -> int:
    """How many numbered modules there are below `name`."""
    numbers = (re.match(rf"{re.escape(name)}\.(\d+)\.", key) for key in shapes)
    return 1 + max((int(found[1]) for found in numbers if found), default=-1)
