"""Segmentation, normals and detection with trained decoders: parameters and presets. Needs neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import FeatureMapInfo
from tasks.catalog.protocol import Margin, Parameters, ProtocolSpec, require_above_zero, require_at_least


@dataclass(frozen=True)
class DenseParameters:
    """Images, optimiser and schedule."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    """Pixel mean and deviation: the backbone's own, or ImageNet's for all, as in the published code."""
    steps: int = 150_000
    batch_size: int = 4
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    """Weight decay, except of biases and norms."""
    power: float = 0.9
    """Exponent of the learning rate's decay (1 - step / steps)."""
    sizes: tuple[int, ...] = (300, 375, 450, 525, 600)
    """Lengths of the shorter side in training; one is drawn for each batch."""
    longest: int = 1000
    test_sizes: tuple[int, ...] = (300, 375, 450, 525, 600)
    """Lengths of the shorter side over which probabilities are averaged."""
    flip: bool = True
    label_stride: int = 4
    """Stride of the target's pixels that enter the loss."""
    channels: int = 512
    """Width of the decoder."""

    def __post_init__(self) -> None:
        require_at_least(
            1,
            steps=self.steps,
            sizes=min(self.sizes, default=0),
            test_sizes=min(self.test_sizes, default=0),
            longest=self.longest,
            label_stride=self.label_stride,
            channels=self.channels,
        )
        require_at_least(2, batch_size=self.batch_size)  # batch norm requires several images
        require_above_zero(rate=self.rate)


def without_maps(card: BackboneCard, anatomy: FeatureMapInfo, _parameters: Parameters) -> str | None:
    """Reason why a dense protocol cannot measure a backbone; None if it can."""
    if anatomy.problem is not None:
        return anatomy.problem
    if not anatomy.any_size:
        return (
            f"{card.architecture} accepts images of its own size only ({card.input.size} pixels), and a dense protocol "
            "uses images of many sizes and shapes"
        )
    return None


@dataclass(frozen=True)
class SegmentationParameters(DenseParameters):
    """A decoder that predicts a class for every pixel (paper section 4.5, appendix A.6)."""

    decoder: Literal["upernet", "linear"] = "upernet"
    frozen: bool = False
    """Whether only the decoder is trained."""


LINEAR = SegmentationParameters(
    decoder="linear",
    frozen=True,
    steps=40_000,
    batch_size=16,
    optimiser="adamw",
    rate=1e-3,
    power=1.0,
)
SMALL_SEGMENTATION = SegmentationParameters(
    decoder="linear",
    frozen=True,
    steps=120,
    batch_size=16,
    optimiser="adamw",
    rate=1e-2,
    sizes=(64,),
    test_sizes=(64,),
    label_stride=2,
)

SEGMENTATION_PROTOCOLS = (
    ProtocolSpec(
        name="segmentation",
        version=1,
        family="segmentation",
        presets={
            "default": SegmentationParameters(),
            "paper": SegmentationParameters(normalisation="imagenet"),
            "linear": LINEAR,
            "small": SMALL_SEGMENTATION,
        },
        module="tasks.protocols.segmentation",
        summary="UPerNet on the whole backbone, 150k steps, mean IoU over five scales",
        inputs="images",
        needs=("masks",),
        rescore="tasks.metrics.rescore:pixels",
        unsuitable=without_maps,
        trains=True,
    ),
)


@dataclass(frozen=True)
class NormalsParameters(DenseParameters):
    """A decoder that predicts a direction for every pixel, on a frozen backbone (paper section 4.5, appendix A.5)."""

    steps: int = 13_500
    batch_size: int = 2
    test_sizes: tuple[int, ...] = (450,)
    flip: bool = False
    label_stride: int = 8
    answer: Literal["codebook", "direct"] = "codebook"
    """`codebook`: a class among 40 directions, and the mean over them; `direct`: the vector itself."""
    directions: int = 40
    """Size of the codebook."""
    decoder: Literal["ppm", "linear"] = "ppm"
    frozen: bool = True
    """Whether only the decoder is trained."""


DIRECT = NormalsParameters(
    answer="direct", decoder="linear", optimiser="adamw", rate=1e-3, batch_size=8, label_stride=4
)
SMALL_NORMALS = NormalsParameters(
    answer="direct",
    decoder="linear",
    steps=120,
    batch_size=16,
    optimiser="adamw",
    rate=1e-2,
    sizes=(64,),
    test_sizes=(64,),
    label_stride=2,
)

