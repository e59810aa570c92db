"""Batch norms of a frozen network become part of the convolutions before them: the same function, fewer passes.

A batch norm in evaluation mode scales and shifts every channel by constants; so does the convolution before it. Which
convolution a batch norm follows is guessed from the order of a module's children, and the guess is checked by values: a
network that does something else with its convolutions stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-4
"""Of the features' norm. Rounding moves them by about 1e-6; a wrong pair by more than 1e-1."""

Pair = tuple[nn.Module, str, str]
"""A module, and its children that are convolution and batch norm."""


def folded(model: nn.Module, features: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of the frozen `model` with folded batch norms, or `model` itself where it has none that can be folded.

    The copy shares every tensor that stays the same. `features` says what is to stay the same: what a network gives
    for some images.
    """
    made = twin(model) if any(_pairs(model)) else None
    if made is None:
        return model
    for parent, convolution, norm in list(_pairs(made)):
        _fold(parent, convolution, norm)
    return made if agree(features, model, made) else model


def twin(model: nn.Module) -> nn.Module | None:
    """A copy whose modules may be replaced; it shares every tensor. None where code of others cannot be copied."""
    tensors = [*model.parameters(), *model.buffers()]
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    except (AttributeError, TypeError, ValueError, RuntimeError, copy.Error):
        return None


def agree(features: Callable[[nn.Module], Tensor], model: nn.Module, made: nn.Module) -> bool:
    """Whether both networks give the same but for rounding."""
    wanted = features(model)
    try:
        found = features(made)
    except (AttributeError, TypeError, RuntimeError):  # its code asks a layer for what it no longer has
        return False
    return found.shape == wanted.shape and bool((found - wanted).norm() <= TOLERANCE * wanted.norm())


def _pairs(model: nn.Module) -> Iterator[Pair]:
    for parent in model.modules():
        for (first, one), (second, other) in pairwise(parent.named_children()):
            if _foldable(one, other):
                yield parent, first, second


def _foldable(one: nn.Module, other: nn.Module) -> bool:
    """Exact types only: subclasses may do anything to their weights."""
    if type(one) not in (nn.Conv2d, Conv2dSame) or type(other) not in (nn.BatchNorm2d, BatchNormAct2d):
        return False
    convolution, norm = cast("nn.Conv2d", one), cast("nn.BatchNorm2d", other)
    fits = convolution.out_channels == norm.num_features
    return fits and not norm.training and norm.running_mean is not None


def _fold(parent: nn.Module, first: str, second: str) -> None:
    """Put the merged convolution and what is left of the batch norm, an activation or nothing, into their places."""
    convolution, norm = cast("nn.Conv2d", getattr(parent, first)), cast("nn.BatchNorm2d", getattr(parent, second))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    setattr(parent, second, getattr(norm, "act", nn.Identity()))
