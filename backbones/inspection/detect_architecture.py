"""Detection of the timm architectures that could have a network's tensors, from their names and shapes.

The result is only a hint: callers compare every tensor afterwards. Depth, width and patch size follow from shapes;
everything else (activations, padding, the position of strides) is taken from the published model of the same shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from timm.models import is_model, list_models

from backbones.catalog.card import ArchitectureValue, Conversion
from backbones.checkpoints.key_mapping import Shape
from backbones.inspection.candidate import ArchitectureCandidate, NoArchitecture, count, fitting_names
from backbones.inspection.detect_hierarchical import convnext, hiera, swin
from backbones.inspection.detect_transformer import vision_transformer
from backbones.inspection.evidence import Evidence

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
"""Depth, groups and width per group of the variants with their own names."""
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
"""A tensor that only one family has, and its architectures; the first match counts."""


def guesses(
    shapes: Shapes, evidence: Evidence | None = None, conversion: Conversion = "none", place: str = ""
) -> tuple[ArchitectureCandidate, ...]:
    """Candidates, most likely first; empty when nothing is recognised. Raises NoArchitecture for a known network
    that timm lacks.

    An architecture named by the file itself comes first.
    """
    evidence = evidence or Evidence()
    return (*_named(shapes, evidence), *_seen(shapes, evidence, conversion, place))


def _named(shapes: Shapes, evidence: Evidence) -> Iterator[ArchitectureCandidate]:
    """timm's architectures that the file names (`vit_small` alone is not one)."""
    for stated in evidence.architectures:
        name = stated.partition(".")[0]
        if is_model(name) and not (evidence.heads and "blocks.0.attn.qkv.weight" in shapes):
            yield ArchitectureCandidate(name, published=True)


OTHERS: Mapping[Conversion, tuple[str, ...]] = {
    "torchvision-efficientnet": ("efficientnet_b[0-7]", "efficientnetv2_[sml]"),
    "torchvision-mobilenet-v2": ("mobilenetv2_*",),
    "torchvision-mobilenet-v3": ("mobilenetv3_large_*", "mobilenetv3_small_*"),
    "torchvision-regnet": ("regnety_*", "regnetx_*"),
    "hf-hiera": ("hiera_*_224",),
}
"""timm's architectures of other projects' families, where several share the shapes."""


LARGER_EPSILON = re.compile(r"efficientnet_b[567]|efficientnetv2_[sml]|mobilenetv3_.+")
"""Architectures whose batch norms have an epsilon of 0.001 in torchvision."""


def _seen(shapes: Shapes, evidence: Evidence, conversion: Conversion, place: str) -> Iterator[ArchitectureCandidate]:
    if conversion == "hf-hiera" and (stated := tuple(hiera(shapes, evidence))):
        yield from stated
        return
    if conversion in OTHERS:
        for name in fitting_names(*OTHERS[conversion]):
            arguments: dict[str, ArchitectureValue] = {"bn_eps": 1e-3} if LARGER_EPSILON.fullmatch(name) else {}
            yield ArchitectureCandidate(name, arguments, published=True)
        return
    asked: tuple[ArchitectureCandidate, ...] = ()
    if "patch_embed.proj.weight" in shapes and "blocks.0.attn.qkv.weight" in shapes:
        seen = tuple(vision_transformer(shapes, evidence, conversion, place))
        asked = tuple(one for one in seen if one.question)
        yield from (one for one in seen if not one.question)
    elif "conv1.weight" in shapes and "layer1.0.conv1.weight" in shapes:
        yield from _resnet(shapes)
    elif "stem.0.weight" in shapes and "stages.0.blocks.0.conv_dw.weight" in shapes:
        yield from convnext(shapes)
    elif "layers.0.blocks.0.attn.qkv.weight" in shapes:
        yield from swin(shapes, evidence)
    yield from _family(shapes)
    yield from asked


def _family(shapes: Shapes) -> Iterator[ArchitectureCandidate]:
    for pattern, globs in FAMILIES:
        if any(pattern.match(key) for key in shapes):
            yield from (ArchitectureCandidate(name) for glob in globs for name in list_models(glob))
            return


def _resnet(shapes: Shapes) -> Iterator[ArchitectureCandidate]:
    stem = shapes["conv1.weight"]
    if stem[-1] == 3 and count(shapes, "layer4"):
        raise NoArchitecture(
            f"a ResNet whose first convolution is {stem[-2]} x {stem[-1]} (the variant for CIFAR), which timm does not "
            "have: give its code with --arch FILE.py:FUNCTION --trust-code"
        )
    stages = tuple(count(shapes, f"layer{stage}") for stage in (1, 2, 3, 4))
    if "layer1.0.conv3.weight" not in shapes:
        if stages in BASICS:
            yield ArchitectureCandidate(BASICS[stages], published=True)
        return
    depth = BOTTLENECKS.get(stages)
    if "layer1.0.conv2.weight" not in shapes:
        return
    width, per_group = shapes["layer1.0.conv2.weight"][:2]
    if depth is None:
        return
    groups = width // per_group
    if stem[0] != 64:
        raise NoArchitecture(
            f"a {depth} that is {stem[0] / 64:g} times as wide in all layers, which timm does not have: give its code "
            "with --arch FILE.py:FUNCTION --trust-code"
        )
    if (groups, per_group) == (1, 64):
        yield ArchitectureCandidate(depth, published=True)
    elif (depth, groups, per_group) in NAMED:
        yield ArchitectureCandidate(NAMED[depth, groups, per_group], published=True)
    elif groups == 1:
        yield ArchitectureCandidate(depth, {"base_width": width}, published=True)
    else:
        yield ArchitectureCandidate(depth, {"base_width": per_group, "cardinality": groups}, published=True)
