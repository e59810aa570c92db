"""Arithmetic of networks: float32 without TF32, bfloat16 and float16 by autocast.

float16 has three more bits of mantissa than bfloat16 and a smaller range: values beyond 65,504 become infinite, which
the check of features detects, and small gradients become zero, so that it is for frozen networks only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from backbones.catalog.card import Precision
from backbones.cpu.matmul import LinearByOneDNN
from backbones.cpu.optimise import agree, twin

HALVES: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
CAST_BY_AUTOCAST = (nn.Linear, nn.Conv2d, Conv2dSame)
"""Modules whose weights autocast casts in every batch. Exact types: subclasses may use their weights otherwise."""


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
        torch.autocast(device.type, dtype=HALVES.get(precision, torch.bfloat16), enabled=half),
        LinearByOneDNN() if device.type == "cpu" and not half else nullcontext(),
    ):
        yield


def with_half_weights(model: nn.Module, precision: Precision, features: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of the frozen `model` whose weights are cast once, to the type to which autocast casts them in every
    batch.

    It shares all other tensors, and computes the same features bit for bit in fewer operations. `features` returns
    outputs for some images; `model` itself is returned if those of the copy differ, or where foreign code cannot be
    copied.
    """
    made = twin(model)
    if made is None:
        return model
    for module in made.modules():
        if type(module) in CAST_BY_AUTOCAST:
            for name, values in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(values.to(HALVES[precision]), requires_grad=False))
    return made if agree(features, model, made) else model
