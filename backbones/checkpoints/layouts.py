"""Registry of key layouts other than timm's: how each is recognised, and the function that converts it to timm's.

A layout is recognised by its first layer, whose name ends a key, and by a pattern among the other keys with the same
prefix. The order matters: the first match is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from backbones.catalog.card import Conversion
from backbones.checkpoints import convolutional_layouts as convolutional
from backbones.checkpoints import convolutional_layouts as mobile
from backbones.checkpoints import transformer_layouts as transformers
from backbones.checkpoints.resnet_conversions import from_lightly, from_separius

Convert = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class CheckpointLayout:
    """First layers, a pattern that another key (without the prefix) begins with, and the conversion."""

    stems: tuple[str, ...]
    sign: re.Pattern[str]
    convert: Convert

    def fits(self, keys: Iterable[str]) -> bool:
        """Whether any key matches the pattern."""
        return any(self.sign.match(key) for key in keys)


def _layout(stems: str, sign: str, convert: Convert) -> CheckpointLayout:
    return CheckpointLayout(tuple(stems.split()), re.compile(sign), convert)


_HF_PATCHES = "embeddings.patch_embeddings.projection.weight"
_CLIP_PATCHES = "vision_model.embeddings.patch_embedding.weight embeddings.patch_embedding.weight"
_FEATURES = "features.0.0.weight"
LAYOUTS: Mapping[Conversion, CheckpointLayout] = {
    "simclr-separius": _layout("net.0.0.weight", r"net\.1\.blocks\.", from_separius),
    "hf-beit-masked": _layout(f"beit.{_HF_PATCHES}", r"lm_head\.", transformers.from_hf_beit_masked),
    "hf-beit": _layout(
        _HF_PATCHES,
        r"encoder\.(layer\.\d+\.attention\.attention\.)?relative_position_bias|"
        r"layers\.\d+\.relative_position_bias|shared_position_bias",
        transformers.from_hf_beit,
    ),
    "hf-vit": _layout(
        _HF_PATCHES, r"(encoder\.layer|layers)\.0\.attention\.(attention|q_proj)", transformers.from_hf_vit
    ),
    "hf-swin": _layout(_HF_PATCHES, r"encoder\.layers\.0\.blocks\.0\.", convolutional.from_hf_swin),
    "hf-hiera": _layout(_HF_PATCHES, r"encoder\.stages\.0\.layers\.0\.attn\.", convolutional.from_hf_hiera),
    "hf-dinov3": _layout(
        "embeddings.patch_embeddings.weight", r"(model\.)?layer\.0\.attention\.", transformers.from_hf_dinov3
    ),
    "hf-convnext": _layout(
        "embeddings.patch_embeddings.weight", r"encoder\.stages\.0\.layers\.0\.", convolutional.from_hf_convnext
    ),
    "hf-dinov3-convnext": _layout(
        "stages.0.downsample_layers.0.weight",
        r"stages\.0\.layers\.0\.depthwise_conv",
        convolutional.from_hf_dinov3_convnext,
    ),
    "hf-clip": _layout(_CLIP_PATCHES, r"(vision_model\.)?encoder\.layers\.0\.self_attn\.", transformers.from_hf_clip),
    "hf-aimv2": _layout("embeddings.patch_embed.weight", r"encoder\.layers\.0\.ffn\.", transformers.from_hf_aimv2),
    "hf-resnet": _layout(
        "embedder.embedder.convolution.weight", r"encoder\.stages\.0\.layers\.0\.", convolutional.from_hf_resnet
    ),
    "aimv2": _layout("preprocessor.patchifier.proj.weight", r"trunk\.blocks\.0\.", transformers.from_aimv2),
    "clip": _layout("conv1.weight", r"transformer\.resblocks\.0\.", transformers.from_clip),
    "dinov3": _layout("patch_embed.proj.weight", r"storage_tokens$|rope_embed\.periods$", transformers.from_dinov3),
    "dinov2": _layout(
        "patch_embed.proj.weight",
        r"register_tokens$|blocks\.0\.0\.|blocks\.\d+\.mlp\.w12\.",
        transformers.with_registers,
    ),
    "swin": _layout("patch_embed.proj.weight", r"layers\.0\.downsample\.", convolutional.from_swin),
    "mmpretrain-vit": _layout(
        "patch_embed.projection.weight", r"layers\.0\.ffn\.layers\.", transformers.from_mmpretrain_vit
    ),
    "mmpretrain-swin": _layout(
        "patch_embed.projection.weight", r"stages\.0\.blocks\.0\.attn\.w_msa\.", convolutional.from_mmpretrain_swin
    ),
    "torchvision-vit": _layout(
        "conv_proj.weight", r"encoder\.layers\.encoder_layer_0\.", transformers.from_torchvision_vit
    ),
    "torchvision-convnext": _layout(_FEATURES, r"features\.1\.0\.layer_scale", convolutional.from_torchvision_convnext),
    "torchvision-swin": _layout(_FEATURES, r"features\.1\.0\.attn\.qkv\.", convolutional.from_torchvision_swin),
    "torchvision-mobilenet-v2": _layout(_FEATURES, r"features\.1\.conv\.0\.0\.", mobile.from_torchvision_mobilenet_v2),
    "torchvision-mobilenet-v3": _layout(_FEATURES, r"features\.1\.block\.0\.0\.", mobile.from_torchvision_mobilenet_v3),
    "torchvision-efficientnet": _layout(
        _FEATURES, r"features\.\d\.0\.block\.\d\.fc1\.", convolutional.from_torchvision_efficientnet
    ),
    "torchvision-regnet": _layout("stem.0.weight", r"trunk_output\.block1\.", convolutional.from_torchvision_regnet),
    "convnext": _layout(
        "downsample_layers.0.0.weight", r"stages\.0\.0\.(dwconv|depthwise_conv)\.", convolutional.from_convnext
    ),
    "detectron2": _layout("stem.conv1.weight", r"res2\.0\.", convolutional.from_detectron2),
    "flax-vit": _layout("embedding/kernel", r"Transformer/encoderblock_0/", transformers.from_flax_vit),
    "lightly-sequential": _layout("0.weight", r"4\.0\.conv1\.", from_lightly),
}


def convert(conversion: Conversion, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under timm's names; unchanged for conversions that do not concern keys."""
    layout = LAYOUTS.get(conversion)
    return dict(tensors) if layout is None else layout.convert(tensors)
