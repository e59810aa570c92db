"""The two analyses of single images as the console knows them: parameters and presets. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backbones.anatomy import Anatomy
from backbones.card import BackboneCard
from tasks.limits import require_above_zero, require_at_least
from tasks.protocol import IMAGE_EVALUATION, Parameters, ProtocolFacts


@dataclass(frozen=True)
class AttentionParameters:
    """Occlusion saliency (paper section 4.9 and appendix A.9)."""

    images: int = 50
    """At most, evenly spaced over the test images."""
    window: int = 10
    """Side of the occluded square, in pixels."""
    stride: int = 5
    """Between neighbouring windows, in pixels; the paper's is 1."""
    compared: int = 1
    """For the first so many images, the map at stride 1 is made too, to say how well this stride agrees with it."""

    def __post_init__(self) -> None:
        require_at_least(1, images=self.images, window=self.window, stride=self.stride)
        require_at_least(0, compared=self.compared)
        require_at_least(self.stride, window=self.window)


@dataclass(frozen=True)
class InversionParameters:
    """Reconstruction of an image from its last feature map by a deep image prior (paper section 4.8, appendix A.8)."""

    images: int = 15
    """At most, evenly spaced over the test images."""
    iterations: int = 3000
    rate: float = 1e-3
    scales: int = 6
    """Times that the prior halves the image."""
    headline: Literal["psnr", "lpips-alex"] = "psnr"
    """`lpips-alex` needs the published weights of that distance; others are measured where theirs are present."""

    def __post_init__(self) -> None:
        require_at_least(1, images=self.images, iterations=self.iterations, scales=self.scales)
        require_above_zero(rate=self.rate)
        if self.scales > 6:
            raise ValueError(f"scales must be at most 6, not {self.scales}")


def without_maps(_card: BackboneCard, anatomy: Anatomy, _parameters: Parameters) -> str | None:
    """Why there is no last feature map; None if there is."""
    return anatomy.problem


ANALYSES = (
    ProtocolFacts(
        name="attention",
        version=1,
        family="attention",
        presets={
            "default": AttentionParameters(),
            "paper": AttentionParameters(stride=1, compared=0),
            "small": AttentionParameters(images=8, stride=6, window=12, compared=0),
        },
        module="tasks.attention",
        summary="attentive diffusion: how far over the image an occlusion changes the features",
        evaluation=IMAGE_EVALUATION,
    ),
    ProtocolFacts(
        name="inversion",
        version=1,
        family="inversion",
        presets={
            "default": InversionParameters(),
            "paper": InversionParameters(headline="lpips-alex"),
            "small": InversionParameters(images=2, iterations=300, rate=1e-2, scales=4),
        },
        module="tasks.inversion.protocol",
        summary="reconstruction of the image from its last feature map by a deep image prior",
        evaluation=IMAGE_EVALUATION,
        unsuitable=without_maps,
    ),
)
