"""The attentive probe in the catalogue: parameters and presets. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.catalog.head_parameters import without_blocks
from tasks.catalog.protocol import ProtocolSpec, require_above_zero, require_at_least

CAPI_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
"""Learning rates of eval_classification.py of facebookresearch/capi, for batches of 256 images."""
VJEPA_RATES = (1.25e-4, 2.5e-4, 3.75e-4, 5e-4)
"""Learning rates of configs/eval/vitl/in1k.yaml of facebookresearch/vjepa2: 5e-4 to 2e-3 for batches of 1,024 images.
"""


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
    trains=True,
    averaged=True,
)
