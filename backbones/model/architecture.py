"""Creation of timm architectures without a head, frozen, with the padding of the card."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from typing import Any, cast

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from backbones.catalog.card import ArchitectureValue, BackboneCard, Padding, RandomWeights
from backbones.catalog.trusted_code import is_code
from backbones.io.errors import WeightsError
from backbones.model.transformers_model import is_transformers, make_transformers
from backbones.model.user_code import make_by_code

ANY_SIZE: Mapping[str, bool] = {"dynamic_img_size": True, "strict_img_size": False}
"""Arguments by which timm's classes accept images of any size: plain transformers, and Swin."""


def create(card: BackboneCard) -> nn.Module:
    """The card's architecture with its initial weights, no classifier, in training mode as created by timm.

    Transformers accept any input size that is a multiple of their patch size. Random weights depend on the card's seed
    only. Raises WeightsError when timm has no such architecture or rejects its arguments.
    """
    seed = card.weights.seed if isinstance(card.weights, RandomWeights) else 0
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if is_transformers(card.architecture):
                return make_transformers(card.architecture_arguments.get("config"))
            if is_code(card.architecture):
                return make_by_code(card.architecture, card.code_sha256, card.architecture_arguments)
            return make(card.architecture, **arguments_of(card.architecture, card.architecture_arguments))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in card.architecture_arguments.items())
        raise WeightsError(f"{card.name}: timm cannot make {card.architecture}({given}): {error}") from error


def arguments_of(architecture: str, given: Mapping[str, ArchitectureValue]) -> dict[str, ArchitectureValue]:
    """The given arguments, and those that let a transformer accept any input size, if its class supports them."""
    model = hollow(architecture, **given)
    known = inspect.signature(type(model).__init__).parameters
    return {**given, **{name: value for name, value in ANY_SIZE.items() if name in known}}


def make(name: str, **arguments: Any) -> nn.Module:  # noqa: ANN401 - as timm has it
    """`timm.create_model` without a classifier, unless `num_classes` is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return timm.create_model(name, **{"num_classes": 0, "pretrained": False, **arguments})


INITIALISERS = frozenset(
    {
        "uniform_",
        "normal_",
        "erfinv_",
        "mul_",
        "add_",
        "clamp_",
        "fill_",
        "zero_",
        "copy_",
        "bernoulli_",
        "exponential_",
    }
)
"""Methods that fill a tensor; without memory there is nothing to fill."""


class _WithoutInitialisation(TorchFunctionMode):
    """Skips the initialisation of tensors without memory, which takes most of the time of creating their network."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - as torch has it
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Return the tensor itself for a method that would fill it."""
        given = kwargs or {}
        if getattr(func, "__name__", "") in INITIALISERS:
            target = args[0] if args else given.get("tensor")
            if isinstance(target, Tensor) and target.is_meta:
                return target
        return func(*args, **given)


def hollow(name: str, **arguments: Any) -> nn.Module:  # noqa: ANN401 - as timm has it
    """`make` without memory for the weights: names, shapes and settings only."""
    with torch.device("meta"), _WithoutInitialisation():
        return make(name, **arguments)


def freeze(model: nn.Module) -> nn.Module:
    """Switch to evaluation mode, including batch norm statistics, and disable gradients of all parameters."""
    return model.eval().requires_grad_(requires_grad=False)


def pad(model: nn.Module, padding: Padding) -> nn.Module:
    """Give strided convolutions and max-pools TensorFlow's SAME padding in place, where the card requires it.

    SAME pads (0, 1) where torchvision pads (1, 1), so a stride-2 layer is shifted by one pixel down and right.
    """
    if padding == "torchvision":
        return model
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, MaxPool2dSame(child.kernel_size, child.stride, dilation=child.dilation))
            elif (
                padding == "same" and type(child) is nn.Conv2d and max(child.stride) > 1 and max(child.kernel_size) > 1
            ):
                setattr(parent, name, _same_convolution(child))
    return model


def _same_convolution(convolution: nn.Conv2d) -> nn.Module:
    same = Conv2dSame(
        convolution.in_channels,
        convolution.out_channels,
        cast("tuple[int, int]", convolution.kernel_size),
        cast("tuple[int, int]", convolution.stride),
        dilation=cast("tuple[int, int]", convolution.dilation),
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    same.load_state_dict(convolution.state_dict())
    return same
