"""Faster layers for the CPU: batch norms of a frozen network folded into the preceding convolutions, packed linear
layers, and max-pooling by channels.

A batch norm in evaluation mode scales and shifts every channel by constants, and so can the preceding convolution.
Pairs are inferred from the order of a module's children and verified by values: a network that uses its convolutions
otherwise is left unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from timm.layers.activations import GELU, GELUTanh
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from backbones.cpu.matmul import MOST_PACKED, ONEDNN, linear_packed, pack, takes

TOLERANCE = 1e-4
"""Fraction of the features' norm. Rounding changes them by about 1e-6; a wrong pair by more than 1e-1."""

Pair = tuple[nn.Module, str, str]
"""A module, and the names of a convolution and a batch norm among its children."""


def folded(model: nn.Module, features: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of the frozen `model` with folded batch norms, or `model` itself where none can be folded.

    The copy shares every unchanged tensor. `features` returns the values that must stay the same: outputs for some
    images.
    """
    made = twin(model) if any(_pairs(model)) else None
    if made is None:
        return model
    for parent, convolution, norm in list(_pairs(made)):
        _fold(parent, convolution, norm)
    return made if agree(features, model, made) else model


def twin(model: nn.Module) -> nn.Module | None:
    """A copy whose modules can be replaced; it shares every tensor. None where foreign code cannot be copied."""
    tensors = [*model.parameters(), *model.buffers()]
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    except (AttributeError, TypeError, ValueError, RuntimeError, copy.Error):
        return None


def agree(features: Callable[[nn.Module], Tensor], model: nn.Module, made: nn.Module) -> bool:
    """Whether both networks have the same outputs up to rounding."""
    wanted = features(model)
    try:
        found = features(made)
    except (AttributeError, TypeError, RuntimeError):  # its code uses an attribute that the new layer lacks
        return False
    return found.shape == wanted.shape and bool((found - wanted).norm() <= TOLERANCE * wanted.norm())


def _pairs(model: nn.Module) -> Iterator[Pair]:
    for parent in model.modules():
        for (first, one), (second, other) in pairwise(parent.named_children()):
            if _foldable(one, other):
                yield parent, first, second


def _foldable(one: nn.Module, other: nn.Module) -> bool:
    """Exact types only: subclasses may modify their weights."""
    if type(one) not in (nn.Conv2d, Conv2dSame) or type(other) not in (nn.BatchNorm2d, BatchNormAct2d):
        return False
    convolution, norm = cast("nn.Conv2d", one), cast("nn.BatchNorm2d", other)
    fits = convolution.out_channels == norm.num_features
    return fits and not norm.training and norm.running_mean is not None


def _fold(parent: nn.Module, first: str, second: str) -> None:
    """Replace the pair by the merged convolution and the rest of the batch norm, an activation or nothing."""
    convolution, norm = cast("nn.Conv2d", getattr(parent, first)), cast("nn.BatchNorm2d", getattr(parent, second))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    setattr(parent, second, getattr(norm, "act", nn.Identity()))


Site = tuple[nn.Module, str, str | None]
"""A module, and the names of a linear layer and, possibly, a subsequent GELU among its children."""


class LinearGELU(nn.Linear):
    """A frozen linear layer with the weights of `like`, and a GELU unless `approximate` is None."""

    def __init__(self, like: nn.Linear, approximate: str | None, *, laid_out: bool) -> None:
        super().__init__(like.in_features, like.out_features, bias=like.bias is not None, device="meta")
        self.weight, self.bias = like.weight, like.bias
        self.approximate = approximate
        laid = pack(like.weight) if laid_out else None
        self._factor = like.weight if laid is None else laid

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """[..., in_features] to [..., out_features]."""
        if takes(input, self.weight, self.bias):
            return linear_packed(input, self._factor, self.bias, self.approximate)
        product = F.linear(input, self.weight, self.bias)
        return product if self.approximate is None else F.gelu(product, approximate=self.approximate)


def packed(model: nn.Module, features: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of the frozen `model` with packed linear layers, or `model` itself where it has none or its outputs
    differ.

    The copy shares every tensor. `features` returns the values that must stay the same: outputs for some images.
    """
    if not PACKS or not any(_sites(model)):
        return model
    laid_out = sum(getattr(parent, layer).weight.nbytes for parent, layer, _ in _sites(model)) <= MOST_PACKED
    for with_gelu in (True, False):
        made = _packed(model, with_gelu, laid_out)
        if made is not None and agree(features, model, made):
            return made
    return model


def _packed(model: nn.Module, with_gelu: bool, laid_out: bool) -> nn.Module | None:
    made = twin(model)
    for parent, layer, activation in list(_sites(made)) if made is not None else ():
        approximate = None
        if with_gelu and activation is not None:
            approximate = _approximate(getattr(parent, activation))
            setattr(parent, activation, nn.Identity())
        setattr(parent, layer, LinearGELU(getattr(parent, layer), approximate, laid_out=laid_out))
    return made


def _sites(model: nn.Module) -> Iterator[Site]:
    """Exact types only: subclasses may modify their weights, hooks their inputs and outputs."""
    for parent in model.modules():
        children = [*parent.named_children(), ("", nn.Identity())]
        for (first, one), (second, other) in pairwise(children):
            if type(one) is nn.Linear and not _hooked(one):
                yield parent, first, second if _approximate(other) is not None and not _hooked(other) else None


def _approximate(activation: nn.Module) -> str | None:
    """torch's name of the GELU's approximation; None for other activations."""
    if type(activation) is nn.GELU:
        return activation.approximate
    return {GELU: "none", GELUTanh: "tanh"}.get(type(activation))


MOST_CHANNELS_FIRST = 15
"""Number of channels up to which max-pooling in their own layout is faster."""


class MaxPool2dByChannels(nn.MaxPool2d):
    """Max-pooling in the layout with channels last, in which PyTorch's CPU kernel takes a fifth of the time. Outputs
    and gradients are equal bit by bit, and laid out as without it.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """[n, c, h, w] to [n, c, h', w']."""
        plain = input.ndim == 4 and input.is_contiguous() and not input.is_cuda and not self.return_indices
        if not plain or input.shape[1] <= MOST_CHANNELS_FIRST:
            return cast("Tensor", super().forward(input))
        last = input.contiguous(memory_format=torch.channels_last)
        return cast("Tensor", super().forward(last)).contiguous()


def pooled_by_channels(model: nn.Module) -> nn.Module:
    """The `model` with `MaxPool2dByChannels` instead of its max-pools, in place; subclasses are left as they are."""
    for module in model.modules():
        if type(module) is nn.MaxPool2d:
            module.__class__ = MaxPool2dByChannels
    return model


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _packs() -> bool:
    """Whether this build of PyTorch exposes oneDNN's products with a GELU, and they are correct."""
    if not ONEDNN:
        return False
    layer, rows = nn.Linear(3, 4).requires_grad_(False), torch.arange(6.0).view(2, 3)
    try:
        found = LinearGELU(layer, "none", laid_out=True)(rows)
    except RuntimeError:
        return False
    return bool(torch.allclose(found, F.gelu(layer(rows)), atol=1e-5))


PACKS = _packs()
