"""Does the frozen network behave like one? The same image gives the same vector, whoever else is in the batch."""

from __future__ import annotations

import torch
from torch import nn

from backbones.encoder import Encoder
from backbones.preprocessing_spec import preprocessing_for
from tasks.examination.finding import Finding
from tasks.examination.images import photographs

COUNT = 8
TOLERANCE = 0.02
"""Relative difference of a vector alone and in a batch. Other kernels for other batch sizes round up to 1e-4."""


def check_batch_norm(encoder: Encoder) -> Finding:
    """Evaluation mode, told by the flags of all modules and by what the network does."""
    training = [name for name, module in encoder.model.named_modules() if module.training]
    change = _change(encoder)
    values = {"change": change}
    if training or change > TOLERANCE:
        where = f"{training[0]} is in training mode" if training else "something normalises over the batch"
        words = (
            f"a vector changes by {change:.0%} with the other images of its batch: {where}. Call eval() on the whole "
            "model and keep running statistics in every batch norm"
        )
        return Finding(name="batch norm", verdict="bad", words=words, values=values)
    norms = sum(1 for module in encoder.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    words = f"an image's vector does not depend on its batch ({norms} batch norms in evaluation mode)"
    return Finding(name="batch norm", verdict="good", words=words, values=values)


def _change(encoder: Encoder) -> float:
    """The largest relative difference between vectors of images alone and together."""
    spec = preprocessing_for(encoder.card, "paper")
    batch = torch.stack([encoder.prepare(image, spec) for image in photographs(COUNT)])
    together = encoder.encode(batch, spec)
    alone = torch.cat([encoder.encode(image[None], spec) for image in batch])
    scale = together.norm(dim=1).clamp_min(1e-12)
    return float(((together - alone).norm(dim=1) / scale).max())


def check_resolution(encoder: Encoder) -> Finding:
    """Whether the input's side is the one that the network's positions were made for."""
    side = encoder.card.input.size
    patch = _patch(encoder.model)
    own = encoder.card.architecture_arguments.get("img_size")
    if isinstance(own, int) and not isinstance(own, bool) and own != side:
        words = f"{side} px, and its position embedding is for {own} px: it is stretched, which costs a little"
        return Finding(name="resolution", verdict="note", words=words)
    return Finding(
        name="resolution", verdict="good", words=f"{side} px" + (f", patches of {patch} px" if patch else "")
    )


def _patch(model: nn.Module) -> int | None:
    found = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    return int(found[0]) if isinstance(found, (tuple, list)) else found if isinstance(found, int) else None
