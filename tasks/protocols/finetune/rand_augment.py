"""RandAugment and AutoAugment on single images, drawn by the generator of the step.

RandAugment as MAE and DeiT III use it (timm's `rand-m9-mstd0.5-inc1`): two of fifteen operations per image, each
applied with probability 0.5 at a magnitude drawn around the given one. AutoAugment as V-JEPA's probe uses it (timm's
`original`, Cubuk et al., CVPR 2019): one of 25 pairs of operations with fixed probabilities and magnitudes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from timm.data.auto_augment import NAME_TO_OP, auto_augment_policy_original
from torch import Tensor
from torchvision.transforms.v2 import functional as transform

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
"""Maximum angle in degrees, shear, and shift as a fraction of the side."""
POLICY = tuple(
    tuple((str(one.name), float(one.prob), float(one.magnitude)) for one in pair)
    for pair in auto_augment_policy_original({})  # type: ignore[no-untyped-call]
)
"""Operation, probability and level, in 25 pairs."""


def rand_augmented(
    image: Image.Image, magnitude: float, fill: tuple[int, int, int], random: np.random.Generator
) -> Image.Image:
    """The image after the operations; `fill` is the padding colour."""
    for name in random.choice(NAMES, OPERATIONS):
        if random.random() < PROBABILITY:
            level = float(np.clip(random.normal(magnitude, DEVIATION), 0, HIGHEST))
            image = operation(str(name), level, 1 if random.random() < 0.5 else -1, fill)(image)
    return image


def auto_augmented(image: Image.Image, fill: tuple[int, int, int], random: np.random.Generator) -> Image.Image:
    """The image after one pair of `POLICY`; `fill` is the padding colour."""
    for name, probability, level in POLICY[int(random.integers(len(POLICY)))]:
        if random.random() < probability:
            image = operation(name, level, 1 if random.random() < 0.5 else -1, fill)(image)
    return image


def on_pixels(view: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Apply a function of images to pixels uint8 [3, h, w]."""
    image = Image.fromarray(view.permute(1, 2, 0).contiguous().numpy())
    changed: Tensor = transform.pil_to_tensor(change(image))
    return changed


def operation(name: str, level: float, sign: int, fill: tuple[int, int, int]) -> Callable[[Image.Image], Image.Image]:
    """One of `NAMES` or of `POLICY` at a level from 0 to 10; `sign` is its direction, if it has one."""
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
    if name in ("Color", "Contrast", "Sharpness"):
        return (share * 1.8 + 0.1,)
    if name.startswith("Posterize"):
        return (4 - int(share * 4) if name == "PosterizeIncreasing" else 4 + int(share * 4),)
    if name.startswith("Solarize") and name != "SolarizeAdd":
        threshold = min(256, int(share * 256))
        return (256 - threshold if name == "SolarizeIncreasing" else threshold,)
    return (min(128, int(share * 110)),) if name == "SolarizeAdd" else ()
