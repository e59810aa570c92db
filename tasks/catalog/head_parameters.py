"""Protocols that train heads on the features or tokens of a frozen backbone: parameters and presets. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import BlockChoice, FeatureMapInfo, Storage
from tasks.catalog.protocol import Parameters, ProtocolSpec, require_above_zero, require_at_least

PreprocessingName = Literal["paper", "own", "squash", "resize-256"]
HeadInput = Literal["cls", "cls+mean"]

PUBLISHED_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
"""Learning rates of dinov2/eval/linear.py, for batches of 256 images."""
DEFAULT_RATES = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5)
"""Without the lowest rates, which are too low for a tenth of the published steps; up to 0.5, as the grid in the
paper.
"""
CAPI_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
"""Learning rates of eval_classification.py of facebookresearch/capi, for batches of 256 images."""
VJEPA_RATES = (1.25e-4, 2.5e-4, 3.75e-4, 5e-4)
"""Learning rates of configs/eval/vitl/in1k.yaml of facebookresearch/vjepa2: 5e-4 to 2e-3 for batches of 1,024 images.
"""


@dataclass(frozen=True)
class LinearHeadsParameters:
    """Linear heads on the last blocks, trained at once by SGD (dinov2/eval/linear.py)."""

    preprocessing: PreprocessingName = "paper"
    storage: Storage = "float16"
    """Precision of the stored features."""
    rates: tuple[float, ...] = DEFAULT_RATES
    """Learning rates for batches of 256, multiplied by `batch_size` / 256."""
    last: tuple[int, ...] = (1, 4)
    """Numbers of last blocks that are the input of heads."""
    poolings: tuple[HeadInput, ...] = ("cls", "cls+mean")
    """`cls`: the blocks' class tokens; `cls+mean`: these and the last block's mean of patches."""
    steps: int = 1_250
    batch_size: int = 1_024
    momentum: float = 0.9
    weight_decay: float = 0.0
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, batch_size=self.batch_size, last=min(self.last, default=0))
        require_above_zero(rates=min(self.rates, default=0.0), validation_share=self.validation_share)
        if not self.poolings or not 0 <= self.momentum < 1 or self.validation_share >= 1:
            raise ValueError(f"poolings, momentum below 1 and validation_share below 1 are required, not {self}")


@dataclass(frozen=True)
class LayersParameters:
    """Nearest neighbours on every stored block and pooling."""

    preprocessing: PreprocessingName = "paper"
    blocks: BlockChoice = "last-4-and-quarters"
    storage: Storage = "float16"
    """Precision of the stored features."""
    neighbours: int = 20
    temperature: float = 0.07
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        require_at_least(1, neighbours=self.neighbours)
        require_above_zero(temperature=self.temperature, validation_share=self.validation_share)


@dataclass(frozen=True)
class KShotParameters:
    """Logistic regression from a few images per class (MSN)."""

    preprocessing: PreprocessingName = "paper"
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Images per class."""
    shares: tuple[float, ...] = (0.01, 0.1)
    """Fractions of the training images, drawn by class."""
    headline: int = 4
    """The number of shots whose accuracy is ranked."""
    draws: int = 5
    penalty: float = 0.0025
    """Half the weight of the squared weights relative to the sum of losses."""

    def __post_init__(self) -> None:
        require_at_least(1, shots=min(self.shots, default=0), draws=self.draws)
        require_above_zero(penalty=self.penalty, shares=min(self.shares, default=1.0))
        if self.headline not in self.shots or max(self.shares, default=0.0) > 1:
            raise ValueError(f"headline {self.headline} must be one of the shots {self.shots}, and shares at most 1")


def without_blocks(card: BackboneCard, info: FeatureMapInfo, _parameters: Parameters) -> str | None:
    """Reason why a backbone has no layer-wise features; None if it has."""
    if info.blocks is None:
        return f"its architecture {card.architecture} does not list its blocks (timm's feature_info)"
    return None


