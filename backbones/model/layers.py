"""Pooled outputs of a network's blocks, recorded by hooks during the forward pass of its usual features.

One pass yields both, and the usual features are bit-identical. Blocks are those of timm's `feature_info`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from backbones.catalog.layer_columns import LAYER_POOLINGS, BlockInfo, LayerColumn, LayerPooling
from backbones.model.feature_maps import FINEST_STRIDE


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
    normed = {
        column.block: _final_norm(model, outputs[names[column.block - 1]], plain=info.plain) for column in columns
    }
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


def _final_norm(model: nn.Module, output: Tensor, *, plain: bool) -> Tensor:
    norm = getattr(model, "norm", None)
    return cast("Tensor", norm(output)) if plain and isinstance(norm, nn.Module) else output


def _pooled(model: nn.Module, output: Tensor, pooling: LayerPooling) -> Tensor:
    """[b, width] from tokens [b, n, d] or maps [b, d, h, w] ([b, h, w, d] where the model uses that layout)."""
    if output.ndim == 4:
        last = getattr(model, "output_fmt", None) == "NHWC"
        return output.mean(dim=(1, 2) if last else (2, 3))
    prefix, has_class = _prefix(model)
    part = {"cls": output[:, :1], "mean": output[:, prefix:], "registers": output[:, has_class:prefix]}[pooling]
    norm = cast("nn.Module", getattr(model, "fc_norm", None) or nn.Identity())
    return cast("Tensor", norm(part.mean(dim=1)))
