"""Arithmetic of networks: float32 without TF32, bfloat16 and float16 by autocast.

float16 has three more bits of mantissa than bfloat16 and a smaller range: values beyond 65,504 become infinite, which
the check of features detects, and small gradients become zero, so that it is for frozen networks only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from backbones.catalog.card import Precision
from backbones.cpu.onednn import LinearByOneDNN


@contextmanager
def training_arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """Use this precision inside the block; recent GPUs would otherwise reduce float32 in convolutions.

    Raises ValueError for float16, in which small gradients are zero.
    """
    if precision == "float16":
        raise ValueError("float16 is for frozen networks: small gradients are zero in it; use bfloat16 or float32")
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
    half = precision != "float32"
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=half),
        torch.autocast(device.type, dtype=torch.float16 if precision == "float16" else torch.bfloat16, enabled=half),
        LinearByOneDNN() if device.type == "cpu" and not half else nullcontext(),
    ):
        yield
