"""From logits of bins to depth, and the losses of depth heads.

Source: eval/depth/models/__init__.py and loss.py of facebookresearch/dinov3, which are those of AdaBins and MegaDepth.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-3
"""Added to depths before their logarithm."""
MEAN_WEIGHT = 0.15
WITHOUT_VARIANCE = 100
"""First steps, in which the loss has no variance."""
FLOOR = 0.1
"""Added to the positive part of every logit."""


def depth_of_bins(logits: Tensor, nearest: float, deepest: float) -> Tensor:
    """Depth [b, 1, h, w]: the mean of uniform bins under positive, normalised logits [b, bins, h, w]."""
    bins = torch.linspace(nearest, deepest, logits.shape[1], device=logits.device)
    weights = logits.relu() + FLOOR
    weights = weights / weights.sum(dim=1, keepdim=True)
    return torch.einsum("bkhw,k->bhw", weights, bins)[:, None]


def scale_invariant_loss(predicted: Tensor, truth: Tensor, known: Tensor, step: int) -> Tensor:
    """Root of the variance and 0.15 times the squared mean of the log errors of known pixels.

    The first steps have no variance; without known pixels the loss is 0.
    """
    error = torch.log(predicted[known] + EPSILON) - torch.log(truth[known] + EPSILON)
    if error.numel() < 2:
        return predicted.sum() * 0
    squared = MEAN_WEIGHT * error.mean() ** 2
    if step >= WITHOUT_VARIANCE:
        squared = squared + error.var()
    return torch.sqrt(squared) if squared > 0 else squared.abs()


def gradient_loss(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Differences of log errors two pixels apart, at the full size and at every second, fourth and sixth pixel."""
    total = predicted.sum() * 0
    for stride in (1, 2, 4, 6):
        one, other, mask = (part[..., ::stride, ::stride] for part in (predicted, truth, known))
        error = (torch.log(one + EPSILON) - torch.log(other + EPSILON)) * mask
        down = (error[..., :-2, :] - error[..., 2:, :]).abs() * (mask[..., :-2, :] & mask[..., 2:, :])
        across = (error[..., :-2] - error[..., 2:]).abs() * (mask[..., :-2] & mask[..., 2:])
        total = total + (down.sum() + across.sum()) / mask.sum().clamp(1)
    return total
