"""timm's own conversion of published files: the filter of an architecture's module, checked for dropped tensors."""

from __future__ import annotations

import contextlib
import io
import math
import sys
from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor, nn

FILTERS = ("checkpoint_filter_fn", "_filter_fn")
_FAILURES = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""Exceptions of a filter for tensors of another layout."""


def filtered(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Tensors renamed and reshaped by the filter of the model's module; None where there is none or it fails.

    A filter that drops or resamples anything is not used: the number of values must not change.
    """
    function = _function(model)
    if function is None:
        return None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = function(dict(tensors), model)
    except _FAILURES:
        return None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        return None
    return dict(found) if _numbers(found) == _numbers(tensors) else None


def _function(model: nn.Module) -> Callable[[dict[str, Tensor], nn.Module], object] | None:
    module = sys.modules[type(model).__module__]
    found = (getattr(module, name, None) for name in FILTERS)
    function = next((function for function in found if callable(function)), None)
    if function is None:
        return None
    if function.__code__.co_argcount == 1:
        alone = cast("Callable[[dict[str, Tensor]], object]", function)
        return lambda tensors, _model: alone(tensors)
    return cast("Callable[[dict[str, Tensor], nn.Module], object]", function)


def _numbers(tensors: Mapping[str, Tensor]) -> int:
    return sum(math.prod(value.shape) for value in tensors.values())
