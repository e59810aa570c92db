"""Creation of architectures without a head, frozen, with the padding of the card: timm's, or a function of the user's.

Calling a function of the user's runs its code, so a card contains the digest of the function's file, which the user has
to trust (`backbones.catalog.trusted_code`): a file that changed since is refused, and so is what it imports from
outside of the installed packages. The returned module only needs `forward`; features of a map are averaged over
positions.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, cast

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from backbones.catalog.card import ArchitectureValue, BackboneCard, Padding, RandomWeights
from backbones.catalog.trusted_code import (
    FINDER,
    CodeTrust,
    check_trust,
    code_file,
    code_place,
    comes_with_plug_in,
    is_code,
    load_file,
)
from backbones.io.errors import WeightsError
from backbones.model.transformers_model import is_transformers, make_transformers

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


def make(name: str, **arguments: Any) -> nn.Module:  # noqa: ANN401 - as in timm
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
"""Methods that fill a tensor, which have no effect on one without memory."""


class _WithoutInitialisation(TorchFunctionMode):
    """Skips the initialisation of tensors without memory, which takes most of the time of creating their network."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - as in torch
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


def hollow(name: str, **arguments: Any) -> nn.Module:  # noqa: ANN401 - as in timm
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


def make_by_code(
    architecture: str, trusted: str | None, arguments: dict[str, ArchitectureValue], *, trust_imports: bool = False
) -> nn.Module:
    """Call the function. `trusted` is the digest of its file, which the user must have trusted; with
    `trust_imports`, the file's imports are added to the user's list.

    Raises WeightsError when the file, or one that it imports, has another digest, or when the code fails.
    """
    check_trust(architecture, trusted)
    if comes_with_plug_in(architecture):
        return _with_timm_calls(_call(architecture, arguments))
    expected = {code_place(architecture).resolve(): trusted or ""}
    with FINDER.loading(CodeTrust(trust_imports, expected)):
        return _with_timm_calls(_call(architecture, arguments))


def _call(architecture: str, arguments: dict[str, ArchitectureValue]) -> nn.Module:
    module = _load(architecture)
    name = architecture.rpartition(":")[2]
    function = cast("Callable[..., object] | None", getattr(module, name, None))
    if function is None:
        raise WeightsError(f"{architecture}: no {name} in {architecture.rpartition(':')[0]}")
    try:
        model = function(**arguments)
    except WeightsError:
        raise
    except Exception as error:  # whatever the user's function raises
        raise WeightsError(f"{architecture} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise WeightsError(f"{architecture} returned a {type(model).__name__}, not a torch module")
    return model


def _load(architecture: str) -> ModuleType:
    path, place = code_file(architecture), architecture.rpartition(":")[0]
    try:
        if path is None:
            return importlib.import_module(place)
        name = f"backbones_usercode_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
        return load_file(name, path, FINDER.trust)
    except WeightsError:
        raise
    except Exception as error:  # whatever the user's module raises
        raise WeightsError(f"{place} cannot be loaded: {type(error).__name__}: {error}") from error


def _with_timm_calls(model: nn.Module) -> nn.Module:
    """Module with the two methods that an encoder calls on a timm model, where it has none of its own."""
    anything = cast("Any", model)
    if not hasattr(model, "forward_features"):
        anything.forward_features = model.forward
        anything.forward_head = _mean_over_positions
    return model


def _mean_over_positions(features: Tensor) -> Tensor:
    """[b, d, h, w] or [b, n, d] to [b, d]; [b, d] is unchanged."""
    return features.flatten(2).mean(2) if features.ndim == 4 else features.mean(1) if features.ndim == 3 else features
