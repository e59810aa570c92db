"""Inspection of architectures without weights: JSON lines of `FeatureMapQuery` in, of `FeatureMapInfo` out.

`python -P -m backbones.model.feature_map_main`. A separate process because timm imports torch. Everything runs on
torch's meta device, which has shapes only, so the size of a network does not matter.
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from backbones.catalog.card import ArchitectureValue
from backbones.catalog.feature_map_info import FeatureMapInfo, FeatureMapQuery, MapFacts
from backbones.catalog.layer_columns import BlockInfo
from backbones.model.architecture import arguments_of, hollow
from backbones.model.feature_maps import FeatureMaps, NoMaps
from backbones.model.layers import block_info

REFUSALS = (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError, AttributeError, KeyError)
"""Exceptions of timm's architectures for unsupported arguments or sizes."""


def dissect(specimen: FeatureMapQuery) -> FeatureMapInfo:
    """Feature maps of the architecture, at the query's size and at a larger non-square one."""
    try:
        arguments = arguments_of(specimen.architecture, specimen.arguments)
        model = _hollow(specimen.architecture, arguments)
    except REFUSALS as error:
        return FeatureMapInfo(problem=f"{specimen.architecture} cannot be made: {_first_line(error)}")
    blocks = _blocks(model, specimen.size)
    try:
        maps = FeatureMaps(model, specimen.size)
    except NoMaps as error:
        return FeatureMapInfo(problem=str(error), blocks=blocks)
    except REFUSALS as error:
        return FeatureMapInfo(problem=f"{specimen.architecture} gives no maps: {_first_line(error)}", blocks=blocks)
    facts = tuple(MapFacts(stride=s, channels=c) for s, c in zip(maps.strides, maps.channels, strict=True))
    any_size, dilates = _any_size(maps, specimen.size), _dilates(specimen, arguments)
    return FeatureMapInfo(maps=facts, any_size=any_size, dilates=dilates, blocks=blocks)


def _blocks(model: nn.Module, size: int) -> BlockInfo | None:
    try:
        with torch.inference_mode(), torch.device("meta"):
            return block_info(model, size)
    except REFUSALS:  # includes `NoBlocks`
        return None


def _hollow(name: str, arguments: dict[str, ArchitectureValue]) -> nn.Module:
    """The architecture without memory for its weights."""
    return hollow(name, **arguments).eval()


def _any_size(maps: FeatureMaps, size: int) -> bool:
    """Whether an image twice as high and three times as wide gives maps of these proportions."""
    unit = max(maps.strides)
    high, wide = 2 * size // unit * unit, 3 * size // unit * unit
    try:
        with torch.inference_mode(), torch.device("meta"):
            found = maps(torch.empty(1, 3, high, wide))
    except REFUSALS:
        return False
    expected = [(high // stride, wide // stride) for stride in maps.strides]
    return [tuple(one.shape[-2:]) for one in found] == expected


def _dilates(specimen: FeatureMapQuery, arguments: dict[str, ArchitectureValue]) -> bool:
    try:
        model = _hollow(specimen.architecture, {**arguments, "output_stride": 8})
        return FeatureMaps(model, specimen.size).strides[-1] == 8
    except REFUSALS:
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def main() -> int:
    """Answer every line of standard input."""
    for line in sys.stdin:
        print(dissect(FeatureMapQuery.model_validate_json(line)).model_dump_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
