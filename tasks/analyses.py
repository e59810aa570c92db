"""The two analyses of single images as the console knows them: parameters and presets. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.limits import require_at_least
from tasks.protocol import IMAGE_EVALUATION, ProtocolFacts


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
)
