"""Detection of untrained weights, by comparison with a newly initialised network of the same architecture."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from backbones.catalog.card import BackboneCard, RandomWeights
from backbones.model.architecture import create, freeze, pad
from tasks.backbone_checks.finding import Finding

TWIN_SEED = 20_260_101
LARGE = 256
"""Minimum number of elements from which a tensor's deviation is estimated precisely enough."""
SAME_SPREAD = 0.05
"""Maximum median over layers of |log ratio of deviations| that counts as untrained; training changes it far more."""
SAME_CONSTANT = 1e-3
DECLARED = ("none", "random")
"""Methods of cards that declare untrained weights."""


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
    numbers = [numbers for norm in norms for numbers in norm.parameters(recurse=False)]
    return bool(numbers) and all(map(_zeros_or_ones, numbers)) and not any(map(has_seen_images, norms))


def has_seen_images(norm: nn.Module) -> bool:
    """Whether a batch norm's statistics were ever updated; False for all other norms."""
    mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    return mean is not None and variance is not None and bool((mean != 0).any() or (variance != 1).any())


def _zeros_or_ones(numbers: Tensor) -> bool:
    return bool((numbers == 0).all() or (numbers == 1).all())


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
