"""Feature maps and pooled blocks of any timm backbone, and their description without weights.

Maps for trained decoders: a hierarchical network (ResNet, ConvNeXt, Swin, Hiera) gives the last map of every stride
from 4. A plain transformer has one stride; it gives four of its blocks, evenly spaced, including the last.

Maps for frozen heads: a plain transformer gives the requested blocks, each through its final norm. A hierarchical
network gives its last map, or the last map of every stride where several layers are requested.

Pooled blocks are recorded by hooks during the forward pass of the usual features, which stay bit-identical. Blocks are
those of timm's `feature_info`.

`python -P -m backbones.model.feature_maps` reads JSON lines of `FeatureMapQuery` and prints `FeatureMapInfo`. It is a
separate process because timm imports torch. Everything runs on torch's meta device, which has shapes only, so the size
of a network does not matter.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from backbones.catalog.card import ArchitectureValue
from backbones.catalog.layer_info import (
    LAYER_POOLINGS,
    BlockInfo,
    FeatureMapInfo,
    FeatureMapQuery,
    LayerColumn,
    LayerPooling,
    MapFacts,
)
from backbones.model.architecture import arguments_of, hollow

FINEST_STRIDE = 4
PLAIN_MAPS = 4
LayerChoice = Literal["last", "last-4", "quarters"]
PUBLISHED_QUARTERS = (4, 11, 17, 23)
"""Blocks of 24 that DINOv2 and DINOv3 use: the first is not the sixth block."""
REFUSALS = (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError, AttributeError, KeyError)
"""Exceptions of timm's architectures for unsupported arguments or sizes."""


class NoMaps(RuntimeError):  # noqa: N818 - a domain word, raised as such
    """The architecture has no feature maps; the message gives the reason."""


class FeatureMaps(nn.Module):
    """`model` as a function from images [b, 3, h, w] to maps [b, channels[i], h / strides[i], w / strides[i]].

    `strides` are pixels per position, measured with an image of `size` and rounded. Raises NoMaps.
    """

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        if not hasattr(model, "forward_intermediates"):
            raise NoMaps(f"{type(model).__name__} has no feature maps (timm's forward_intermediates)")
        self.model = model
        self._places: tuple[int, ...] = ()
        probed = self._probe(size)
        strides = [max(1, round(size / one.shape[-1])) for one in probed]
        self._places = tuple(_chosen(strides))
        self.strides = tuple(strides[place] for place in self._places)
        self.channels = tuple(probed[place].shape[1] for place in self._places)

    @property
    def places(self) -> tuple[int, ...]:
        """Indices of the maps among all intermediate outputs of the network."""
        return self._places

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps, finest first."""
        places = list(self._places) if self._places else None
        maps = cast("Any", self.model).forward_intermediates(
            images, indices=places, output_fmt="NCHW", intermediates_only=True
        )
        return list(maps)

    @torch.no_grad()
    def _probe(self, size: int) -> list[Tensor]:
        """All maps of a blank image."""
        device = next(self.model.parameters()).device
        training = self.model.training
        self.model.eval()
        try:
            maps: list[Tensor] = self(torch.zeros(1, 3, size, size, device=device))
        except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError) as error:
            raise NoMaps(f"{type(self.model).__name__} has no feature maps at {size} pixels: {error}") from error
        finally:
            self.model.train(training)
        if not maps or any(one.ndim != 4 for one in maps):
            raise NoMaps(f"{type(self.model).__name__} returns features that are not maps")
        return maps


def _chosen(strides: Sequence[int]) -> list[int]:
    """Indices of the maps in the pyramid."""
    if len(set(strides)) == 1:
        count = min(PLAIN_MAPS, len(strides))
        return [len(strides) * (number + 1) // count - 1 for number in range(count)]
    last = {stride: place for place, stride in enumerate(strides)}
    return sorted(place for stride, place in last.items() if stride >= FINEST_STRIDE)


class NormedMaps(nn.Module):
    """`model` as a function from images [b, 3, h, w] to maps [b, channels[i], h', w'].

    Sides of an image must be multiples of `unit` pixels. With `class_token`, every position also
    has the class token of its block (the mean over positions where there is none) as further channels. Without `norm`,
    maps are the blocks' own outputs.
    """

    def __init__(
        self,
        model: nn.Module,
        size: int,
        layers: LayerChoice = "last",
        *,
        class_token: bool = False,
        norm: bool = True,
    ) -> None:
        super().__init__()
        pyramid = FeatureMaps(model, size)
        self.model, self.class_token, self.norm = model, class_token, norm
        self._places = _places(pyramid, layers)
        self._takes = set(inspect.signature(cast("Any", model).forward_intermediates).parameters)
        self.unit = max(pyramid.strides)
        self.channels = tuple(one.shape[1] for one in self._probe(size))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps, in the order of the layers; coarser ones are not resized."""
        prefixed = {"norm", "return_prefix_tokens"} <= self._takes
        how = {"norm": self.norm} if "norm" in self._takes else {}
        if prefixed:
            how["return_prefix_tokens"] = True
        found = cast("Any", self.model).forward_intermediates(
            images, indices=list(self._places), output_fmt="NCHW", intermediates_only=True, **how
        )
        if not self.class_token:
            return [one[0] if isinstance(one, tuple) else one for one in found]
        return [with_class_token(*one) if isinstance(one, tuple) else with_class_token(one, None) for one in found]

    @torch.no_grad()
    def _probe(self, size: int) -> list[Tensor]:
        training, device = self.model.training, next(self.model.parameters()).device
        self.model.eval()
        try:
            maps: list[Tensor] = self(torch.zeros(1, 3, size, size, device=device))
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            raise NoMaps(f"{type(self.model).__name__} has no maps after its final norm: {error}") from error
        finally:
            self.model.train(training)
        return maps


