"""Conversion of other projects' names and layouts of a ResNet's tensors to torchvision's (which are timm's).

Convolution kernels of TensorFlow and haiku, [height, width, in, out], become [out, in, height, width].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backbones.io.errors import WeightsError

Array = np.ndarray[Any, np.dtype[Any]]

STAGES: Mapping[int, tuple[int, int, int, int]] = {53: (3, 4, 6, 3), 104: (3, 4, 23, 3), 155: (3, 8, 36, 3)}
"""Blocks per stage of a bottleneck ResNet, by its number of convolutions."""

_HAIKU_BLOCK = re.compile(r"block_group_(\d+)/(?:~/)?block_(\d+)/(?:~/)?(shortcut_)?(conv|batchnorm)(?:_(\d+))?(?=/|$)")
_HAIKU_STEM = re.compile(r"(?:^|/)initial_(conv|batchnorm)(?=/|$)")
_SIMCLR = re.compile(
    r"base_model/(conv2d|batch_normalization)(?:_(\d+))?/(kernel|gamma|beta|moving_mean|moving_variance)"
)
_SIMCLR_PARTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_SEPARIUS_STEM = re.compile(r"net\.0\.(?:(0)|1\.0)\.(.+)")
_SEPARIUS_BLOCK = re.compile(r"net\.([1-4])\.blocks\.(\d+)\.(?:net\.(\d)(\.0)?|projection\.(shortcut|bn\.0))\.(\w+)")
_LIGHTLY = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def from_byol(checkpoint: Mapping[str, object]) -> dict[str, Tensor]:
    """The online network of BYOL's checkpoint (`experiment_state.online_params` and `.online_state`).

    Projector, predictor and classifier have other names and are dropped. By name, not by order: haiku's
    `block_group_g/block_b/conv_i` is `layer{g+1}.{b}.conv{i+1}`, its `shortcut_*` torchvision's `downsample`.
    Raises WeightsError for a file of another project.
    """
    state = checkpoint.get("experiment_state")
    parts = [state.get(key) if isinstance(state, Mapping) else None for key in ("online_params", "online_state")]
    parameters, statistics = ({} if part is None else part for part in parts)
    if not isinstance(parameters, Mapping) or not isinstance(statistics, Mapping) or not parameters:
        raise WeightsError("the checkpoint has no experiment_state.online_params: it is not BYOL's")
    tensors = dict(_haiku_parameters(parameters))
    for module, values in statistics.items():
        tensors.update(_haiku_statistic(str(module), values))
    return tensors


def from_simclr(variables: Mapping[str, Array]) -> dict[str, Tensor]:
    """The encoder of a SimCLR TensorFlow checkpoint (v1, and v2 without selective kernels).

    Layers are numbered in order of creation: the stem, then block by block, and in a stage's first block the shortcut
    before the three others. Raises WeightsError when the number of convolutions does not match a ResNet.
    """
    convolutions = sum(1 for name in variables if (found := _SIMCLR.fullmatch(name)) and found[1] == "conv2d")
    if convolutions not in STAGES:
        raise WeightsError(
            f"the checkpoint has {convolutions} convolutions, while a ResNet-50, -101 or -152 has 53, 104 or 155: "
            "a variant with selective kernels, or not SimCLR's"
        )
    layers = list(_creation_order(STAGES[convolutions]))
    tensors: dict[str, Tensor] = {}
    for name, value in variables.items():
        if (found := _SIMCLR.fullmatch(name)) and int(found[2] or 0) < len(layers):
            convolution, norm = layers[int(found[2] or 0)]
            layer = convolution if found[1] == "conv2d" else norm
            tensors[f"{layer}.{_SIMCLR_PARTS[found[3]]}"] = _kernel(value) if found[1] == "conv2d" else _vector(value)
    return tensors


def wanted_from_simclr(name: str) -> bool:
    """Whether `from_simclr` uses a variable: not momentum, moving averages of the whole, or heads."""
    return _SIMCLR.fullmatch(name) is not None


def from_separius(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The PyTorch conversion of SimCLR v2 (`Separius/SimCLRv2-Pytorch`); other keys are unchanged."""
    return {separius_name(key): value for key, value in tensors.items()}


