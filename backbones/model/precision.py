"""What numbers are computed in: float32 means float32, bfloat16 means autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from backbones.catalog.card import Precision
from backbones.cpu.onednn import LinearByOneDNN


@contextmanager
def training_arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """Inside, networks compute in this precision; recent GPUs would otherwise shorten float32 in convolutions."""
    half = precision == "bfloat16"
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=half),
        torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half),
    ):
        yield


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """float32 means float32: by default torch lets convolutions on recent GPUs keep ten bits of each factor.

    On a CPU linear layers of frozen networks go the faster of two ways, which differ by rounding only.
    """
    half = precision == "bfloat16"
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=half),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=half),
        LinearByOneDNN() if device.type == "cpu" and not half else nullcontext(),
    ):
        yield
