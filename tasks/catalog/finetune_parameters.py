"""Finetuning by SGD on a grid, and of transformers and modern ConvNets by AdamW: parameters and presets. Torch-free."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import FeatureMapInfo
from tasks.catalog.protocol import Parameters, ProtocolSpec, require_above_zero, require_at_least

LORA_TARGETS = ("q", "k", "v", "proj", "fc1", "fc2")
Trained = Literal["all", "lora", "bias", "head"]


@dataclass(frozen=True)
class GridPoint:
    """One combination evaluated on validation images."""

    rate: float
    """Initial learning rate."""
    base: float
    """Numerator of the weight decay, base / rate."""
    augmented: bool

    @property
    def weight_decay(self) -> float:
        return self.base / self.rate

    def __str__(self) -> str:
        views = "augmented" if self.augmented else "centre crops"
        return f"rate {self.rate:g}, decay {self.weight_decay:g}, {views}"


@dataclass(frozen=True)
class FinetuneParameters:
    """SGD on backbone and classifier, selected on validation images (paper section 4.1, appendix A.2)."""

    preprocessing: Literal["paper", "own"] = "paper"
    steps: int = 5000
    batch_size: int = 64
    rates: tuple[float, ...] = (0.1, 0.01, 0.001, 0.0001)
    bases: tuple[float, ...] = (0.0, 1e-6, 1e-5, 1e-4, 1e-3)
    """Weight decays before division by the learning rate."""
    augmentation: Literal["chosen", "on", "off"] = "chosen"
    """Random resized crops and flips; `chosen`: every point is evaluated with and without."""
    momentum: float = 0.9
    validation_share: float = 0.2
    hopeless_after: float = 0.0
    """Fraction of the steps after which a point that is far behind is stopped; 0: every point is trained to the end."""
    hopeless_margin: float = 10.0
    """Distance in validation score from the best point at the same step beyond which a point is stopped."""
    temperature: Literal["validation", "published"] = "validation"
    """Data on which the temperature of the calibrated ECE is fitted; `published` uses folds of the test set."""

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, batch_size=self.batch_size)
        require_above_zero(rates=min(self.rates, default=0.0))
        if min(self.bases, default=-1.0) < 0:
            raise ValueError(f"bases must be at least 0, with one at the least, not {self.bases}")
        if not (0 < self.validation_share < 1 and 0 <= self.hopeless_after < 1):
            raise ValueError("validation_share and hopeless_after are shares between 0 and 1")

    @property
    def grid(self) -> tuple[GridPoint, ...]:
        """All points in the order of evaluation: high rates first, as in the published script."""
        views = {"chosen": (True, False), "on": (True,), "off": (False,)}[self.augmentation]
        return tuple(GridPoint(rate, base, view) for view, rate, base in product(views, self.rates, self.bases))


PAPER = FinetuneParameters(temperature="published")
SMALL = FinetuneParameters(steps=40, batch_size=32, rates=(0.1, 0.05), bases=(1e-4,), augmentation="off")

FINETUNE = (
    ProtocolSpec(
        name="finetune",
        version=1,
        family="finetune",
        presets={
            "default": FinetuneParameters(),
            "paper": PAPER,
            "early-stop": replace(PAPER, temperature="validation", hopeless_after=0.3),
            "small": SMALL,
        },
        module="tasks.protocols.finetune.protocol",
        summary="whole backbone by SGD, 5000 steps, 40 settings chosen on validation",
        inputs="images",
        multi_label=True,
        most_images=1_000_000,  # each of the 40 settings is scored on a fifth of the training images
        rescore="tasks.metrics.rescore:classification",
        whole_test="training takes most of the time",
        trains=True,
        averaged=True,
    ),
)


@dataclass(frozen=True)
class RatePoint:
    """One learning rate with one layer decay, evaluated on validation images."""

    rate: float
    """Highest learning rate, that of the head."""
    layer_decay: float
    augmented: bool = True

    def __str__(self) -> str:
        return f"rate {self.rate:g}, layer decay {self.layer_decay:g}"


@dataclass(frozen=True)
class FinetuneVitParameters:
    """AdamW with layer-wise decay of the learning rate."""

    preprocessing: Literal["paper", "own", "resize-256"] = "paper"
    trained: Trained = "all"
    """`lora`: low-rank additions to some linear layers and the head; `bias`: biases and the head; `head` alone."""
    pooling: Literal["card", "mean"] = "card"
    """`mean`: the mean of patches, then a new layer norm in place of the final one (MAE)."""
    steps: int = 5_000
    epochs: float = 0.0
    """Number of passes over the training images; 0: `steps` is used instead."""
    batch_size: int = 64
    rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4)
    rates_for: int = 0
    """Batch size that the rates refer to; they are multiplied by `batch_size` / this; 0: no scaling."""
    layer_decays: tuple[float, ...] = (0.65, 0.75, 1.0)
    head_factor: float = 1.0
    """Factor of the head's learning rate."""
    lowest_rate: float = 0.0
    """Final learning rate of the cosine; above the highest rate, the rate is constant."""
    warmup: float = 0.1
    """Fraction of the steps over which rates increase."""
    weight_decay: float = 0.05
    """Weight decay, except of vectors (biases, norms, tokens)."""
    drop_path: float = 0.1
    """Highest probability of dropping a block's branch; it increases with depth."""
    area: float = 0.3
    """Smallest fraction of an image that a random view shows."""
    rand_augment: float = 0.0
    """Magnitude of two random operations per image (RandAugment, deviation 0.5, increasing); 0: none."""
    erase: float = 0.0
    """Probability that a box of a view is erased with noise."""
    mixup: float = 0.0
    """Both parameters of the beta distribution of mixup; 0: no mixup."""
    cutmix: float = 0.0
    """Both parameters of the beta distribution of cutmix; 0: no cutmix."""
    smoothing: float = 0.0
    """Label smoothing."""
    average: float = 0.0
    """Decay of the averaged weights used for scores; 0: the last weights are used."""
    clip: float = 0.0
    """Maximum norm of the gradient; 0: no clipping."""
    rank: int = 8
    """Rank of low-rank additions."""
    scale: float = 8.0
    """Numerator of the factor of low-rank additions, over `rank`."""
    targets: tuple[str, ...] = ("q", "v")
    """Layers with low-rank additions: queries, keys, values and output of attention, both layers of the MLP."""
    head_steps: int = 0
    """Number of steps in which only the head is trained, before the main training."""
    head_rate: float = 1e-3
    """Learning rate of the head in these steps."""
    head_deviation: float = 0.02
    """Standard deviation of the head's initial weights."""
    validation_share: float = 0.2
    hopeless_after: float = 0.0
    """Fraction of the steps after which a point that is far behind is stopped; 0: every point is trained to the end."""
    hopeless_margin: float = 10.0

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, batch_size=self.batch_size, rank=self.rank)
        require_at_least(0, head_steps=self.head_steps, rates_for=self.rates_for)
        require_above_zero(
            rates=min(self.rates, default=0.0),
            layer_decays=min(self.layer_decays, default=0.0),
            head_factor=self.head_factor,
            area=self.area,
        )
        shares = (self.warmup, self.drop_path, self.smoothing, self.average, self.hopeless_after)
        if min(shares) < 0 or max(shares) >= 1 or not 0 < self.validation_share < 1 or not 0 <= self.erase <= 1:
            raise ValueError("warmup, drop_path, smoothing, average and the shares are below 1, and erase at most 1")
        if set(self.targets) - set(LORA_TARGETS) or not self.targets:
            raise ValueError(f"targets are some of {', '.join(LORA_TARGETS)}, not {self.targets}")

    @property
    def grid(self) -> tuple[RatePoint, ...]:
        """All points, high rates first."""
        rates = sorted(self.rates, reverse=True)
        return tuple(RatePoint(rate, decay) for rate, decay in product(rates, self.layer_decays))

    def steps_for(self, images: int) -> int:
        """Number of steps of a training on this number of images."""
        return max(1, math.ceil(self.epochs * math.ceil(images / self.batch_size))) if self.epochs else self.steps


