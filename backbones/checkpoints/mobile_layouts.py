"""Conversion of torchvision's names of MobileNets to timm's, which numbers blocks within stages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from torch import Tensor

from backbones.checkpoints.renaming import Tensors

V2_STAGES = (1, 2, 3, 4, 3, 3, 1)
V3_STAGES = {15: (1, 2, 3, 4, 2, 3), 11: (1, 2, 3, 2, 3)}
"""Blocks of each stage, by their number: large and small."""
_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)$"


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
