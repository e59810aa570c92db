"""Architectures other than timm's: a function that returns a module, from a package or a file of the user.

Calling it runs the user's code, so a card contains the digest of the function's file, which the user has to trust
(`backbones.catalog.trusted_code`): a file that changed since is refused, and so is what it imports from outside of
the installed packages. The returned module only needs `forward`; features of a map are averaged over positions.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

from torch import Tensor, nn

from backbones.catalog.card import ArchitectureValue
from backbones.catalog.trusted_code import CodeTrust, check_trust, code_file, code_place, comes_with_plug_in
from backbones.io.errors import WeightsError
from backbones.model.trusted_import import FINDER, load_file


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
    except Exception as error:
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
    except Exception as error:
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
