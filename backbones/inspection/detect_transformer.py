"""Detection of vision transformers of any width and depth: a timm name and its arguments from shapes and
evidence.

Width, depth, patches, tokens, norms, biases and layer scale follow from shapes. The number of attention heads and the
activation do not: they come from the evidence, or from the convention of published models, which is then reported as an
assumption; for a width that no published model has, the user has to give the number of heads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from backbones.catalog.card import ArchitectureValue, Conversion, Pooling
from backbones.checkpoints.key_mapping import Shape
from backbones.inspection.evidence import HEADS, ArchitectureCandidate, Evidence, Question, count, fitting_names

Shapes = Mapping[str, Shape]
PUBLISHED_HEADS = {
    192: 3,
    384: 6,
    512: 8,
    640: 10,
    768: 12,
    896: 14,
    1024: 16,
    1152: 16,
    1280: 16,
    1408: 16,
    1536: 24,
    1664: 16,
}
"""Attention heads of published vision transformers by width; nearly all have 64 numbers per head."""
MOCO_V3_HEADS = {384: 12}
"""MoCo v3's ViT-S has twice as many heads as others (`vits.py`: 384 wide, 12 heads)."""
MOCO_V3 = re.compile(r"(base|momentum)_encoder|moco.?v3")
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
"""Plain transformers by width, depth and patch size."""
GENERIC = "vit_base_patch16_224"
DINOV2 = {
    (384, 12, 14): "vit_small_patch14_dinov2",
    (768, 12, 14): "vit_base_patch14_dinov2",
    (1024, 24, 14): "vit_large_patch14_dinov2",
    (1536, 40, 14): "vit_giant_patch14_dinov2",
}
DINOV2_REGISTERS = {shape: name.replace("patch14", "patch14_reg4") for shape, name in DINOV2.items()}
GIANT_WIDTH = 1536
"""Width of DINOv2's ViT-g, whose MLPs timm selects by its name."""
DINOV3 = {384: "small", 768: "base", 1024: "large", 1280: "huge_plus", 4096: "7b"}
DINOV3_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 20, 4096: 32}
AIMV2_HEADS = {1024: 8, 1536: 12, 2048: 16, 3072: 24}
AIMV2 = {1024: "large", 1536: "huge", 2048: "1b", 3072: "3b"}
CLIP_LIKE: tuple[Conversion, ...] = ("clip", "hf-clip")
ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "silu": "silu"}
"""transformers' names of activations and timm's, where it is not the plain GELU."""


def vision_transformer(
    shapes: Shapes, evidence: Evidence, conversion: Conversion = "none", place: str = ""
) -> Iterator[ArchitectureCandidate]:
    """Candidates for a network of attention blocks after a patch embedding."""
    if "pos_embed" not in shapes and "blocks.0.gamma_1" in shapes and "reg_token" in shapes:
        yield _dinov3(shapes, evidence)
    elif any(key.endswith("relative_position_bias_table") for key in shapes):
        yield _beit(shapes, evidence)
    elif "blocks.0.mlp.fc1_x.weight" in shapes and "patch_embed.norm.weight" in shapes:
        yield from _aimv2(shapes, evidence)
    elif "dist_token" in shapes:
        yield _distilled(shapes, evidence, conversion)
    elif "blocks.0.gamma_1" not in shapes:
        yield _plain(shapes, evidence, conversion, place)


def _plain(shapes: Shapes, evidence: Evidence, conversion: Conversion, place: str) -> ArchitectureCandidate:
    """timm's VisionTransformer."""
    shape = width, depth, patch = _shape(shapes)
    name, own = _base(shapes, conversion, shape)
    heads, assumed, question = _heads(width, evidence, place)
    wanted: dict[str, ArchitectureValue] = {
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
        "patch_size": patch,
        **_size(shapes, patch),
        **_tokens(shapes),
        **_norms(shapes),
        **_pooling(shapes, evidence),
        **_mlp(shapes, width),
        **_activation(evidence, conversion),
    }
    if conversion in CLIP_LIKE and "head.weight" in shapes:
        wanted["num_classes"] = shapes["head.weight"][0]
    arguments = {key: value for key, value in wanted.items() if own.get(key) != value or key == "img_size"}
    return ArchitectureCandidate(name, arguments, published=True, assumptions=assumed, question=question)


