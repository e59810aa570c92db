"""What is done to an image before a backbone sees it, as plain values that digests are taken over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from backbones.card import BackboneCard, CropMode, Interpolation, Triple

PreprocessingName = Literal["paper", "own", "squash"]
ResizeMode = Literal["shorter", "squash", "border"]
"""`shorter`: the shorter side becomes `resize`; `squash`: both do; `border`: the longer does, and borders are added."""

_MODES: dict[CropMode, ResizeMode] = {"center": "shorter", "squash": "squash", "border": "border"}
SQUASH_FACTOR = 1.15


@dataclass(frozen=True)
class PreprocessingSpec:
    """Resize to `resize` pixels by `mode`, cut the central `crop` x `crop`, scale to [0, 1], normalise."""

    name: PreprocessingName
    resize: int
    crop: int
    mode: ResizeMode
    interpolation: Interpolation
    mean: Triple
    std: Triple


def preprocessing_for(card: BackboneCard, name: str) -> PreprocessingSpec:
    """The named preprocessing for this backbone. Raises ValueError for any other name.

    `paper`: shorter side bicubic to the input size, centre crop (Ericsson et al., appendix A.2).
    `own`: what the weights were published with. `squash`: the published few-shot code's 1.15 times the input size
    in both directions, bilinear, centre crop (`few_shot.py` in ssl-transfer, which differs from the paper's A.3).
    """
    size, mean, std = card.input.size, card.input.mean, card.input.std
    if name == "paper":
        return PreprocessingSpec("paper", size, size, "shorter", "bicubic", mean, std)
    if name == "squash":
        return PreprocessingSpec("squash", int(size * SQUASH_FACTOR), size, "squash", "bilinear", mean, std)
    if name == "own":
        own = card.input.own_size or size
        resize = math.floor(own / card.input.crop)
        return PreprocessingSpec("own", resize, own, _MODES[card.input.crop_mode], card.input.interpolation, mean, std)
    raise ValueError(f"no preprocessing is named {name!r}: expected one of {', '.join(get_args(PreprocessingName))}")
