"""Learning rates by step, as factors of the highest one."""

from __future__ import annotations

import math
from typing import Literal

DIV_FACTOR = 25.0
"""Initial rate of the published one-cycle schedule: the maximum divided by this and by the final factor."""
FINAL_FACTOR = 1000.0
BASE_BETA1, MAX_BETA1 = 0.85, 0.95


def warmed_cosine(step: int, steps: int, warmup: int, lowest: float = 0.0) -> float:
    """Linear over the first `warmup` steps, then half a cosine down to `lowest`."""
    if step < warmup:
        return step / warmup
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def segmentation_rate(step: int, steps: int, warmup: int, decay: Literal["cosine", "polynomial"]) -> float:
    """Rate of a linear segmentation head.

    `cosine` is DINOv3's `WarmupOneCycleLR`: a warm-up multiplied by a linear decay to 0, then a cosine over all steps;
    the first two steps have the same rate. `polynomial` is DINOv2's, of power 1 with the same warm-up.
    """
    place = max(0, step - 1) if decay == "cosine" else step
    line = 1 - place / steps
    if place < warmup:
        return line * (1 - (1 - place / warmup) * (1 - 1e-6))
    return line if decay == "polynomial" else 0.5 * (1 + math.cos(math.pi * (place + 1) / steps))


def depth_rate(step: int, steps: int, warmup: int, source: Literal["dinov2", "dinov3"]) -> float:
    """Rate of a linear depth head: a cosine over all steps, multiplied by a warm-up.

    In DINOv3 the minimum rate is 1/25,000 of the maximum, and the warm-up adds 1/1,000.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    if source == "dinov2":
        warmed = 1 - (1 - step / warmup) * (1 - 1e-3) if step < warmup else 1.0
        return warmed * (cosine + (1 - cosine) * 1e-8)
    if step < warmup:
        return 1 / FINAL_FACTOR + cosine * step / warmup
    lowest = 1 / DIV_FACTOR / FINAL_FACTOR
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * (step + 1) / steps))


def depth_beta1(step: int, steps: int, warmup: int) -> float:
    """AdamW's first decay rate in DINOv3's depth schedule: 0 during the warm-up, then from 0.85 to 0.95."""
    if step < warmup:
        return 0.0
    share = (step - warmup) / max(1, steps - warmup)
    return MAX_BETA1 + (BASE_BETA1 - MAX_BETA1) * 0.5 * (1 + math.cos(math.pi * share))
