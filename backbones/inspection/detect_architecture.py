"""Detection of the timm architectures that could have a network's tensors, from their names and shapes.

The result is only a hint: callers compare every tensor afterwards. Depth, width and patch size follow from shapes;
everything else (activations, padding, the position of strides) is taken from the published model of the same shape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from timm.models import is_model, list_models

from backbones.catalog.card import ArchitectureValue, Conversion
from backbones.checkpoints.key_mapping import Shape
from backbones.inspection.detect_transformer import vision_transformer
from backbones.inspection.evidence import (
    ArchitectureCandidate,
    Evidence,
    NoArchitecture,
    Question,
    count,
    fitting_names,
)

Shapes = Mapping[str, Shape]
CONVNEXT: Mapping[tuple[tuple[int, ...], int], str] = {
    ((2, 2, 6, 2), 40): "atto",
    ((2, 2, 6, 2), 48): "femto",
    ((2, 2, 6, 2), 64): "pico",
    ((2, 2, 8, 2), 80): "nano",
    ((3, 3, 9, 3), 96): "tiny",
    ((3, 3, 27, 3), 96): "small",
    ((3, 3, 27, 3), 128): "base",
    ((3, 3, 27, 3), 192): "large",
    ((3, 3, 27, 3), 352): "huge",
    ((3, 3, 27, 3), 256): "xlarge",
    ((3, 4, 30, 3), 384): "xxlarge",
}
"""Depths and first width of the published sizes."""
CONVOLUTIONAL = ("atto", "femto", "pico", "nano")
"""Sizes whose MLPs are convolutions in timm."""
SWIN: Mapping[tuple[tuple[int, ...], int], str] = {
    ((2, 2, 6, 2), 96): "tiny",
    ((2, 2, 18, 2), 96): "small",
    ((2, 2, 18, 2), 128): "base",
    ((2, 2, 18, 2), 192): "large",
}
WINDOW_SIZES = {7: 224, 12: 384, 8: 256, 16: 256, 24: 384}
"""Image sides of published models by the side of their windows."""
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


def convnext(shapes: Shapes) -> Iterator[ArchitectureCandidate]:
    """ConvNeXt, or ConvNeXt V2 where responses are normalised; other sizes by depths and widths."""
    depths = tuple(count(shapes, f"stages.{stage}.blocks") for stage in range(count(shapes, "stages")))
    widths = tuple(shapes[f"stages.{stage}.blocks.0.conv_dw.weight"][0] for stage in range(len(depths)))
    second = "stages.0.blocks.0.mlp.grn.weight" in shapes
    convolutional = len(shapes["stages.0.blocks.0.mlp.fc1.weight"]) == 4
    if "stem.1.weight" not in shapes or ("stages.0.blocks.0.gamma" not in shapes and not second):
        return
    size = CONVNEXT.get((depths, widths[0]))
    name = f"convnext{'v2' if second else ''}_{size or 'tiny'}"
    if (size == "huge" and not second) or (size == "xxlarge" and second):
        size, name = None, "convnext_tiny"
    arguments: dict[str, ArchitectureValue] = {} if size else {"depths": depths, "dims": widths}
    if convolutional != (size in CONVOLUTIONAL):
        arguments["conv_mlp"] = convolutional
    yield ArchitectureCandidate(name, arguments, published=True)


def swin(shapes: Shapes, evidence: Evidence) -> Iterator[ArchitectureCandidate]:
    """Swin, or Swin V2 where attention is scaled; for the former, window sizes follow from the table of biases."""
    depths = tuple(count(shapes, f"layers.{stage}.blocks") for stage in range(count(shapes, "layers")))
    width = shapes["patch_embed.proj.weight"][0]
    second = "layers.0.blocks.0.attn.logit_scale" in shapes
    heads = tuple(_heads(shapes, stage) for stage in range(len(depths)))
    window = (evidence.number("window_size") or _scaled_window(shapes)) if second else _window(shapes)
    question = None
    if window is None:
        window = 8
        question = Question("the side of its windows", "window_size", 8)
    side = evidence.number("image_size", "img_size") or WINDOW_SIZES.get(window, 32 * window)
    size = SWIN.get((depths, width))
    name = "swinv2_tiny_window8_256" if second else "swin_tiny_patch4_window7_224"
    wanted: dict[str, ArchitectureValue] = {"embed_dim": width, "depths": depths, "num_heads": heads}
    own: dict[str, ArchitectureValue] = {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}
    wanted |= {"window_size": window, "img_size": side}
    own |= {"window_size": 8 if second else 7, "img_size": 256 if second else 224}
    if size and not second and (window == 7 or (window == 12 and size in ("base", "large"))):
        name, own = f"swin_{size}_patch4_window{window}_{WINDOW_SIZES[window]}", dict(wanted)
        own["img_size"] = WINDOW_SIZES[window]
    arguments = {key: value for key, value in wanted.items() if own.get(key) != value}
    if (ratio := shapes["layers.0.blocks.0.mlp.fc1.weight"][0] / width) != 4:
        arguments["mlp_ratio"] = ratio
    patch = shapes["patch_embed.proj.weight"][-1]
    arguments |= {} if patch == 4 else {"patch_size": patch}
    trained = evidence.numbers("pretrained_window_sizes")
    assumed = [f"images of {side} pixels, as published models with windows of {window}"]
    if second and trained is None:
        assumed.append("windows as large in the pretraining (else --arg 'pretrained_window_sizes=(12,12,12,6)')")
    if second and trained and any(trained):
        arguments["pretrained_window_sizes"] = trained
    yield ArchitectureCandidate(name, arguments, published=True, assumptions=tuple(assumed), question=question)


def hiera(shapes: Shapes, evidence: Evidence) -> Iterator[ArchitectureCandidate]:
    """Hiera according to a configuration; its heads and the blocks with local attention do not follow from tensors."""
    stages, heads = evidence.numbers("depths"), evidence.numbers("num_heads")
    local, units = evidence.config.get("masked_unit_attention"), evidence.numbers("masked_unit_size")
    if stages is None or heads is None or not isinstance(local, list) or units is None:
        return
    width = shapes["patch_embed.proj.weight"][0]
    side = (evidence.numbers("image_size") or (evidence.number("image_size") or 224,))[0]
    wanted: dict[str, ArchitectureValue] = {
        "embed_dim": width, "stages": stages, "num_heads": heads[0], "mask_unit_size": units,
        "mask_unit_attn": tuple(map(int, local)), "q_pool": evidence.number("num_query_pool") or 3,
    }  # fmt: skip
    own: dict[str, ArchitectureValue] = {
        "embed_dim": 96, "stages": (1, 2, 7, 2), "num_heads": 1, "mask_unit_size": (8, 8),
        "mask_unit_attn": (1, 1, 0, 0), "q_pool": 3,
    }  # fmt: skip
    arguments = {key: value for key, value in wanted.items() if own[key] != value}
    if side != 224:
        arguments["img_size"] = side
    if (ratio := shapes["blocks.0.mlp.fc1.weight"][0] / width) != 4:
        arguments["mlp_ratio"] = ratio
    yield ArchitectureCandidate("hiera_tiny_224", arguments, published=True)


def _heads(shapes: Shapes, stage: int) -> int:
    block = f"layers.{stage}.blocks.0.attn"
    if f"{block}.logit_scale" in shapes:
        return shapes[f"{block}.logit_scale"][0]
    return shapes.get(f"{block}.relative_position_bias_table", (0, 0))[1]


def _scaled_window(shapes: Shapes) -> int | None:
    """Window side of Swin V2, from the tables in the checkpoints of some libraries."""
    coordinates = shapes.get("layers.0.blocks.0.attn.relative_coords_table", (0,))
    if len(coordinates) == 4:
        return (coordinates[1] + 1) // 2
    pairs = math.prod(shapes.get("layers.0.blocks.0.attn.relative_position_index", (0,)))
    window = round(pairs**0.25)
    return window if pairs and window**4 == pairs else None


def _window(shapes: Shapes) -> int | None:
    entries = shapes.get("layers.0.blocks.0.attn.relative_position_bias_table", (0,))[0]
    side = math.isqrt(entries)
    return (side + 1) // 2 if entries and side * side == entries else None


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
