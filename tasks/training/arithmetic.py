"""What numbers are computed in: float32 means float32, bfloat16 means autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from backbones.encoder import Precision


@contextmanager
def arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """Inside, networks compute in this precision; recent GPUs would otherwise shorten float32 in convolutions."""
    half = precision == "bfloat16"
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=half),
        torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half),
    ):
        yield
