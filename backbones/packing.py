"""Linear layers of a frozen network on a CPU, in oneDNN's own layout and each with the GELU after it.

The same function: weights that never change are laid out once instead of in every product, and the activation is
computed while the product is still in the processor's caches. Which activation follows a layer is guessed from the
order of a module's children, and the guess is checked by values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from timm.layers.activations import GELU, GELUTanh
from torch import Tensor, nn

from backbones.folding import agree, twin
from backbones.onednn import MOST_PACKED, ONEDNN, linear_packed, pack, takes

Site = tuple[nn.Module, str, str | None]
"""A module, and its children that are linear layer and, perhaps, the GELU after it."""


class LinearGELU(nn.Linear):
    """A frozen linear layer of `like`'s weights, and a GELU unless `approximate` is None."""

    def __init__(self, like: nn.Linear, approximate: str | None, *, laid_out: bool) -> None:
        super().__init__(like.in_features, like.out_features, bias=like.bias is not None, device="meta")
        self.weight, self.bias = like.weight, like.bias
        self.approximate = approximate
        laid = pack(like.weight) if laid_out else None
        self._factor = like.weight if laid is None else laid

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """[..., in_features] to [..., out_features]."""
        if takes(input, self.weight, self.bias):
            return linear_packed(input, self._factor, self.bias, self.approximate)
        product = F.linear(input, self.weight, self.bias)
        return product if self.approximate is None else F.gelu(product, approximate=self.approximate)


def packed(model: nn.Module, features: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of the frozen `model` with packed linear layers, or `model` itself where it has none or disagrees.

    The copy shares every tensor. `features` says what is to stay the same: what a network gives for some images.
    """
    if not PACKS or not any(_sites(model)):
        return model
    laid_out = sum(_weight(*site).nbytes for site in _sites(model)) <= MOST_PACKED
    for with_gelu in (True, False):
        made = _packed(model, with_gelu, laid_out)
        if made is not None and agree(features, model, made):
            return made
    return model


def _packed(model: nn.Module, with_gelu: bool, laid_out: bool) -> nn.Module | None:
    made = twin(model)
    for parent, layer, activation in list(_sites(made)) if made is not None else ():
        approximate = None
        if with_gelu and activation is not None:
            approximate = _approximate(getattr(parent, activation))
            setattr(parent, activation, nn.Identity())
        setattr(parent, layer, LinearGELU(getattr(parent, layer), approximate, laid_out=laid_out))
    return made


def _sites(model: nn.Module) -> Iterator[Site]:
    """Exact types only: subclasses may do anything to their weights, hooks to what goes in and comes out."""
    for parent in model.modules():
        children = [*parent.named_children(), ("", nn.Identity())]
        for (first, one), (second, other) in pairwise(children):
            if type(one) is nn.Linear and not _hooked(one):
                yield parent, first, second if _approximate(other) is not None and not _hooked(other) else None


def _weight(parent: nn.Module, layer: str, _activation: str | None) -> Tensor:
    weight: Tensor = getattr(parent, layer).weight
    return weight


def _approximate(activation: nn.Module) -> str | None:
    """torch's word for the kind of GELU that it is; None for everything else."""
    if type(activation) is nn.GELU:
        return activation.approximate
    return {GELU: "none", GELUTanh: "tanh"}.get(type(activation))


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _packs() -> bool:
    """Whether this build of PyTorch lends oneDNN's products with a GELU in them, and they are right."""
    if not ONEDNN:
        return False
    layer, rows = nn.Linear(3, 4).requires_grad_(False), torch.arange(6.0).view(2, 3)
    try:
        found = LinearGELU(layer, "none", laid_out=True)(rows)
    except RuntimeError:
        return False
    return bool(torch.allclose(found, F.gelu(layer(rows)), atol=1e-5))


PACKS = _packs()
