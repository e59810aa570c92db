"""Detection of hierarchical networks, ConvNeXt, Swin and Hiera of any size, from the shapes of their tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from backbones.catalog.card import ArchitectureValue
from backbones.checkpoints.key_mapping import Shape
from backbones.inspection.candidate import ArchitectureCandidate, Question, count
from backbones.inspection.evidence import Evidence

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
