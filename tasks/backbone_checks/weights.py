"""Checks of a card against its weights: detection of untrained weights, and input normalisation.

The first batch norm stores mean and deviation of the first layer's output over all training images. With the right
normalisation other natural images have nearly the same statistics; with another one they do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from backbones.catalog.card import BackboneCard, PreprocessingSpec, RandomWeights, preprocessing_for
from backbones.catalog.catalog import NORMALISATIONS
from backbones.model.architecture import create, freeze, pad
from backbones.model.encoder import Encoder
from backbones.model.preprocessing import normalise
from tasks.backbone_checks.finding import Finding
from tasks.backbone_checks.images import photographs, scenes

TWIN_SEED = 20_260_101
LARGE = 256
"""Minimum number of elements from which a tensor's deviation is estimated precisely enough."""
SAME_SPREAD = 0.05
"""Maximum median over layers of |log ratio of deviations| that counts as untrained; training changes it far more."""
SAME_CONSTANT = 1e-3
DECLARED = ("none", "random")
"""Methods of cards that declare untrained weights."""
COUNT = 48
"""Number of images of each kind; only the layers up to the first batch norm are run."""
WORSE = 1.5
"""The card's normalisation is wrong if its distance exceeds this multiple of the smallest one and"""
MARGIN = 0.3
"""is larger by this many deviations."""
EPSILON = 1e-5


def twin(card: BackboneCard) -> nn.Module:
    """The card's architecture, newly initialised with a seed that no card has."""
    fresh = card.model_copy(update={"weights": RandomWeights(seed=TWIN_SEED)})
    return freeze(pad(create(fresh), card.padding))


def declared_untrained(card: BackboneCard) -> bool:
    """Whether the card declares untrained weights."""
    return isinstance(card.weights, RandomWeights) or card.facts.method in DECLARED


def check_initialisation(card: BackboneCard, model: nn.Module, fresh: nn.Module) -> Finding:
    """Compare the deviation of every tensor, and the initial constants of biases and norms.

    Other libraries initialise with other deviations and other norms at zero than timm; norms that all have some
    library's initial values were not trained either.
    """
    given, begun = dict(model.named_parameters()), dict(fresh.named_parameters())
    spreads = [_spread(given[key], begun[key]) for key in given if given[key].numel() >= LARGE and given[key].ndim > 1]
    constants = [_constant(given[key], begun[key]) for key in given if given[key].ndim == 1]
    distance = float(np.median(spreads)) if spreads else 0.0
    unchanged = float(np.mean(constants)) if constants else 1.0
    values = {"spread": distance, "unchanged_share": unchanged}
    if not norms_as_made(model) and (distance > SAME_SPREAD or unchanged < 1.0):
        words = "differs from a new initialisation in every respect" if distance > SAME_SPREAD else "norms were trained"
        return Finding(name="trained", verdict="good", words=words, values=values)
    if declared_untrained(card):
        return Finding(name="trained", verdict="good", words="not trained, as declared in its card", values=values)
    return Finding(
        name="trained",
        verdict="bad",
        words=(
            "indistinguishable from a new initialisation: these are random weights. Was it saved before training, "
            "or from another network? Declare a random baseline by method = 'none' in its card"
        ),
        values=values,
    )


def norms_as_made(model: nn.Module) -> bool:
    """Whether all norms have their initial scales and shifts (0 or 1) and have processed no image.

    False for a network without norms, or with norms that have neither scale nor shift.
    """
    norms = [module for module in model.modules() if "norm" in type(module).__name__.lower()]
    numbers = [one for norm in norms for one in norm.parameters(recurse=False)]
    constant = all(bool((one == 0).all() or (one == 1).all()) for one in numbers)
    return bool(numbers) and constant and not any(map(has_seen_images, norms))


def has_seen_images(norm: nn.Module) -> bool:
    """Whether a batch norm's statistics were ever updated; False for all other norms."""
    mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    return mean is not None and variance is not None and bool((mean != 0).any() or (variance != 1).any())


def _spread(given: Tensor, begun: Tensor) -> float:
    first, second = float(given.detach().float().std()), float(begun.detach().float().std())
    if first == 0 or second == 0:
        return 0.0 if first == second else 1.0
    return abs(float(np.log(first / second)))


