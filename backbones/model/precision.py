"""Arithmetic of networks: float32 without TF32, bfloat16 by autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from backbones.catalog.card import Precision
from backbones.cpu.onednn import LinearByOneDNN


@contextmanager
def training_arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """Use this precision inside the block; recent GPUs would otherwise reduce float32 in convolutions."""
    half = precision == "bfloat16"
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=half),
        torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half),
    ):
        yield


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Use true float32: by default torch uses TF32 (ten bits of mantissa) for convolutions on recent GPUs.

    On a CPU, linear layers of frozen networks use the faster of two libraries, which differ by rounding only.
    """
    half = precision == "bfloat16"
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=half),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=half),
        LinearByOneDNN() if device.type == "cpu" and not half else nullcontext(),
    ):
        yield