NORMALS_PROTOCOLS = (
    ProtocolSpec(
        name="normals",
        version=1,
        family="normals",
        presets={
            "default": NormalsParameters(),
            "paper": NormalsParameters(normalisation="imagenet"),
            "direct": DIRECT,
            "small": SMALL_NORMALS,
        },
        module="tasks.protocols.normals",
        summary="pyramid pooling on the frozen dilated backbone, 40 directions, angles in degrees",
        inputs="images",
        needs=("normals",),
        rescore="tasks.metrics.rescore:angles",
        unsuitable=without_maps,
        trains=True,
        margins={name: Margin(0.5, "degrees") for name in ("mean-angle", "median-angle")},
    ),
)


@dataclass(frozen=True)
class DetectionParameters:
    """Faster R-CNN with a feature pyramid (paper appendix A.4); the defaults are the paper's."""

    frozen: bool = True
    """Whether everything before the backbone's last stage (ResNet's layer4, a transformer's last quarter) is frozen."""
    iterations: int = 144_000
    batch: int = 2
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.0025
    weight_decay: float = 1e-4
    warmup: int = 100
    """Steps over which the learning rate increases linearly from a thousandth."""
    drops: tuple[int, ...] = (96_000, 128_000)
    """Steps at which the learning rate is divided by ten."""
    short_sides: tuple[int, ...] = tuple(range(480, 801, 32))
    """Lengths of the shorter side of training images, in pixels."""
    test_side: int = 800
    longest_side: int = 1333
    anchor: float = 8.0
    """Side of a level's anchors, as a multiple of the stride."""
    width: int = 256
    """Number of channels of the pyramid."""
    head: int = 1024
    """Number of units of the box head's layers."""
    proposals: int = 1000
    """Number of regions kept from the proposal network, per image."""
    sampled: int = 512
    """Number of regions for training the box head, per image."""
    averaging: Literal["11-point", "area"] = "11-point"

    def __post_init__(self) -> None:
        require_at_least(1, iterations=self.iterations, batch=self.batch, test_side=self.test_side, width=self.width)
        require_at_least(1, head=self.head, proposals=self.proposals, sampled=self.sampled)
        require_at_least(0, warmup=self.warmup)
        require_at_least(16, short_sides=min(self.short_sides, default=0))
        require_at_least(max(*self.short_sides, self.test_side), longest_side=self.longest_side)
        require_above_zero(rate=self.rate, anchor=self.anchor)


SMALL_DETECTION = DetectionParameters(
    iterations=60,
    batch=8,
    optimiser="adamw",
    rate=2e-3,
    warmup=5,
    drops=(50,),
    short_sides=(96,),
    test_side=96,
    longest_side=160,
    anchor=4.0,
    width=48,
    head=128,
    proposals=50,
    sampled=32,
)
"""Preset for machines without a GPU: seconds on small scenes."""


def unsuitable(card: BackboneCard, anatomy: FeatureMapInfo, parameters: Parameters) -> str | None:
    """Reason why a detector cannot be built on the backbone; None if it can."""
    del parameters
    if anatomy.problem is not None:
        return anatomy.problem
    if not anatomy.any_size:
        side = card.input.size
        return f"{card.architecture} accepts images of {side} x {side} pixels only, and detection uses whole images"
    strides = [one.stride for one in anatomy.maps]
    if len(strides) < 2:
        return f"{card.architecture} has a single feature map, and a feature pyramid needs several"
    if not anatomy.plain and any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        return f"the feature maps of {card.architecture} have the strides {strides}, and a pyramid needs 4, 8, 16, ..."
    return None


def _detection(name: str, summary: str, *, frozen: bool) -> ProtocolSpec:
    whole = DetectionParameters(frozen=frozen)
    return ProtocolSpec(
        name=name,
        version=1,
        family="detection",
        presets={"default": whole, "paper": whole, "small": replace(SMALL_DETECTION, frozen=frozen)},
        module="tasks.protocols.detection",
        summary=summary,
        inputs="images",
        needs=("boxes",),
        rescore="tasks.metrics.rescore:detections",
        unsuitable=unsuitable,
        trains=True,
    )


DETECTION = (
    _detection(
        "detection-frozen", "Faster R-CNN with a feature pyramid; the last stage and the detector train", frozen=True
    ),
    _detection("detection-finetune", "Faster R-CNN with a feature pyramid; the whole backbone trains", frozen=False),
)