def from_lightly(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A torchvision ResNet cut into `nn.Sequential(*children[:-1])`: children by number; other keys are unchanged."""
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        child, _, rest = key.partition(".")
        names[f"{_LIGHTLY[child]}.{rest}" if child in _LIGHTLY else key] = value
    return names


def _haiku_parameters(parameters: Mapping[object, object]) -> Iterator[tuple[str, Tensor]]:
    for module, values in parameters.items():
        layer = _haiku_layer(str(module))
        if layer is None or not isinstance(values, Mapping):
            continue
        if "w" in values:
            yield f"{layer}.weight", _kernel(values["w"])
        if "scale" in values:
            yield f"{layer}.weight", _vector(values["scale"])
            yield f"{layer}.bias", _vector(values["offset"])


def _haiku_statistic(module: str, values: object) -> dict[str, Tensor]:
    """`.../batchnorm_0/~/mean_ema` with its `average`; haiku also stores the average before bias correction."""
    layer, kind = _haiku_layer(module), module.rsplit("/", 1)[-1]
    names = {"mean_ema": "running_mean", "var_ema": "running_var"}
    if layer is None or kind not in names or not isinstance(values, Mapping):
        return {}
    return {f"{layer}.{names[kind]}": _vector(values["average"])}


def _haiku_layer(module: str) -> str | None:
    """torchvision's name of a layer of haiku's ResNet; None for a module that does not belong to it."""
    if found := _HAIKU_STEM.search(module):
        return "conv1" if found[1] == "conv" else "bn1"
    found = _HAIKU_BLOCK.search(module)
    if found is None:
        return None
    group, block, shortcut, kind, index = found.groups()
    if shortcut:
        layer = "downsample.0" if kind == "conv" else "downsample.1"
    else:
        layer = f"{'conv' if kind == 'conv' else 'bn'}{int(index or 0) + 1}"
    return f"layer{int(group) + 1}.{block}.{layer}"


def _creation_order(stages: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Convolutions, each with its norm, in the order in which SimCLR's code creates them."""
    yield "conv1", "bn1"
    for stage, blocks in enumerate(stages, start=1):
        for block in range(blocks):
            start = f"layer{stage}.{block}"
            if block == 0:
                yield f"{start}.downsample.0", f"{start}.downsample.1"
            yield from ((f"{start}.conv{i}", f"{start}.bn{i}") for i in (1, 2, 3))


def separius_name(key: str) -> str:
    """torchvision's name of a tensor of `Separius/SimCLRv2-Pytorch`; other keys are unchanged."""
    if found := _SEPARIUS_STEM.fullmatch(key):
        return f"{'conv1' if found[1] else 'bn1'}.{found[2]}"
    found = _SEPARIUS_BLOCK.fullmatch(key)
    if found is None:
        return key
    stage, block, index, norm, shortcut, part = found.groups()
    if shortcut:
        layer = "downsample.0" if shortcut == "shortcut" else "downsample.1"
    else:
        layer = f"{'bn' if norm else 'conv'}{int(index) // 2 + 1}"
    return f"layer{stage}.{block}.{layer}.{part}"


def _kernel(value: object) -> Tensor:
    array = _array(value)
    if array.ndim != 4:
        raise WeightsError(f"a convolution's kernel has the shape {array.shape}, expected four dimensions")
    return torch.from_numpy(np.array(array.transpose(3, 2, 0, 1), order="C"))


def _vector(value: object) -> Tensor:
    return torch.from_numpy(np.array(_array(value).reshape(-1)))


def _array(value: object) -> Array:
    if not isinstance(value, np.ndarray):
        raise WeightsError(f"expected an array, found a {type(value).__name__}")
    return value.astype(value.dtype.newbyteorder("="), copy=False)
