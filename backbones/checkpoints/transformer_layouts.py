"""Conversion of other projects' names of vision transformers to timm's."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from backbones.checkpoints.key_mapping import Rule, Tensors, fused, has, renamed, without_chunks

_HF_BLOCK: tuple[Rule, ...] = (
    (r"^(?:encoder\.layer|layers)\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.q_proj\.", ".attn.query."),
    (r"\.attention\.k_proj\.", ".attn.key."),
    (r"\.attention\.v_proj\.", ".attn.value."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.lambda_(\d)$", r".gamma_\1"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)
_HF_EMBEDDINGS: tuple[Rule, ...] = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.", ""),
)


def from_hf_vit(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' ViT, DeiT, DINOv2 (with registers), I-JEPA, the encoder of MAE: separate q, k and v.

    Files use the names of version 4, state dicts in the memory of version 5 use others.
    """
    names = renamed(tensors, (*_HF_EMBEDDINGS, *_HF_BLOCK, (r"\.mlp\.down_proj\.", ".mlp.fc2.")))
    names = fused(names, ("mlp.gate_proj", "mlp.up_proj"), "mlp.fc1")
    return with_registers(fused(names, ("query", "key", "value"), "qkv"))


def from_hf_beit(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' BEiT and Data2Vec: no bias of the keys, a bias for relative positions."""
    rules = (
        (r"\.attention\.attention\.relative_position_bias\.", ".attn."),
        (r"^(?:encoder\.relative|shared)_position_bias\.", "rel_pos_bias."),
        (r"^(layers\.\d+)\.relative_position_bias\.", r"\1.attn."),
        (r"^pooler\.layernorm\.", "fc_norm."),
    )
    names = renamed(tensors, (*rules, *_HF_EMBEDDINGS, *_HF_BLOCK))
    biases = [(r"\.attn\.query\.bias$", ".attn.q_bias"), (r"\.attn\.value\.bias$", ".attn.v_bias")]
    return fused(renamed(names, biases), ("query", "key", "value"), "qkv")


def from_hf_beit_masked(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' BEiT with the head of its pretraining, where the last norm is outside of the network."""
    return from_hf_beit(renamed(tensors, [(r"^beit\.", "")]))


def with_registers(tensors: Tensors) -> dict[str, Tensor]:
    """DINOv2's own names: blocks in chunks, registers, SwiGLU.

    With registers, timm's positions are for the patches only: that of the class token is added to the token. Both are
    sums of the same numbers.
    """
    names = renamed(without_chunks(tensors), [(r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2.")])
    if "register_tokens" in names:
        names["reg_token"] = names.pop("register_tokens")
        if {"cls_token", "pos_embed"} <= names.keys():
            places = names["pos_embed"]
            names["cls_token"] = names["cls_token"] + places[:, :1]
            names["pos_embed"] = places[:, 1:]
    return names


def from_dinov3(tensors: Tensors) -> dict[str, Tensor]:
    """facebookresearch/dinov3's own names. The bias of the keys is masked and does not affect attention; the mask
    and the periods of the rotation are constants.
    """
    rules = ((r"\.ls(\d)\.gamma$", r".gamma_\1"), (r"^storage_tokens$", "reg_token"), *_GATED)
    computed = ("qkv.bias_mask", "rope_embed.periods")
    kept = {key: value for key, value in tensors.items() if not key.endswith(computed)}
    return _separate_biases(renamed(without_chunks(kept), rules))


_GATED: tuple[Rule, ...] = (
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)


def _separate_biases(tensors: Tensors) -> dict[str, Tensor]:
    """`attn.qkv.bias` becomes `attn.q_bias` and `attn.v_bias`."""
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key.endswith(".attn.qkv.bias"):
            start = key.removesuffix("qkv.bias")
            names[f"{start}q_bias"], _, names[f"{start}v_bias"] = value.chunk(3)
        else:
            names[key] = value
    return names


def from_hf_dinov3(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' DINOv3."""
    gated = has(tensors, r".*\.mlp\.gate_proj\.")
    rules = (
        (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
        (r"^embeddings\.register_tokens$", "reg_token"),
        (r"^embeddings\.", ""),
        (r"^(?:model\.)?layer\.(\d+)\.", r"blocks.\1."),
        (r"\.attention\.o_proj\.", ".attn.proj."),
        (r"\.attention\.", ".attn."),
        (r"\.layer_scale(\d)\.lambda1$", r".gamma_\1"),
        (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
        (r"\.mlp\.up_proj\.", ".mlp.fc1_x." if gated else ".mlp.fc1."),
        (r"\.mlp\.down_proj\.", ".mlp.fc2."),
    )
    return _separate_biases(fused(renamed(tensors, rules), ("q_proj", "k_proj", "v_proj"), "qkv"))


def from_torchvision_vit(tensors: Tensors) -> dict[str, Tensor]:
    """torchvision's VisionTransformer."""
    rules = (
        (r"^conv_proj\.", "patch_embed.proj."),
        (r"^class_token$", "cls_token"),
        (r"^encoder\.pos_embedding$", "pos_embed"),
        (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
        (r"\.ln_(\d)\.", r".norm\1."),
        (r"\.self_attention\.in_proj_", ".attn.qkv."),
        (r"\.self_attention\.out_proj\.", ".attn.proj."),
        (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
        (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
        (r"^encoder\.ln\.", "norm."),
    )
    return renamed(tensors, rules)


def from_mmpretrain_vit(tensors: Tensors) -> dict[str, Tensor]:
    """mmpretrain's (and mmsegmentation's) VisionTransformer."""
    rules = (
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"^layers\.", "blocks."),
        (r"^(?:ln1|norm1)\.", "norm."),
        (r"^pre_norm\.", "norm_pre."),
        (r"^ln2\.", "fc_norm."),
        (r"\.ln(\d)\.", r".norm\1."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        (r"\.attn\.gamma1?\.weight$", ".ls1.gamma"),
        (r"\.ffn\.gamma2?\.weight$", ".ls2.gamma"),
    )
    return with_registers(renamed(tensors, rules))


def from_clip(tensors: Tensors) -> dict[str, Tensor]:
    """Image tower of OpenAI's and open_clip's CLIP; its projection becomes timm's last layer, without a bias."""
    rules = (
        (r"^conv1\.", "patch_embed.proj."),
        (r"^transformer\.resblocks\.", "blocks."),
        (r"^ln_pre\.", "norm_pre."),
        (r"^ln_post\.", "norm."),
        (r"\.ln_(\d)\.", r".norm\1."),
        (r"\.ls_(\d)\.", r".ls\1."),
        (r"\.attn\.in_proj_", ".attn.qkv."),
        (r"\.attn\.out_proj\.", ".attn.proj."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    )
    return _clip_tokens(renamed(tensors, rules), "class_embedding", "positional_embedding", "proj")


def _clip_tokens(names: dict[str, Tensor], first: str, places: str, projection: str) -> dict[str, Tensor]:
    if first in names:
        names["cls_token"] = names.pop(first).reshape(1, 1, -1)
    if places in names:
        names["pos_embed"] = names.pop(places)[None]
    if projection in names:
        weight = names.pop(projection)
        names["head.weight"] = weight if projection.endswith(".weight") else weight.T.contiguous()
        names["head.bias"] = weight.new_zeros(len(names["head.weight"]))
    return names


def from_hf_clip(tensors: Tensors) -> dict[str, Tensor]:
    """Image tower of transformers' CLIP and SigLIP, with or without the text tower."""
    rules = (
        (r"^vision_model\.", ""),
        (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
        (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
        (r"^embeddings\.class_embedding$", "class_embedding"),
        (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
        (r"\.self_attn\.out_proj\.", ".attn.proj."),
        (r"\.self_attn\.", ".attn."),
        (r"\.layer_norm(\d)\.", r".norm\1."),
        (r"^pre_layrnorm\.", "norm_pre."),
        (r"^post_layernorm\.", "norm."),
        (r"^head\.probe$", "attn_pool.latent"),
        (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
        (r"^head\.layernorm\.", "attn_pool.norm."),
        (r"^head\.mlp\.", "attn_pool.mlp."),
    )
    names = fused(renamed(tensors, rules), ("q_proj", "k_proj", "v_proj"), "qkv")
    for part in ("weight", "bias"):
        whole = names.pop(f"head.attention.in_proj_{part}", None)
        if whole is not None:
            query, key, value = whole.chunk(3)
            names[f"attn_pool.q.{part}"], names[f"attn_pool.kv.{part}"] = query, torch.cat([key, value])
    return _clip_tokens(names, "class_embedding", "positional_embedding", "visual_projection.weight")


def from_hf_aimv2(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' AIMv2."""
    rules = (
        (r"^embeddings\.patch_embed\.", "patch_embed.proj."),
        (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
        (r"^embeddings\.rms_norm\.", "patch_embed.norm."),
        (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
        (r"\.attention\.out_proj\.", ".attn.proj."),
        (r"\.attention\.", ".attn."),
        (r"\.ffn\.gate_proj\.", ".mlp.fc1_g."),
        (r"\.ffn\.up_proj\.", ".mlp.fc1_x."),
        (r"\.ffn\.down_proj\.", ".mlp.fc2."),
        (r"\.rms_norm(\d)\.", r".norm\1."),
        (r"^rms_norm\.", "norm."),
    )
    names = fused(renamed(tensors, rules), ("q_proj", "k_proj", "v_proj"), "qkv")
    return _clip_tokens(names, "", "positional_embedding", "")


def from_aimv2(tensors: Tensors) -> dict[str, Tensor]:
    """apple/ml-aim's own names of AIMv2."""
    rules = (
        (r"^preprocessor\.patchifier\.", "patch_embed."),
        (r"^preprocessor\.", ""),
        (r"^trunk\.", ""),
        (r"^post_trunk_norm\.", "norm."),
        (r"\.norm_(\d)\.", r".norm\1."),
        (r"\.mlp\.fc1\.", ".mlp.fc1_g."),
        (r"\.mlp\.fc3\.", ".mlp.fc1_x."),
    )
    return renamed(tensors, rules)


_FLAX_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def from_flax_vit(tensors: Tensors) -> dict[str, Tensor]:
    """google-research/vision_transformer's arrays: kernels transposed, heads separate."""
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = _flax_name(key)
        names[name] = _flax_value(name, value) if name != key else value
    return fused(names, ("query", "key", "value"), "qkv")


def _flax_name(key: str) -> str:
    place, _, leaf = key.rpartition("/")
    if key == "cls":
        return "cls_token"
    if place == "Transformer/posembed_input":
        return "pos_embed"
    if leaf not in _FLAX_LEAVES:
        return key
    place = re.sub(r"^Transformer/encoderblock_(\d+)/", r"blocks.\1.", place)
    place = re.sub(r"MultiHeadDotProductAttention_\d+/out$", "attn.proj", place)
    place = re.sub(r"MultiHeadDotProductAttention_\d+/(\w+)$", r"attn.\1", place)
    place = re.sub(r"MlpBlock_\d+/Dense_(\d)$", lambda found: f"mlp.fc{int(found[1]) + 1}", place)
    place = re.sub(r"LayerNorm_0$", "norm1", re.sub(r"LayerNorm_[12]$", "norm2", place))
    place = {"embedding": "patch_embed.proj", "Transformer/encoder_norm": "norm"}.get(place, place)
    return f"{place}.{_FLAX_LEAVES[leaf]}"


def _flax_value(name: str, value: Tensor) -> Tensor:
    """Kernels have their inputs first; in attention, heads are a separate axis."""
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1)
    if value.ndim < 2 or not name.startswith("blocks."):
        return value
    if ".attn.proj." in name:
        return value.reshape(-1, value.shape[-1]).T
    if ".attn." in name and name.endswith("bias"):
        return value.reshape(-1)
    return value.reshape(len(value), int(np.prod(value.shape[1:]))).T
