"""Loading of a card's weights into an architecture: read as data, mapped by the card's rules, complete or refused.

timm's own filter of an architecture converts its published files; dropped tensors are an error.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from backbones.catalog.card import ArchitectureValue, BackboneCard, KeyMapping, RandomWeights, TimmWeights
from backbones.catalog.weights_folder import WeightsFolder
from backbones.checkpoints.haiku_pickle import read_haiku_pickle
from backbones.checkpoints.key_mapping import Shape, check, mismatch, select, shapes, without
from backbones.checkpoints.layouts import convert
from backbones.checkpoints.read import read_checkpoint, safe_globals
from backbones.checkpoints.resnet_conversions import from_byol, from_simclr, wanted_from_simclr
from backbones.checkpoints.tensorflow_bundle import read_bundle
from backbones.cpu.optimise import pooled_by_channels
from backbones.io.errors import WeightsError
from backbones.model.architecture import arguments_of, create, freeze, make, pad
from backbones.model.transformers_model import filled, is_transformers

FILTERS = ("checkpoint_filter_fn", "_filter_fn")
_FAILURES = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""Exceptions of a filter for tensors of another layout."""


def load_model(card: BackboneCard, path: Path | None) -> nn.Module:
    """The card's architecture with the weights of the file, frozen, in evaluation mode, on the CPU.

    `path` is None for random weights only. Raises WeightsError for a file that cannot be read, and KeyMismatch (a
    WeightsError) unless it contains exactly the tensors of the architecture.
    """
    model = create(card)
    if not isinstance(card.weights, RandomWeights):
        if path is None:
            raise WeightsError(f"{card.name}: no file for weights of kind {card.weights.kind}")
        model = _filled(model, card, path)
    return freeze(pooled_by_channels(pad(model, card.padding)))


def read_tensors(keys: KeyMapping, path: Path) -> tuple[dict[str, Tensor], Mapping[str, object]]:
    """Tensors of the file under the architecture's names, and the whole content for messages. Raises WeightsError."""
    content: Mapping[str, object]
    if keys.conversion == "byol-haiku":
        tensors = from_byol(content := read_haiku_pickle(path))
    elif keys.conversion == "simclr-tensorflow":
        tensors = from_simclr(variables := read_bundle(path, wanted_from_simclr))
        content = dict(variables)
    else:
        tensors = select(content := read_checkpoint(path), keys)
    return without(convert(keys.conversion, tensors), keys.drop), content


def expected_shapes(model: nn.Module) -> dict[str, Shape]:
    """Shape of every tensor of the model, by name."""
    return shapes(model.state_dict())


def _filled(model: nn.Module, card: BackboneCard, path: Path) -> nn.Module:
    try:
        tensors, content = read_tensors(card.keys, path)
    except WeightsError as error:
        raise type(error)(f"{card.name}: {error}") from error
    if is_transformers(card.architecture):
        return _by_transformers(card, path, content)
    expected = expected_shapes(model)
    if card.keys.conversion == "timm":
        tensors = without(filtered(model, tensors) or tensors, card.keys.drop)
    report = check(expected, shapes(tensors))
    if report.exact:
        # counters of batch norms may be missing in a checkpoint: they keep their values
        counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
        model.load_state_dict({**counters, **tensors}, strict=True)
        return model
    if isinstance(card.weights, TimmWeights):
        return _by_timm(card, path)
    raise mismatch(f"{card.name}: {path} does not fit {card.architecture}", report, content, expected, card.keys)


def _by_transformers(card: BackboneCard, path: Path, content: Mapping[str, object]) -> nn.Module:
    """Load under the file's own names, which the library renames itself."""
    own = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    tensors = without(own, card.keys.drop)
    model, unused = filled(card.architecture_arguments.get("config"), tensors)
    if unused:
        raise WeightsError(f"{card.name}: {path} has {len(unused)} tensors that {card.architecture} lacks: {unused[0]}")
    return model


def _by_timm(card: BackboneCard, path: Path) -> nn.Module:
    """Load a file in a layout that only timm's own loader of the family supports, e.g. the original I-JEPA files.

    It is loaded strictly into the whole model of the tag; the classifier is removed afterwards.
    """
    assert isinstance(card.weights, TimmWeights)
    overlay = {"file": str(path), "custom_load": path.suffix == ".npz"}
    published = get_pretrained_cfg(card.weights.tag, allow_unregistered=False)
    try:
        with safe_globals():
            model = make(
                card.weights.tag,
                pretrained=True,
                pretrained_cfg_overlay=overlay,
                num_classes=published.num_classes if published is not None else 0,
                **arguments_of(card.architecture, card.architecture_arguments),
            )
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise WeightsError(f"{card.name}: timm cannot load {path} into {card.architecture}: {error}") from error
    cast("Any", model).reset_classifier(0)
    return model


@dataclass(frozen=True)
class TrainableBackbone:
    """A card and its verified weights, from which any number of equal models can be created, one after the other."""

    card: BackboneCard
    weights: WeightsFolder
    digest: str

    @classmethod
    def verified(cls, card: BackboneCard, weights: WeightsFolder) -> TrainableBackbone:
        """Read the whole file once and compare its digest. Raises WeightsError when it is missing or damaged."""
        return cls(card, weights, cast("str", weights.verified(card).digest))

    def fresh(self, **arguments: ArchitectureValue) -> nn.Module:
        """A new model on the CPU with the card's weights, all of them trainable, in training mode.

        `arguments` are added to the architecture's, e.g. `output_stride=8`; they must not change any tensor's
        shape, because loading is strict. Raises WeightsError.
        """
        card = self.card.model_copy(
            update={"architecture_arguments": {**self.card.architecture_arguments, **arguments}}
        )
        return load_model(card, self.weights.state(self.card).path).train().requires_grad_(requires_grad=True)


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
