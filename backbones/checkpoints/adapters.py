"""Weights that other tensors complete: integer weights with scales are dequantised, LoRA adapters merged.

bitsandbytes (LLM.int8: `SCB`), compressed-tensors (`weight_scale`, int8 or float8), optimum-quanto (`_data`, `_scale`).
Packed 4-bit formats and integers without scales of a known format are left unchanged, and refused later.

The result is that of PEFT's `merge_and_unload`: W + s B A, with s = alpha / r, or alpha / sqrt(r) (rank-stabilised).
Both numbers are in `adapter_config.json`; without it, and for other kinds of adapters, nothing is merged.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backbones.catalog.weights_folder import ADAPTER_CONFIG
from backbones.io.errors import WeightsError

BITSANDBYTES_RANGE = 127.0
"""`SCB` contains the largest magnitude of each row."""
_SMALL = (torch.int8, torch.float8_e4m3fn, torch.float8_e5m2)
_BESIDE = ("SCB", "weight_format", "weight_scale", "weight_zero_point", "input_scale", "output_scale")
LARGEST_CONFIG = 1024**2
_LORA = re.compile(r"(?P<layer>.+)\.lora_(?P<part>[AB])\.(?:(?P<name>[^.]+)\.)?weight$")
_OUTER = "base_model.model."
_UNKNOWN = (
    "use_dora",
    "layer_replication",
    "alora_invocation_tokens",
    "lora_bias",
    "use_qalora",
    "corda_config",
    "arrow_config",
)
"""PEFT settings that change the function and are not supported."""


def dequantised(tensors: Mapping[str, object]) -> tuple[dict[str, object], str]:
    """Dictionary with floating-point weights, and the format; unchanged, and no format, if there is none."""
    result, found = dict(tensors), ""
    for key in tensors:
        layer, _, kind = key.rpartition(".")
        if kind == "SCB" and _is_plain(tensors, layer):
            done, name = _replace(result, layer, "weight", tensors[key], BITSANDBYTES_RANGE), "bitsandbytes"
        elif kind == "weight_scale":
            done, name = _replace(result, layer, "weight", tensors[key], 1.0), "compressed-tensors"
        elif kind == "_scale" and f"{layer}._data" in tensors and f"{layer}._shift" not in tensors:
            done, name = _replace(result, layer, "_data", tensors[key], 1.0), "optimum-quanto"
        else:
            continue
        found = name if done else found
    return result, found


def _is_plain(tensors: Mapping[str, object], layer: str) -> bool:
    """Whether bitsandbytes stored the matrix row by row."""
    order = tensors.get(f"{layer}.weight_format")
    return order is None or (isinstance(order, Tensor) and order.numel() == 1 and int(order) == 0)


def _replace(result: dict[str, object], layer: str, part: str, scale: object, divisor: float) -> bool:
    """Replace a weight's parts by the weight; False where they do not match."""
    whole = result.get(f"{layer}.{part}")
    if not isinstance(whole, Tensor) or not isinstance(scale, Tensor) or whole.dtype not in _SMALL or whole.ndim < 2:
        return False
    if scale.numel() not in (1, len(whole)) or not is_stored(whole):
        return False
    shift = result.get(f"{layer}.weight_zero_point")
    numbers = whole.float()
    if isinstance(shift, Tensor):
        if shift.numel() not in (1, len(whole)):
            return False
        numbers = numbers - _rows(shift, whole)
    name = layer if part == "_data" else f"{layer}.weight"
    inner = layer.rpartition(".")[0] if part == "_data" else layer
    for neighbour in (f"{layer}.{part}", f"{layer}._scale", *(f"{inner}.{kind}" for kind in _BESIDE)):
        result.pop(neighbour, None)
    result[name] = numbers * _rows(scale, whole) / divisor
    return True


def is_stored(tensor: Tensor) -> bool:
    """Whether every number is in memory: a view may repeat one number, and a copy of it could exhaust the memory."""
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """One number, or one per row, broadcast along the first axis."""
    return values.float().reshape(-1, *([1] * (like.ndim - 1)))


@dataclass(frozen=True)
class LoraSettings:
    """Settings of an adapter's configuration. Patterns give layers with a matching name their own values."""

    rank: int
    alpha: float
    stabilised: bool = False
    transposed: bool = False
    ranks: Mapping[str, float] | None = None
    alphas: Mapping[str, float] | None = None

    def scale(self, layer: str) -> float:
        """The factor of a layer's product."""
        rank = _of_layer(self.ranks, layer) or self.rank
        alpha = _of_layer(self.alphas, layer) or self.alpha
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


def _of_layer(pattern: Mapping[str, float] | None, layer: str) -> float | None:
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", layer):
            return value
    return None


def lora_settings(folder: Path) -> LoraSettings | None:
    """Settings in the folder; None if there are none. Raises WeightsError for unsupported kinds."""
    path = folder / ADAPTER_CONFIG
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            return None
        stated = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(stated, dict) or type(stated.get("r")) is not int or stated["r"] < 1:
        return None
    kind = stated.get("peft_type", "LORA")
    other = next((name for name in _UNKNOWN if stated.get(name)), None)
    if kind != "LORA" or other is not None or stated.get("bias", "none") != "none":
        what = f"an adapter of kind {kind}" if kind != "LORA" else f"a LoRA adapter with {other or 'trained biases'}"
        raise WeightsError(
            f"{folder} holds {what}, which is not merged here: merge it where it was trained (peft: merge_and_unload())"
        )
    return LoraSettings(
        rank=stated["r"],
        alpha=float(stated.get("lora_alpha") or stated["r"]),
        stabilised=bool(stated.get("use_rslora")),
        transposed=bool(stated.get("fan_in_fan_out")),
        ranks=stated.get("rank_pattern") or None,
        alphas=stated.get("alpha_pattern") or None,
    )


