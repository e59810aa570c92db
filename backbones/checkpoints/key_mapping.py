"""Explicit mapping of a checkpoint's keys to an architecture's, and the check that all of them match.

Nothing is guessed while loading. Only after a failure are the keys compared, so that the message can name a matching
prefix.

Also removes the names that training wrappers insert into keys.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from backbones.catalog.card import KeyMapping
from backbones.io.errors import WeightsError

Tensors = Mapping[str, Tensor]
Rule = tuple[str, str]
"""Regular expression and replacement, as for `re.sub`."""
Shape = tuple[int, ...]
OPTIONAL = "num_batches_tracked"
"""A counter that only training uses; old checkpoints and conversions lack it."""
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


def renamed(tensors: Tensors, rules: Iterable[Rule]) -> dict[str, Tensor]:
    """Apply every rule to every key, in order."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = key
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        names[name] = value
    return names


def fused(tensors: Tensors, parts: Sequence[str], whole: str) -> dict[str, Tensor]:
    """`X.{parts[0]}.weight`, ... become `X.{whole}.weight`, concatenated; a single missing bias becomes zero.

    A layer without any bias gets none. Layers that lack a weight are left unchanged.
    """
    result = dict(tensors)
    for key in tensors:
        if not key.endswith(f"{parts[0]}.weight"):
            continue
        start = key.removesuffix(f"{parts[0]}.weight")
        weights = [result.get(f"{start}{part}.weight") for part in parts]
        if any(weight is None for weight in weights):
            continue
        present = [weight for weight in weights if weight is not None]
        result[f"{start}{whole}.weight"] = torch.cat(present)
        biases = [result.pop(f"{start}{part}.bias", None) for part in parts]
        if any(bias is not None for bias in biases):
            filled = [
                weight.new_zeros(len(weight)) if bias is None else bias
                for bias, weight in zip(biases, present, strict=True)
            ]
            result[f"{start}{whole}.bias"] = torch.cat(filled)
        for part in parts:
            del result[f"{start}{part}.weight"]
    return result


def without_chunks(tensors: Tensors) -> dict[str, Tensor]:
    """`blocks.2.7.attn` becomes `blocks.7.attn`: DINOv2 is trained with its blocks in chunks, numbered across all
    chunks.
    """
    return renamed(tensors, [(r"(^|\.)blocks\.\d+\.(\d+)\.", r"\1blocks.\2.")])


def has(tensors: Iterable[str], pattern: str) -> bool:
    """Whether a key begins with the pattern."""
    compiled = re.compile(pattern)
    return any(compiled.match(key) for key in tensors)


class KeyMismatch(WeightsError):  # noqa: N818 - a domain word, raised as such
    """The checkpoint does not contain exactly the architecture's tensors; the message lists differences and a
    matching prefix.
    """


@dataclass(frozen=True)
class KeyReport:
    """Comparison of the given keys with the expected ones. `wrong_shape`: key, expected shape, given shape."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[tuple[str, Shape, Shape], ...]

    @property
    def exact(self) -> bool:
        """Whether all tensors are present with their shapes, and no others."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def sentence(self, first: int = 3) -> str:
        """Description of the differences, with the first few of each kind."""
        shapes = [f"{key} is {given} and should be {expected}" for key, expected, given in self.wrong_shape]
        kinds = (
            ("missing", list(self.missing)),
            ("not expected", list(self.unexpected)),
            ("of another shape", shapes),
        )
        return "; ".join(f"{len(items)} {kind}: {_first(items, first)}" for kind, items in kinds if items)


@dataclass(frozen=True)
class Fit:
    """A place in a checkpoint whose keys end like the architecture's."""

    container: str | None
    prefix: str
    count: int


def check(expected: Mapping[str, Shape], given: Mapping[str, Shape]) -> KeyReport:
    """Compare names and shapes; only `num_batches_tracked` may be missing."""
    shared = expected.keys() & given.keys()
    return KeyReport(
        matched=tuple(key for key in expected if key in shared and expected[key] == given[key]),
        missing=tuple(key for key in expected if key not in shared and not key.endswith(OPTIONAL)),
        unexpected=tuple(key for key in given if key not in shared),
        wrong_shape=tuple(
            (key, expected[key], given[key]) for key in expected if key in shared and expected[key] != given[key]
        ),
    )