def _shape(shapes: Shapes) -> tuple[int, int, int]:
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    return width, count(shapes, "blocks"), patch


def _base(
    shapes: Shapes, conversion: Conversion, shape: tuple[int, int, int]
) -> tuple[str, dict[str, ArchitectureValue]]:
    """timm name to start from, and its own values of the arguments."""
    width, depth, patch = shape
    plain: dict[str, ArchitectureValue] = {
        "embed_dim": width, "depth": depth, "patch_size": patch, "num_heads": PUBLISHED_HEADS.get(width, 0),
        "mlp_ratio": 4.0, "class_token": True, "no_embed_class": False, "reg_tokens": 0, "pre_norm": False,
        "qkv_bias": True, "global_pool": "token", "num_classes": 0,
    }  # fmt: skip
    if conversion in CLIP_LIKE:
        return _tower(shapes, plain)
    if "blocks.0.ls1.gamma" in shapes and "reg_token" in shapes and shape in DINOV2_REGISTERS:
        special: dict[str, ArchitectureValue] = {"no_embed_class": True, "reg_tokens": 4}
        return DINOV2_REGISTERS[shape], {**plain, **special, "init_values": 1e-5}
    if "blocks.0.ls1.gamma" in shapes and shape in DINOV2:
        return DINOV2[shape], {**plain, "init_values": 1e-5}
    if "blocks.0.ls1.gamma" in shapes and _packed(shapes):
        own: dict[str, ArchitectureValue] = {"embed_dim": 1536, "depth": 40, "num_heads": 24, "patch_size": 14}
        return "vit_giant_patch14_dinov2", {**plain, **own, "init_values": 1e-5}
    gap = "_gap_" in TRANSFORMERS.get(shape, "")
    known = {**plain, "class_token": not gap, "global_pool": "avg" if gap else "token"}
    return (TRANSFORMERS[shape], known) if shape in TRANSFORMERS else (GENERIC, _of_base(plain))


def _tower(shapes: Shapes, plain: Mapping[str, ArchitectureValue]) -> tuple[str, dict[str, ArchitectureValue]]:
    """Image tower of CLIP, or of SigLIP without a norm before the blocks."""
    if "norm_pre.weight" in shapes:
        return "vit_base_patch16_clip_224", _of_base({**plain, "pre_norm": True})
    return "vit_base_patch16_siglip_224", _of_base({**plain, "class_token": False, "global_pool": "map"})


def _of_base(plain: Mapping[str, ArchitectureValue]) -> dict[str, ArchitectureValue]:
    """Base name with the sizes of ViT-B."""
    return {**plain, "embed_dim": 768, "depth": 12, "num_heads": 12, "patch_size": 16}