def merged_inside(tensors: Mapping[str, object], settings: LoraSettings) -> dict[str, object]:
    """Merge a dictionary that contains the network and its adapter (`base_layer`, `lora_A`, `lora_B`)."""
    network = {key: value for key, value in tensors.items() if not _LORA.match(key)}
    network = {key.replace(".base_layer.", "."): value for key, value in network.items()}
    return _merged(network, {key: value for key, value in tensors.items() if _LORA.match(key)}, settings, "")


def merged(base: Mapping[str, object], adapter: Mapping[str, object], settings: LoraSettings) -> dict[str, object]:
    """Merge the adapter of another file into the network. Raises WeightsError where they do not match."""
    inner = {key.removeprefix(_OUTER): value for key, value in adapter.items()}
    lora = {key: value for key, value in inner.items() if _LORA.match(key)}
    saved = {key: value for key, value in inner.items() if key not in lora}
    prefix = _prefix(base, [str(_layer(key)) for key in lora])
    unknown = [key for key in saved if f"{prefix}{key}" not in base]
    if unknown:
        raise WeightsError(f"the adapter replaces {unknown[0]}, which its network does not have")
    return _merged({**base, **{f"{prefix}{key}": value for key, value in saved.items()}}, lora, settings, prefix)


def holds_lora(tensors: Mapping[str, object]) -> bool:
    """Whether the dictionary contains layers with an unmerged adapter."""
    return any(".base_layer." in key for key in tensors) and any(_LORA.match(key) for key in tensors)


_HF = r"\1encoder.layer.\2."
_OLDER = (
    (r"(^|.*\.)layers\.(\d+)\.attention\.q_proj$", rf"{_HF}attention.attention.query"),
    (r"(^|.*\.)layers\.(\d+)\.attention\.k_proj$", rf"{_HF}attention.attention.key"),
    (r"(^|.*\.)layers\.(\d+)\.attention\.v_proj$", rf"{_HF}attention.attention.value"),
    (r"(^|.*\.)layers\.(\d+)\.attention\.o_proj$", rf"{_HF}attention.output.dense"),
    (r"(^|.*\.)layers\.(\d+)\.mlp\.fc1$", rf"{_HF}intermediate.dense"),
    (r"(^|.*\.)layers\.(\d+)\.mlp\.fc2$", rf"{_HF}output.dense"),
    (r"(^|.*\.)layers\.(\d+)\.(mlp\.fc[12])$", rf"{_HF}\3"),
)
"""Layer names of transformers 5, whose files use those of transformers 4."""


def _in_network(network: Mapping[str, object], layer: str) -> str:
    """The network's own name of a layer; the given name if it has none."""
    names = [layer, *(re.sub(new, old, layer) for new, old in _OLDER if re.match(new, layer))]
    return next((name for name in names if f"{name}.weight" in network), layer)


def _layer(key: str) -> str:
    found = _LORA.match(key)
    assert found is not None
    return found["layer"]


def _prefix(base: Mapping[str, object], layers: list[str]) -> str:
    """Prefix of the network's keys before the adapter's layer names."""
    if not layers:
        return ""
    starts = ("", *sorted({key.partition(".")[0] + "." for key in base if "." in key}))
    return next((start for start in starts if f"{_in_network(base, start + layers[0])}.weight" in base), "")


def _merged(
    network: Mapping[str, object], lora: Mapping[str, object], settings: LoraSettings, prefix: str
) -> dict[str, object]:
    result = dict(network)
    pairs: dict[tuple[str, str | None], dict[str, Tensor]] = {}
    for key, value in lora.items():
        found = _LORA.match(key)
        assert found is not None
        if not isinstance(value, Tensor):
            raise WeightsError(f"{key} of the adapter is not a tensor")
        pairs.setdefault((found["layer"], found["name"]), {})[found["part"]] = value
    names = {name for _, name in pairs}
    if len(names) > 1:
        raise WeightsError(f"it holds {len(names)} adapters ({', '.join(map(str, names))}): save the one to use")
    for (layer, _), pair in pairs.items():
        name = f"{_in_network(result, f'{prefix}{layer}')}.weight"
        weight = result.get(name)
        if not isinstance(weight, Tensor) or pair.keys() != {"A", "B"}:
            raise WeightsError(f"the adapter changes {layer}, which its network does not have")
        result[name] = _with_product(layer, weight, pair["A"], pair["B"], settings)
    return result


def _with_product(layer: str, weight: Tensor, down: Tensor, up: Tensor, settings: LoraSettings) -> Tensor:
    """Weight plus the scaled product of the adapter's two matrices; those of convolutions have axes of length 1."""
    rows, columns = up.shape[0], math.prod(down.shape[1:])
    if rows * columns != weight.numel() or not all(map(is_stored, (weight, up, down))):
        raise WeightsError(f"the adapter's product for {layer} is {rows} x {columns}, its weight {tuple(weight.shape)}")
    product = up.flatten(1).float() @ down.flatten(1).float()
    product = (product.T if settings.transposed else product) * settings.scale(layer)
    dtype = torch.float32 if weight.dtype == torch.float16 else weight.dtype
    return (weight.float() + product.reshape(weight.shape)).to(dtype)