SMALL_SETS = FinetuneVitParameters(clip=1.0, head_steps=500, head_factor=10.0)
MAE = FinetuneVitParameters(
    pooling="mean",
    epochs=100,
    batch_size=1_024,
    rates=(5e-4,),
    rates_for=256,
    layer_decays=(0.65,),
    lowest_rate=1e-6,
    warmup=0.05,
    area=0.08,
    rand_augment=9.0,
    erase=0.25,
    mixup=0.8,
    cutmix=1.0,
    smoothing=0.1,
    head_deviation=2e-5,
)
DEIT3 = FinetuneVitParameters(
    epochs=20,
    batch_size=512,
    rates=(1e-5,),
    layer_decays=(1.0,),
    lowest_rate=1e-5,
    warmup=0.25,
    weight_decay=0.1,
    drop_path=0.2,
    area=0.08,
    rand_augment=9.0,
    mixup=0.8,
    cutmix=1.0,
    smoothing=0.1,
)
LORA = FinetuneVitParameters(
    trained="lora", rates=(1e-3,), layer_decays=(1.0,), weight_decay=1e-4, lowest_rate=1e-5, epochs=100, drop_path=0.1
)
SMALL_VIT = FinetuneVitParameters(
    steps=60,
    batch_size=32,
    rates=(1e-3, 3e-3),
    layer_decays=(0.75,),
    drop_path=0.0,
    head_steps=20,
    head_rate=1e-2,
)


def without_layers(card: BackboneCard, info: FeatureMapInfo, parameters: Parameters) -> str | None:
    """Reason why a backbone cannot be finetuned with these parameters; None if it can."""
    assert isinstance(parameters, FinetuneVitParameters)
    plain = info.blocks is not None and info.blocks.plain
    if parameters.trained == "lora" and not plain:
        return f"{card.architecture} is not a plain transformer, in whose attention the low-rank additions are"
    if parameters.pooling == "mean" and not plain:
        return f"{card.architecture} is not a plain transformer, whose patches are averaged (finetune-vit.pooling=card)"
    return None


FINETUNE_VIT = ProtocolSpec(
    name="finetune-vit",
    version=1,
    family="finetune-vit",
    presets={
        "default": SMALL_SETS,
        "small-sets": SMALL_SETS,
        "mae": MAE,
        "deit3": DEIT3,
        "lora": LORA,
        "bias": replace(LORA, trained="bias", rates=(1e-3, 3e-3, 1e-2), epochs=0.0),
        "head-then-all": replace(SMALL_SETS, head_steps=1_000, rates=(3e-5,), layer_decays=(0.75,)),
        "small": SMALL_VIT,
    },
    module="tasks.protocols.finetune.vit_protocol",
    summary="whole backbone, low-rank additions or biases by AdamW with layer decay (MAE, DeiT III, LoRA)",
    inputs="images",
    most_images=1_500_000,
    unsuitable=without_layers,
    rescore="tasks.metrics.rescore:classification",
    whole_test="training takes most of the time",
    trains=True,
    averaged=True,
)
