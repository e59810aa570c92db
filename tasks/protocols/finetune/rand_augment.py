"""RandAugment as MAE and DeiT III use it (timm's `rand-m9-mstd0.5-inc1`), drawn from a generator of the step.

Two of fifteen operations an image, each applied with probability 0.5 at a magnitude that is drawn around the given one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from timm.data.auto_augment import NAME_TO_OP

OPERATIONS = 2
PROBABILITY = 0.5
DEVIATION = 0.5
HIGHEST = 10.0
NAMES = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd"),
    *("ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing"),
    *("ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)
BLEND = ("ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing")
SIGNED = {"Rotate": 30.0, "ShearX": 0.3, "ShearY": 0.3, "TranslateXRel": 0.45, "TranslateYRel": 0.45}
"""Largest angle in degrees, shear, and shift as a share of the side."""


def rand_augmented(
    image: Image.Image, magnitude: float, fill: tuple[int, int, int], random: np.random.Generator
) -> Image.Image:
    """The image after the operations; `fill` is the colour of pixels from outside."""
    for name in random.choice(NAMES, OPERATIONS):
        if random.random() < PROBABILITY:
            level = float(np.clip(random.normal(magnitude, DEVIATION), 0, HIGHEST))
            image = operation(str(name), level, 1 if random.random() < 0.5 else -1, fill)(image)
    return image


def operation(name: str, level: float, sign: int, fill: tuple[int, int, int]) -> Callable[[Image.Image], Image.Image]:
    """One of `NAMES` at a level of 0 to 10; `sign` is its direction, where it has one."""
    how = {"fillcolor": fill, "resample": Image.Resampling.BICUBIC} if name in SIGNED else {}
    apply: Any = NAME_TO_OP[name]

    def done(image: Image.Image) -> Image.Image:
        found: Image.Image = apply(image, *_arguments(name, level / HIGHEST, sign), **how)
        return found

    return done


def _arguments(name: str, share: float, sign: int) -> tuple[float, ...]:
    if name in SIGNED:
        return (sign * share * SIGNED[name],)
    if name in BLEND:
        return (max(0.1, 1 + sign * share * 0.9),)
    if name == "PosterizeIncreasing":
        return (4 - int(share * 4),)
    if name == "SolarizeIncreasing":
        return (256 - min(256, int(share * 256)),)
    return (min(128, int(share * 110)),) if name == "SolarizeAdd" else ()
