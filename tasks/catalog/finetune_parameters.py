"""Parameters and presets of finetuning. Needs neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from tasks.catalog.protocol import ProtocolSpec, require_above_zero, require_at_least


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
        """Weight decay of SGD."""
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

PROTOCOLS = (
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
        trains=True,
        averaged=True,
    ),
)
