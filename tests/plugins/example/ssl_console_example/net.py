"""The architecture of `example/tiny`: edges in two directions, untrained."""

from __future__ import annotations

import torch
from torch import nn


def make(width: int = 8) -> nn.Module:
    """A convolution; features are averaged over positions."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 5, stride=2), nn.ReLU())
