"""Conversion of other projects' names of convolutional and windowed networks to timm's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from torch import Tensor

from backbones.checkpoints.key_mapping import Tensors, fused, renamed

_CONVNEXT_BLOCK = (
    (r"\.(?:dwconv|depthwise_conv)\.", ".conv_dw."),
    (r"\.(?:pwconv|pointwise_conv)(\d)\.", r".mlp.fc\1."),
    (r"\.(?:layernorm|layer_norm)\.", ".norm."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"\.grn\.(?:gamma|weight)$", ".mlp.grn.weight"),
    (r"\.grn\.(?:beta|bias)$", ".mlp.grn.bias"),
)
V2_STAGES = (1, 2, 3, 4, 3, 3, 1)
V3_STAGES = {15: (1, 2, 3, 4, 2, 3), 11: (1, 2, 3, 2, 3)}
"""Blocks of each stage, by their number: large and small."""
_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)$"


def from_convnext(tensors: Tensors) -> dict[str, Tensor]:
    """facebookresearch/ConvNeXt and ConvNeXt-V2, DINOv3's ConvNeXt; mmpretrain's, whose last norm is the third."""
    rules = (
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"^norm3?\.", "head.norm."),
        *_CONVNEXT_BLOCK,
    )
    return _flat_scales(renamed(tensors, rules))


def from_hf_convnext(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' ConvNeXt and ConvNeXt V2."""
    rules = (
        (r"^embeddings\.patch_embeddings\.", "stem.0."),
        (r"^embeddings\.layernorm\.", "stem.1."),
        (r"^encoder\.", ""),
        (r"^stages\.(\d)\.layers\.", r"stages.\1.blocks."),
        (r"^stages\.(\d)\.downsampling_layer\.", r"stages.\1.downsample."),
        (r"^layernorm\.", "head.norm."),
        *_CONVNEXT_BLOCK,
    )
    return _flat_scales(renamed(tensors, rules))


