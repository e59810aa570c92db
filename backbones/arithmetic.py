"""What a precision means for the arithmetic of a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """float32 means float32: by default torch lets convolutions on recent GPUs keep ten bits of each factor."""
    half = precision == "bfloat16"
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=half),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=half),
    ):
        yield