HEADS = (
    ProtocolSpec(
        name="linear-heads",
        version=1,
        family="linear-heads",
        presets={
            "default": LinearHeadsParameters(),
            "published": LinearHeadsParameters(
                preprocessing="resize-256", storage="float32", rates=PUBLISHED_RATES, steps=12_500
            ),
            "small": LinearHeadsParameters(steps=300, batch_size=256, rates=(1e-3, 1e-2, 0.1, 1.0)),
        },
        module="tasks.protocols.linear_heads",
        summary="linear heads of the last blocks by SGD, learning rate and blocks chosen on validation (DINOv2)",
        layers=True,
        unsuitable=without_blocks,
        rescore="tasks.metrics.rescore:classification",
        whole_test="training takes most of the time",
        trains=True,
        averaged=True,
    ),
    ProtocolSpec(
        name="layers",
        version=1,
        family="layers",
        presets={
            "default": LayersParameters(),
            "every-block": LayersParameters(blocks="all"),
            "published": LayersParameters(preprocessing="resize-256", blocks="all", storage="float32"),
        },
        module="tasks.protocols.layers",
        summary="layer curve: nearest neighbours on every stored block and pooling, the best chosen on validation",
        layers=True,
        unsuitable=without_blocks,
        rescore="tasks.metrics.rescore:classification",
        predictor="tasks.protocols.layers:predictor",
        averaged=True,
    ),
    ProtocolSpec(
        name="k-shot",
        version=1,
        family="k-shot",
        presets={
            "default": KShotParameters(),
            "published": KShotParameters(
                preprocessing="resize-256", shots=(1, 2, 5), shares=(0.01,), headline=5, draws=3
            ),
            **{  # all images of one of MSN's lists with this number per class, without draws
                f"msn-{shots}": KShotParameters(
                    preprocessing="resize-256", shots=(shots,), shares=(), headline=shots, draws=1
                )
                for shots in (1, 2, 5)
            },
        },
        module="tasks.protocols.k_shot",
        summary="logistic regression from 1 to 16 images per class and 1 and 10 % of them, 5 draws (MSN)",
        inputs="bank",
        rescore="tasks.metrics.rescore:draws",
        whole_test="its score is a mean over draws of training images",
        averaged=True,
    ),
)


@dataclass(frozen=True)
class AttentiveParameters:
    """Heads that pool patch tokens by attention, trained at once by AdamW."""

    preprocessing: Literal["paper", "own", "resize-256"] = "paper"
    head: Literal["capi", "efficient", "aim", "vjepa"] = "capi"
    """Published head, which determines tokens, decay of biases and random views."""
    rates: tuple[float, ...] = (2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
    """Learning rates for batches of 256, multiplied by `batch_size` / 256."""
    weight_decays: tuple[float, ...] = (1e-3,)
    steps: int = 1_250
    batch_size: int = 256
    warmup: float = 0.1
    """Fraction of the steps over which the learning rate increases."""
    augmented: bool = True
    """Whether random resized crops and flips are used (for `vjepa` also AutoAugment and erasing), instead of centre
    crops.
    """
    validation_share: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, batch_size=self.batch_size)
        require_above_zero(rates=min(self.rates, default=0.0), validation_share=self.validation_share)
        if not self.weight_decays or min(self.weight_decays) < 0:
            raise ValueError(f"weight_decays must be at least 0, with one at the least, not {self.weight_decays}")
        if not (0 <= self.warmup < 1 and self.validation_share < 1):
            raise ValueError("warmup and validation_share are shares below 1")


ATTENTIVE = ProtocolSpec(
    name="attentive",
    version=1,
    family="attentive",
    presets={
        "default": AttentiveParameters(),
        "published": AttentiveParameters(
            preprocessing="resize-256",
            rates=CAPI_RATES,
            weight_decays=(5e-4, 1e-3, 5e-2),
            steps=12_500,
            batch_size=1_024,
        ),
        "efficient": AttentiveParameters(head="efficient"),
        "aim": AttentiveParameters(head="aim"),
        "vjepa": AttentiveParameters(
            preprocessing="resize-256",
            head="vjepa",
            rates=VJEPA_RATES,
            weight_decays=(5e-4, 1e-3, 2e-3, 4e-3, 8e-3),
            steps=25_000,
            batch_size=1_024,
            warmup=0.25,
        ),
        "small": AttentiveParameters(rates=(2e-3, 1e-2, 5e-2), steps=150, batch_size=64, augmented=False),
    },
    module="tasks.protocols.attentive",
    summary="attention pooling of patch tokens (CAPI, efficient probe, AIM, V-JEPA), several heads in one pass",
    inputs="images",
    unsuitable=without_blocks,
    rescore="tasks.metrics.rescore:classification",
    writes_parts=True,
    trains=True,
    averaged=True,
)