def from_hf_dinov3_convnext(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' ConvNeXt of DINOv3."""
    rules = (
        (r"^stages\.0\.downsample_layers\.", "stem."),
        (r"^stages\.(\d)\.downsample_layers\.", r"stages.\1.downsample."),
        (r"^stages\.(\d)\.layers\.", r"stages.\1.blocks."),
        (r"^layer_norm\.", "head.norm."),
        *_CONVNEXT_BLOCK,
    )
    return _flat_scales(renamed(tensors, rules))


def from_torchvision_convnext(tensors: Tensors) -> dict[str, Tensor]:
    """torchvision's ConvNeXt: odd features are stages, even ones downsample."""
    parts = {"0": "conv_dw", "2": "norm", "3": "mlp.fc1", "5": "mlp.fc2"}
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        found = re.match(r"features\.(\d)\.(\d+)\.(.+)", key)
        name = re.sub(r"^classifier\.0\.", "head.norm.", key)
        if found is not None:
            stage, number, rest = int(found[1]) // 2, found[2], found[3]
            block = re.sub(r"block\.(\d)\.", lambda part: f"{parts.get(part[1], part[0])}.", rest)
            block = block.replace("layer_scale", "gamma")
            shrinks = f"stages.{stage}.downsample" if stage else "stem"
            name = f"stages.{stage}.blocks.{number}.{block}" if int(found[1]) % 2 else f"{shrinks}.{number}.{rest}"
        names[name] = value
    return _flat_scales(names)


def _flat_scales(tensors: Tensors) -> dict[str, Tensor]:
    """Vectors that other projects store with axes of length one."""
    flat = (".gamma", ".mlp.grn.weight", ".mlp.grn.bias")
    return {key: value.reshape(-1) if key.endswith(flat) else value for key, value in tensors.items()}


def from_swin(tensors: Tensors) -> dict[str, Tensor]:
    """microsoft/Swin-Transformer: downsampling ends a stage, while in timm it begins the next one."""
    return {
        re.sub(r"^layers\.(\d)\.downsample\.", lambda found: f"layers.{int(found[1]) + 1}.downsample.", key): value
        for key, value in tensors.items()
    }


def from_mmpretrain_swin(tensors: Tensors) -> dict[str, Tensor]:
    """mmpretrain's (and mmsegmentation's) Swin, which gathers four neighbours by channel first."""
    rules = (
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"^stages\.", "layers."),
        (r"^norm3\.", "norm."),
        (r"\.attn\.w_msa\.", ".attn."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    )
    gathered = (".downsample.reduction.weight", ".downsample.norm.weight", ".downsample.norm.bias")
    names = renamed(tensors, rules)
    return from_swin({key: _by_neighbour(value) if key.endswith(gathered) else value for key, value in names.items()})


def _by_neighbour(value: Tensor) -> Tensor:
    """[..., 4 c] by channel and then neighbour (row by row), to neighbour (column by column) and then channel."""
    by_channel = value.reshape(*value.shape[:-1], -1, 4).transpose(-1, -2)
    return by_channel[..., [0, 2, 1, 3], :].reshape(value.shape)


def from_hf_swin(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' Swin and Swin V2."""
    rules = (
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^embeddings\.norm\.", "patch_embed.norm."),
        (r"^embeddings\.", ""),
        (r"^encoder\.layers\.", "layers."),
        (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
        (r"\.attention\.relative_position_bias\.", ".attn."),
        (r"\.attention\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
        (r"\.attention\.q_proj\.", ".attn.query."),
        (r"\.attention\.k_proj\.", ".attn.key."),
        (r"\.attention\.v_proj\.", ".attn.value."),
        (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.attention\.(?:self\.)?", ".attn."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"^layernorm\.", "norm."),
    )
    names = renamed(tensors, rules)
    if any(".attn.cpb_mlp." in key for key in names):
        names = renamed(names, [(r"\.attn\.query\.bias$", ".attn.q_bias"), (r"\.attn\.value\.bias$", ".attn.v_bias")])
    return from_swin(fused(names, ("query", "key", "value"), "qkv"))


def from_torchvision_swin(tensors: Tensors) -> dict[str, Tensor]:
    """torchvision's Swin and Swin V2: features 1, 3, 5 and 7 are stages, 2, 4 and 6 downsample."""

    def stage(found: re.Match[str]) -> str:
        number = int(found[1])
        return f"layers.{number // 2}.blocks.{found[2]}." if number % 2 else f"{found[0]}"

    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = re.sub(r"^features\.0\.0\.", "patch_embed.proj.", key)
        name = re.sub(r"^features\.0\.2\.", "patch_embed.norm.", name)
        name = re.sub(r"^features\.(\d)\.(\d+)\.", stage, name)
        name = re.sub(r"^features\.(\d)\.", lambda found: f"layers.{int(found[1]) // 2}.downsample.", name)
        name = re.sub(r"\.mlp\.0\.", ".mlp.fc1.", re.sub(r"\.mlp\.3\.", ".mlp.fc2.", name))
        names[name] = value
    second = any(key.endswith(".attn.logit_scale") for key in names)
    return _without_key_biases(names) if second else names


def _without_key_biases(tensors: Tensors) -> dict[str, Tensor]:
    """Swin V2's keys have no bias: torchvision stores an unused one. The MLP of relative positions is `cpb_mlp`
    in both.
    """
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key.endswith(".attn.qkv.bias"):
            start = key.removesuffix("qkv.bias")
            names[f"{start}q_bias"], _, names[f"{start}v_bias"] = value.chunk(3)
        else:
            names[key] = value
    return names


def from_detectron2(tensors: Tensors) -> dict[str, Tensor]:
    """detectron2's ResNet: torchvision's with other names."""
    rules = (
        (r"^stem\.conv1\.norm\.", "bn1."),
        (r"^stem\.(conv1|bn1)\.", r"\1."),
        (r"^stem\.fc\.", "fc."),
        (r"^res(\d)\.", lambda found: f"layer{int(found[1]) - 1}."),
        (r"\.conv(\d)\.norm\.", r".bn\1."),
        (r"\.shortcut\.norm\.", ".downsample.1."),
        (r"\.shortcut\.", ".downsample.0."),
    )
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        names[name] = value
    return names


def from_hf_resnet(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' ResNet."""
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = re.sub(r"^embedder\.embedder\.convolution\.", "conv1.", key)
        name = re.sub(r"^embedder\.embedder\.normalization\.", "bn1.", name)
        name = re.sub(r"^encoder\.stages\.(\d)\.layers\.", lambda found: f"layer{int(found[1]) + 1}.", name)
        name = re.sub(r"\.layer\.(\d)\.convolution\.", lambda found: f".conv{int(found[1]) + 1}.", name)
        name = re.sub(r"\.layer\.(\d)\.normalization\.", lambda found: f".bn{int(found[1]) + 1}.", name)
        name = name.replace(".shortcut.convolution.", ".downsample.0.").replace(
            ".shortcut.normalization.", ".downsample.1."
        )
        names[name] = value
    return names


def from_torchvision_efficientnet(tensors: Tensors) -> dict[str, Tensor]:
    """torchvision's EfficientNet, V2 and MobileNets with the same blocks."""
    blocks: dict[str, int] = {}
    last = max((int(found[1]) for key in tensors if (found := re.match(r"features\.(\d+)\.", key))), default=0)
    for key in tensors:
        if found := re.match(r"(features\.\d+\.\d+)\.block\.(\d)\.", key):
            blocks[found[1]] = max(blocks.get(found[1], 0), int(found[2]))
    return {_efficientnet_name(key, blocks, last, tensors): value for key, value in tensors.items()}


def _efficientnet_name(key: str, blocks: dict[str, int], last: int, tensors: Tensors) -> str:
    if found := re.match(r"features\.(\d+)\.([01])\.(weight|bias|running_mean|running_var|num_batches_tracked)$", key):
        ends = {(0, 0): "conv_stem", (0, 1): "bn1", (last, 0): "conv_head", (last, 1): "bn2"}
        return f"{ends.get((int(found[1]), int(found[2])), key)}.{found[3]}"
    found = re.match(r"((features)\.(\d+)\.(\d+))\.block\.(\d)\.(?:([01])\.)?(.+)", key)
    if found is None:
        return key
    block, _, stage, number, part, which, rest = found.groups()
    layers = _efficientnet_layers(block, blocks[block], tensors)
    start = f"blocks.{int(stage) - 1}.{number}"
    if which is None:
        return f"{start}.se.{rest.replace('fc1', 'conv_reduce').replace('fc2', 'conv_expand')}"
    convolution, norm = layers[int(part)]
    return f"{start}.{norm if which == '1' else convolution}.{rest}"


def _efficientnet_layers(block: str, end: int, tensors: Tensors) -> dict[int, tuple[str, str]]:
    """timm's names of a block's convolutions and norms, by torchvision's index of the part."""
    excites = any(key.startswith(f"{block}.block.{end - 1}.fc1.") for key in tensors) if end else False
    if end == 0:
        return {0: ("conv", "bn1")}
    if end == 1 and not excites:
        return {0: ("conv_exp", "bn1"), 1: ("conv_pwl", "bn2")}
    if end == 2 and excites:
        return {0: ("conv_dw", "bn1"), 2: ("conv_pw", "bn2")}
    return {0: ("conv_pw", "bn1"), 1: ("conv_dw", "bn2"), end: ("conv_pwl", "bn3")}


def from_torchvision_regnet(tensors: Tensors) -> dict[str, Tensor]:
    """torchvision's RegNet."""
    rules = (
        (r"^stem\.0\.", "stem.conv."),
        (r"^stem\.1\.", "stem.bn."),
        (r"^trunk_output\.block(\d)\.block\d-(\d+)\.", r"s\1.b\2."),
        (r"\.proj\.0\.", ".downsample.conv."),
        (r"\.proj\.1\.", ".downsample.bn."),
        (r"\.f\.se\.(fc[12])\.", r".se.\1."),
    )
    names: dict[str, Tensor] = {}
    for key, value in renamed(tensors, rules).items():
        name = re.sub(
            r"\.f\.([abc])\.([01])\.",
            lambda found: f".conv{'abc'.index(found[1]) + 1}.{'bn' if found[2] == '1' else 'conv'}.",
            key,
        )
        name = re.sub(r"^s(\d)\.b(\d+)\.", lambda found: f"s{found[1]}.b{int(found[2]) + 1}.", name)
        names[name] = value
    return names


def from_hf_hiera(tensors: Tensors) -> dict[str, Tensor]:
    """transformers' Hiera: blocks are numbered within their stage, in timm across all stages."""
    depths: dict[int, int] = {}
    for key in tensors:
        if block := re.match(r"encoder\.stages\.(\d)\.layers\.(\d+)\.", key):
            depths[int(block[1])] = max(depths.get(int(block[1]), 0), int(block[2]) + 1)
    firsts = {stage: sum(depth for other, depth in depths.items() if other < stage) for stage in depths}
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = re.sub(r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj.", key)
        name = re.sub(r"^embeddings\.position_embeddings$", "pos_embed", name)
        name = re.sub(
            r"^encoder\.stages\.(\d)\.layers\.(\d+)\.", lambda f: f"blocks.{firsts[int(f[1])] + int(f[2])}.", name
        )
        name = name.replace(".layernorm_before.", ".norm1.").replace(".layernorm_after.", ".norm2.")
        names[re.sub(r"^(?:pooler\.layernorm|layernorm)\.", "head.norm.", name)] = value
    return names


def from_torchvision_mobilenet_v2(tensors: Tensors) -> dict[str, Tensor]:
    """MobileNet V2."""
    last = _last(tensors)
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        found = re.match(r"features\.(\d+)\.conv\.(\d)\.(?:([01])\.)?(.+)", key)
        if found is None:
            names[_end(key, last, "conv_head", "bn2")] = value
            continue
        number, part, inner, leaf = int(found[1]), int(found[2]), found[3], found[4]
        steps = max(_parts(tensors, f"features.{number}.conv"))
        layer, kind = (part, int(inner)) if inner is not None else (steps - 1, part - steps + 1)
        layers = ("conv_dw", "conv_pw") if steps == 2 else ("conv_pw", "conv_dw", "conv_pwl")
        name = f"bn{layer + 1}" if kind else layers[layer]
        names[f"{_block(number - 1, V2_STAGES)}.{name}.{leaf}"] = value
    return names


def from_torchvision_mobilenet_v3(tensors: Tensors) -> dict[str, Tensor]:
    """MobileNet V3: the hidden layer of the classifier is timm's last convolution."""
    last = _last(tensors)
    stages = V3_STAGES.get(last - 1, ())
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key.startswith("classifier.0."):
            names[f"conv_head.{key.rpartition('.')[2]}"] = value[..., None, None] if value.ndim == 2 else value
        elif found := re.match(r"features\.(\d+)\.block\.(\d)\.(.+)", key):
            number, part = int(found[1]), int(found[2])
            parts = _parts(tensors, f"features.{number}.block")
            names[f"{_block(number - 1, stages)}.{_layer(part, max(parts), found[3], key, tensors)}"] = value
        else:
            names[_end(key, last, f"blocks.{len(stages)}.0.conv", f"blocks.{len(stages)}.0.bn1")] = value
    return names


def _layer(part: int, end: int, rest: str, key: str, tensors: Tensors) -> str:
    """timm's name of a block's part; the squeeze-and-excitation before the last part has its own layers."""
    if rest.startswith(("fc1.", "fc2.")):
        return f"se.{rest.replace('fc1', 'conv_reduce').replace('fc2', 'conv_expand')}"
    block = key.rpartition(".block.")[0]
    excites = any(name.startswith(f"{block}.block.{end - 1}.fc1.") for name in tensors)
    convolutions = end + 1 - excites
    number = convolutions - 1 if part == end else part
    names = ("conv_dw", "conv_pw") if convolutions == 2 else ("conv_pw", "conv_dw", "conv_pwl")
    kind, _, leaf = rest.partition(".")
    return f"bn{number + 1}.{leaf}" if kind == "1" else f"{names[number]}.{leaf}"


def _end(key: str, last: int, convolution: str, norm: str) -> str:
    """The first and the last convolution with their norms."""
    found = re.match(rf"features\.(\d+)\.([01])\.{_NORM}", key)
    if found is None:
        return key
    ends = {(0, 0): "conv_stem", (0, 1): "bn1", (last, 0): convolution, (last, 1): norm}
    return f"{ends.get((int(found[1]), int(found[2])), key)}.{found[3]}"


def _block(number: int, stages: Sequence[int]) -> str:
    """`blocks.STAGE.BLOCK` for a block's number across all stages."""
    for stage, count in enumerate(stages):
        if number < count:
            return f"blocks.{stage}.{number}"
        number -= count
    return f"blocks.{len(stages)}.{number}"


def _parts(tensors: Iterable[str], start: str) -> set[int]:
    return {int(key[len(start) + 1 :].partition(".")[0]) for key in tensors if key.startswith(f"{start}.")}


def _last(tensors: Iterable[str]) -> int:
    return max((int(found[1]) for key in tensors if (found := re.match(r"features\.(\d+)\.", key))), default=0)