def select(checkpoint: Mapping[str, object], keys: KeyMapping) -> dict[str, Tensor]:
    """Tensors below the container whose key starts with the prefix, without it and without names of wrappers.

    `drop` is applied later by `without`. Raises KeyMismatch when the container is missing.
    """
    inside = _unwrap(checkpoint, keys.container)
    prefix = unwrapped_name(keys.prefix)
    tensors = unwrapped({str(key): value for key, value in inside.items() if isinstance(value, Tensor)})
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def without(tensors: Mapping[str, Tensor], drop: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors without those that the card drops intentionally: heads and projectors."""
    return {key: value for key, value in tensors.items() if not key.startswith(drop)} if drop else dict(tensors)


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shapes by key."""
    return {key: tuple(value.shape) for key, value in tensors.items()}


def best_fit(checkpoint: Mapping[Any, object], expected: Mapping[str, Shape]) -> Fit | None:
    """Container and prefix that contain most of the expected tensors, by name and shape; None if none does."""
    votes: Counter[tuple[str | None, str]] = Counter()
    by_ending: dict[str, list[str]] = {}
    for key in expected:
        by_ending.setdefault(_ending(key), []).append(key)
    for container, key, tensor in tensors_of(checkpoint):
        for name in by_ending.get(_ending(key), ()):
            start = key.removesuffix(name)
            if key.endswith(name) and (not start or start.endswith(".")) and tuple(tensor.shape) == expected[name]:
                votes[container, start] += 1
    if not votes:
        return None
    (container, prefix), count = max(votes.items(), key=lambda item: (item[1], -len(item[0][1])))
    return Fit(container, prefix, count)


def mismatch(
    place: str, report: KeyReport, checkpoint: Mapping[str, object], expected: Mapping[str, Shape], keys: KeyMapping
) -> KeyMismatch:
    """Error for a report that is not exact. `place` names checkpoint and architecture."""
    fit = best_fit(checkpoint, expected)
    if fit is None:
        advice = "No key of the file ends like one of the architecture's: is it the right architecture?"
    else:
        advice = f"container={fit.container!r} prefix={fit.prefix!r} "
        if (fit.container, fit.prefix) == (keys.container, keys.prefix):
            advice += (
                f"fits best ({fit.count} of {len(expected)}): is it the right architecture, and are all heads dropped?"
            )
        else:
            advice += f"would fit {fit.count} of {len(expected)}"
    return KeyMismatch(f"{place}: {report.sentence()}. {advice}")


def _unwrap(checkpoint: Mapping[str, object], container: str | None) -> Mapping[str, object]:
    """Dictionary at a dotted path; a key that itself contains dots is tried first."""
    if container is None:
        return checkpoint
    if isinstance(found := checkpoint.get(container), Mapping):
        return found
    first, _, rest = container.partition(".")
    inside = checkpoint.get(first)
    if not rest or not isinstance(inside, Mapping):
        dictionaries = [str(key) for key, value in checkpoint.items() if isinstance(value, Mapping)]
        there = f"available dictionaries: {_first(dictionaries, 6)}" if dictionaries else "it contains no dictionary"
        raise KeyMismatch(f"the checkpoint has no container {container!r}; {there}")
    return _unwrap(inside, rest)


def tensors_of(value: Mapping[Any, object], container: str | None = None) -> Iterator[tuple[str | None, str, Tensor]]:
    """Every tensor with its container, at any depth."""
    for key, item in value.items():
        if isinstance(item, Tensor):
            yield container, str(key), item
        elif isinstance(item, Mapping):
            yield from tensors_of(item, str(key) if container is None else f"{container}.{key}")


def _ending(key: str) -> str:
    return ".".join(key.rsplit(".", 2)[-2:])


def _first(items: list[str], count: int) -> str:
    return ", ".join(items[:count]) + (", ..." if len(items) > count else "")


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