def _heads(width: int, evidence: Evidence, place: str) -> tuple[int, tuple[str, ...], Question | None]:
    """Number of heads, assumptions, and the question if the number is unknown for a network of this width."""
    if evidence.heads is not None and evidence.number("hidden_size") in (None, width):
        return evidence.heads, (), None
    if width in MOCO_V3_HEADS and MOCO_V3.search(f"{place} {evidence.names} {evidence.text('arch') or ''}"):
        return MOCO_V3_HEADS[width], (f"{MOCO_V3_HEADS[width]} attention heads, as MoCo v3's ViT-S has",), None
    if width in PUBLISHED_HEADS:
        heads = PUBLISHED_HEADS[width]
        return heads, (f"{heads} attention heads, as published models of width {width} have",), None
    guess = max(1, width // 64)
    return guess, (), Question(HEADS, "num_heads", guess)


def _size(shapes: Shapes, patch: int) -> dict[str, ArchitectureValue]:
    """Image side of the position embedding, and whether the other tokens have positions."""
    if "pos_embed" not in shapes:
        return {}
    places, prefix = shapes["pos_embed"][-2], _prefix(shapes)
    for number, apart in ((places - prefix, False), (places, True)):
        side = math.isqrt(max(number, 0))
        if number > 0 and side * side == number:
            return {"img_size": side * patch, "no_embed_class": apart and prefix > 0}
    return {}


def _prefix(shapes: Shapes) -> int:
    registers = shapes["reg_token"][-2] if "reg_token" in shapes else 0
    return ("cls_token" in shapes) + registers


def _tokens(shapes: Shapes) -> dict[str, ArchitectureValue]:
    registers = shapes["reg_token"][-2] if "reg_token" in shapes else 0
    return {"class_token": "cls_token" in shapes, "reg_tokens": registers}


def _norms(shapes: Shapes) -> dict[str, ArchitectureValue]:
    found: dict[str, ArchitectureValue] = {
        "pre_norm": "norm_pre.weight" in shapes,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
    }
    if "blocks.0.attn.q_norm.weight" in shapes:
        found["qk_norm"] = True
    if "blocks.0.ls1.gamma" in shapes:
        found["init_values"] = 1e-5
    return found


def _pooling(shapes: Shapes, evidence: Evidence) -> dict[str, ArchitectureValue]:
    """Pooling according to the tensors: an attention pool, a norm after the mean, no class token."""
    if any(key.startswith("attn_pool.") for key in shapes):
        return {"global_pool": "map"}
    if "fc_norm.weight" in shapes and "norm.weight" not in shapes:
        return {"global_pool": "avg"}
    if "cls_token" not in shapes or evidence.text("global_pool") == "avg":
        return {"global_pool": "avg", "fc_norm": "fc_norm.weight" in shapes}
    return {"global_pool": "token"}


def _mlp(shapes: Shapes, width: int) -> dict[str, ArchitectureValue]:
    hidden = shapes.get("blocks.0.mlp.fc1.weight", (0,))[0]
    if not hidden or (_packed(shapes) and width == GIANT_WIDTH):
        return {}
    return {"mlp_ratio": hidden / width}


def _packed(shapes: Shapes) -> bool:
    """Whether the first layer of the MLPs contains gate and value (SwiGLU)."""
    hidden = shapes.get("blocks.0.mlp.fc1.weight", (0,))[0]
    return hidden > 0 and shapes.get("blocks.0.mlp.fc2.weight", (0, 0))[1] * 2 == hidden


def _activation(evidence: Evidence, conversion: Conversion) -> dict[str, ArchitectureValue]:
    """Quick GELU for OpenAI's own files, which store the side of their images as a number."""
    stated = str(evidence.config.get("hidden_act", ""))
    if stated in ACTIVATIONS:
        return {"act_layer": ACTIVATIONS[stated]}
    quick = conversion == "clip" and "openai" in evidence.values
    return {"act_layer": "quick_gelu"} if quick else {}


def _dinov3(shapes: Shapes, evidence: Evidence) -> ArchitectureCandidate:
    """timm's Eva with the rotary positions of DINOv3; features are the class token, as published."""
    width, depth, patch = _shape(shapes)
    gated = "blocks.0.mlp.fc1_g.weight" in shapes
    size = DINOV3.get(width, "small")
    size = "small_plus" if size == "small" and gated else size
    biased = "blocks.0.attn.q_bias" in shapes
    name = f"vit_{size}_patch16_dinov3{'_qkvb' if biased and size != '7b' else ''}"
    heads = evidence.heads or DINOV3_HEADS.get(width)
    arguments: dict[str, ArchitectureValue] = {}
    if width not in DINOV3:
        arguments |= {"embed_dim": width, "num_heads": heads or width // 64}
    if depth != {1024: 24, 1280: 32, 4096: 40}.get(width, 12):
        arguments |= {"depth": depth}
    if patch != 16:
        arguments |= {"patch_size": patch}
    if evidence.heads is not None and evidence.heads != DINOV3_HEADS.get(width):
        arguments |= {"num_heads": evidence.heads}
    if not gated and (hidden := shapes["blocks.0.mlp.fc1.weight"][0]) != 4 * width:
        arguments |= {"mlp_ratio": hidden / width}
    if gated and width not in DINOV3:
        arguments |= {"mlp_ratio": shapes["blocks.0.mlp.fc1_g.weight"][0] / width, "swiglu_align_to": 1}
    if shapes["reg_token"][-2] != 4:
        arguments |= {"num_reg_tokens": shapes["reg_token"][-2]}
    question = None if heads else Question(HEADS, "num_heads", max(1, width // 64))
    return ArchitectureCandidate(name, arguments, published=True, pooling="cls", question=question)


def _beit(shapes: Shapes, evidence: Evidence) -> ArchitectureCandidate:
    """timm's Beit: the bias, per block or shared, has a column per head, and its rows determine the side of the
    image.
    """
    width, depth, patch = _shape(shapes)
    shared = "rel_pos_bias.relative_position_bias_table" in shapes
    table = "rel_pos_bias" if shared else "blocks.0.attn"
    entries, heads = shapes[f"{table}.relative_position_bias_table"]
    window = (math.isqrt(max(0, entries - 3)) + 1) // 2
    large = width == 1024
    arguments: dict[str, ArchitectureValue] = {"img_size": window * patch}
    own = {"embed_dim": 1024 if large else 768, "depth": 24 if large else 12, "num_heads": 16 if large else 12}
    own["patch_size"] = 16
    found = {"embed_dim": width, "depth": depth, "num_heads": heads, "patch_size": patch}
    arguments |= {key: value for key, value in found.items() if own[key] != value}
    arguments |= {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True} if shared else {}
    hidden = shapes["blocks.0.mlp.fc1.weight"][0]
    if hidden != 4 * width:
        arguments |= {"mlp_ratio": hidden / width}
    arguments |= {"use_abs_pos_emb": True} if "pos_embed" in shapes else {}
    pools = "fc_norm.weight" in shapes
    arguments |= {} if pools else {"global_pool": "token"}
    arguments |= _activation(evidence, "none")
    return ArchitectureCandidate(f"beit_{'large' if large else 'base'}_patch16_224", arguments, published=True)


def _distilled(shapes: Shapes, evidence: Evidence, conversion: Conversion) -> ArchitectureCandidate:
    """DeiT with a distillation token. transformers' features are the class token, timm's the mean of both."""
    width, depth, patch = _shape(shapes)
    heads, assumed, question = _heads(width, evidence, "")
    side = math.isqrt(shapes["pos_embed"][-2] - 2) * patch
    wanted: dict[str, ArchitectureValue] = {
        "embed_dim": width, "depth": depth, "num_heads": heads, "patch_size": patch, "img_size": side,
        **_mlp(shapes, width), **_activation(evidence, conversion),
    }  # fmt: skip
    own: dict[str, ArchitectureValue] = {
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "patch_size": 16,
        "img_size": 224,
        "mlp_ratio": 4.0,
    }
    arguments = {key: value for key, value in wanted.items() if own.get(key) != value}
    pooling: Pooling = "cls" if conversion == "hf-vit" else "default"
    return ArchitectureCandidate(
        "deit_base_distilled_patch16_224", arguments, published=True, pooling=pooling, assumptions=assumed,
        question=question,
    )  # fmt: skip


def _aimv2(shapes: Shapes, evidence: Evidence) -> Iterator[ArchitectureCandidate]:
    """timm's published AIMv2 of this width, or one with the stated heads."""
    width, depth, patch = _shape(shapes)
    places = shapes.get("pos_embed", (0, 0, 0))[-2]
    side = math.isqrt(places) * patch
    size, stated = AIMV2.get(width), evidence.heads
    if size is not None and stated in (None, AIMV2_HEADS[width]):
        for name in fitting_names(f"aimv2_{size}_patch{patch}_*"):
            yield ArchitectureCandidate(name, {"img_size": side} if side else {}, published=True)
            return
    heads, assumed, question = _heads(width, evidence, "")
    arguments: dict[str, ArchitectureValue] = {
        "embed_dim": width, "depth": depth, "num_heads": heads, "patch_size": patch,
        "mlp_ratio": shapes["blocks.0.mlp.fc1_g.weight"][0] / width, **({"img_size": side} if side else {}),
    }  # fmt: skip
    yield ArchitectureCandidate(
        "aimv2_large_patch14_224", arguments, published=True, assumptions=assumed, question=question
    )