def with_class_token(patches: Tensor, prefix: Tensor | None) -> Tensor:
    """[b, 2 d, h, w] from a map [b, d, h, w] and prefix tokens [b, n, d], the first of which is the class token."""
    has_class = prefix is not None and prefix.shape[1] > 0
    token = prefix[:, 0] if prefix is not None and has_class else patches.mean(dim=(2, 3))
    return torch.cat([patches, token[:, :, None, None].expand_as(patches)], dim=1)


def _places(pyramid: FeatureMaps, layers: LayerChoice) -> Sequence[int]:
    """Indices among the network's own list of intermediate outputs."""
    evenly = pyramid.places
    last = evenly[-1]
    if layers == "last":
        return (last,)
    plain = len(set(pyramid.strides)) == 1
    if layers == "last-4" and plain:
        return tuple(range(max(0, last - 3), last + 1))
    return PUBLISHED_QUARTERS if plain and last == PUBLISHED_QUARTERS[-1] else evenly


class NoBlocks(RuntimeError):  # noqa: N818 - a domain word, raised as such
    """The architecture has no blocks whose outputs can be pooled; the message gives the reason."""


def block_modules(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules of its blocks or stages, first to last. Raises NoBlocks."""
    return tuple(str(one["module"]) for one in _blocks(model))


@torch.no_grad()
def block_info(model: nn.Module, size: int) -> BlockInfo:
    """Widths and poolings of the blocks, from a forward pass of a blank image of `size`. Raises NoBlocks."""
    blocks, names = _blocks(model), block_modules(model)
    plain = _is_plain(blocks)
    blank = torch.zeros(1, 3, size, size, device=next(model.parameters()).device)
    with recorded_blocks(model, names) as outputs:
        cast("Any", model).forward_features(blank)
    for name in names:
        output = outputs.get(name)
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            raise NoBlocks(f"{name} of {type(model).__name__} returns neither tokens nor a map")
    widths = tuple(_width(model, outputs[name]) for name in names)
    return BlockInfo(widths=widths, poolings=_poolings(model) if plain else ("mean",), plain=plain)


@contextmanager
def recorded_blocks(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of the named modules in the mapping during every forward pass of `network` inside the
    block.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:  # noqa: ANN401 - torch's hook
        def hook(_module: nn.Module, _given: object, output: Tensor) -> None:
            outputs[name] = output

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def pooled_columns(
    model: nn.Module, info: BlockInfo, columns: Sequence[LayerColumn], outputs: dict[str, Tensor]
) -> Tensor:
    """Float32 [b, sum of widths]: the recorded outputs pooled, column by column."""
    names = block_modules(model)
    norm = getattr(model, "norm", None) if info.plain else None
    normed = {column.block: outputs[names[column.block - 1]] for column in columns}
    if isinstance(norm, nn.Module):
        normed = {block: norm(output) for block, output in normed.items()}
    pooled = [_pooled(model, normed[column.block], column.pooling) for column in columns]
    return torch.cat([part.float().flatten(1) for part in pooled], dim=1)


def _blocks(model: nn.Module) -> list[dict[str, Any]]:
    found = getattr(model, "feature_info", None)
    infos: list[dict[str, Any]] = list(found if isinstance(found, list) else getattr(found, "info", None) or [])
    names = {name for name, _ in model.named_modules()}
    if not infos or any(one.get("module") not in names or not one.get("reduction") for one in infos):
        raise NoBlocks(f"{type(model).__name__} does not list its blocks (timm's feature_info)")
    if _is_plain(infos):
        return infos
    last = {one["reduction"]: one for one in infos}
    return [one for stride, one in sorted(last.items()) if stride >= FINEST_STRIDE]


def _is_plain(infos: Sequence[dict[str, Any]]) -> bool:
    return len(infos) > 1 and len({one["reduction"] for one in infos}) == 1


def _width(model: nn.Module, output: Tensor) -> int:
    last = output.ndim == 3 or getattr(model, "output_fmt", None) == "NHWC"
    return output.shape[-1 if last else 1]


def _poolings(model: nn.Module) -> tuple[LayerPooling, ...]:
    prefix, has_class = _prefix(model)
    present = {"cls": bool(has_class), "mean": True, "registers": prefix > has_class}
    return tuple(pooling for pooling in LAYER_POOLINGS if present[pooling])


def _prefix(model: nn.Module) -> tuple[int, int]:
    """Number of tokens before the patches, and whether (0 or 1) the first is a class token."""
    prefix = cast("int", getattr(model, "num_prefix_tokens", 0))
    return prefix, int(prefix > 0 and getattr(model, "cls_token", None) is not None)


def _pooled(model: nn.Module, output: Tensor, pooling: LayerPooling) -> Tensor:
    """[b, width] from tokens [b, n, d] or maps [b, d, h, w] ([b, h, w, d] if the model uses that layout)."""
    if output.ndim == 4:
        last = getattr(model, "output_fmt", None) == "NHWC"
        return output.mean(dim=(1, 2) if last else (2, 3))
    prefix, has_class = _prefix(model)
    part = {"cls": output[:, :1], "mean": output[:, prefix:], "registers": output[:, has_class:prefix]}[pooling]
    norm = cast("nn.Module", getattr(model, "fc_norm", None) or nn.Identity())
    return cast("Tensor", norm(part.mean(dim=1)))


def dissect(specimen: FeatureMapQuery) -> FeatureMapInfo:
    """Feature maps of the architecture, at the query's size and at a larger non-square one."""
    try:
        arguments = arguments_of(specimen.architecture, specimen.arguments)
        model = _hollow(specimen.architecture, arguments)
    except REFUSALS as error:
        return FeatureMapInfo(problem=f"{specimen.architecture} cannot be made: {_first_line(error)}")
    blocks = _block_info(model, specimen.size)
    try:
        maps = FeatureMaps(model, specimen.size)
    except NoMaps as error:
        return FeatureMapInfo(problem=str(error), blocks=blocks)
    except REFUSALS as error:
        return FeatureMapInfo(problem=f"{specimen.architecture} gives no maps: {_first_line(error)}", blocks=blocks)
    facts = tuple(MapFacts(stride=s, channels=c) for s, c in zip(maps.strides, maps.channels, strict=True))
    any_size, dilates = _any_size(maps, specimen.size), _dilates(specimen, arguments)
    return FeatureMapInfo(maps=facts, any_size=any_size, dilates=dilates, blocks=blocks)


def _block_info(model: nn.Module, size: int) -> BlockInfo | None:
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