def _constant(given: Tensor, begun: Tensor) -> bool:
    """Whether a vector has its initial constant value; False for one that is initialised randomly."""
    start = begun.detach().float()
    if float(start.std(correction=0)) > SAME_CONSTANT:
        return True
    return bool(torch.allclose(given.detach().float(), start, atol=SAME_CONSTANT))


@dataclass(frozen=True)
class Named:
    """A normalisation and its name."""

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _Seen(Exception):  # noqa: N818 - not an error: the rest of the network need not be computed
    """Exception that carries the input of the first batch norm."""

    def __init__(self, values: Tensor) -> None:
        self.values = values


def check_normalisation(encoder: Encoder) -> Finding:
    """Compare the card's normalisation with the three usual ones on photographs and rendered scenes."""
    batch_norms = (module for module in encoder.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    norm = next((module for module in batch_norms if module.running_mean is not None), None)
    spec = preprocessing_for(encoder.card, "paper")
    if norm is None or not has_seen_images(norm):
        words = f"no batch norm stores image statistics, so {candidates(spec)[0].name} cannot be checked by statistics"
        return Finding(name="normalisation", verdict="note", words=words)
    kinds = (photographs(COUNT), scenes(COUNT))
    distances = {
        named.name: sum(_distance(encoder, norm, images, spec, named) for images in kinds) for named in candidates(spec)
    }
    return judge(next(iter(distances)), distances)


def judge(own: str, distances: Mapping[str, float]) -> Finding:
    """Finding from the distance (in deviations) of each normalisation; `own` is the card's."""
    best = min(distances, key=lambda name: distances[name])
    shown = ", ".join(f"{name} {value:.2f}" for name, value in distances.items())
    values = dict(distances)
    if distances[own] > WORSE * distances[best] and distances[own] > distances[best] + MARGIN:
        words = (
            f"the card has {own}, but the first batch norm was trained on images normalised like {best} (distance "
            f"from its statistics: {shown}): add the backbone again with --norm {best}, or correct [input] in its card"
        )
        return Finding(name="normalisation", verdict="bad", words=words, values=values)
    words = f"{own} fits the first batch norm's statistics (distance: {shown})"
    return Finding(name="normalisation", verdict="good", words=words, values=values)


def candidates(spec: PreprocessingSpec) -> Sequence[Named]:
    """The card's normalisation first, then the usual ones that differ from it."""
    usual = [Named(name, *numbers) for name, numbers in NORMALISATIONS.items()]
    own = next((named for named in usual if (named.mean, named.std) == (spec.mean, spec.std)), None)
    first = own or Named("its own", spec.mean, spec.std)
    return [first, *(named for named in usual if named is not own)]


def _distance(
    encoder: Encoder,
    norm: nn.modules.batchnorm._BatchNorm,
    images: Sequence[Image.Image],
    spec: PreprocessingSpec,
    named: Named,
) -> float:
    """Distance of the norm's input from its statistics: shift in deviations and log ratio of deviations, combined."""
    batch = torch.stack([encoder.prepare(image, spec) for image in images]).to(encoder.device)
    seen = _input_of(encoder.model, norm, normalise(batch, replace(spec, mean=named.mean, std=named.std)))
    kept = [dimension for dimension in range(seen.ndim) if dimension != 1]
    mean, variance = seen.mean(kept), seen.var(kept, correction=0)
    known_mean, known_variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    shift = ((mean - known_mean).abs() / (known_variance + EPSILON).sqrt()).median()
    stretch = (torch.log((variance + EPSILON) / (known_variance + EPSILON)) / 2).median()
    return float(torch.hypot(shift, stretch))


@torch.inference_mode()
def _input_of(model: nn.Module, norm: nn.Module, pixels: Tensor) -> Tensor:
    def stop(_module: nn.Module, given: tuple[Any, ...]) -> None:
        raise _Seen(given[0].float())

    handle = norm.register_forward_pre_hook(stop)
    try:
        cast("Any", model).forward_features(pixels)
    except _Seen as seen:
        return seen.values
    finally:
        handle.remove()
    raise AssertionError("the first batch norm is not part of the forward pass")
