"""Removal of the names that training wrappers insert into keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from backbones.io.errors import WeightsError

Value = TypeVar("Value")

WRAPPERS = (
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_fpw_module",
    "_ddp_wrapped_module",
)
"""torch.compile, FSDP, activation checkpointing, fairscale's FSDP: the attribute of the wrapped module."""
_WRAPPER = re.compile(rf"(?<![^.])(?:{'|'.join(WRAPPERS)})(?:\.|$)")
_INNER_MODULE = re.compile(r"(?<=\.\d)\.module\.|(?<=\.\d\d)\.module\.")
"""DistributedDataParallel or a checkpoint wrapper around one block: `blocks.3.module.attn`."""


def unwrapped_name(key: str) -> str:
    """Key without the names of wrappers."""
    if "_mod" not in key and ".module." not in key:
        return key
    return _INNER_MODULE.sub(".", _WRAPPER.sub("", key))


def unwrapped(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The same values under keys without wrappers. Raises WeightsError when two keys become equal."""
    names = {key: unwrapped_name(str(key)) for key in tensors}
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise WeightsError(f"without the names of wrappers two keys are both {twice}: save the bare state dict")
    return {names[key]: value for key, value in tensors.items()}
