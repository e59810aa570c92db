"""Dense protocols on the maps of a frozen backbone, with linear heads or without training: parameters and presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tasks.catalog.dense_parameters import without_maps
from tasks.catalog.protocol import Margin, ProtocolSpec, require_above_zero, require_at_least

LayerName = Literal["last", "last-4", "quarters"]
PatchDistance = Literal["cosine", "l2"]
PairReading = Literal["pck-image", "pck-keypoint", "pck-class"]
"""Mean over pairs, over all keypoints, or over classes of their keypoints."""


@dataclass(frozen=True)
class LinearSegmentationParameters:
    """Batch norm and a 1 x 1 convolution on the last layer's patches, trained on crops, tested in sliding windows."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    """`last-4` and `quarters` concatenate four blocks (of a pyramid: the last map of every stride)."""
    dropout: float = 0.1
    steps: int = 40_000
    batch_size: int = 16
    rate: float = 1e-3
    weight_decay: float = 1e-3
    """Weight decay of all parameters, as published."""
    warmup: int = 1_500
    """Number of warm-up steps."""
    decay: Literal["cosine", "polynomial"] = "cosine"
    shorter: int = 512
    """Length of the shorter side in pixels, multiplied by a random factor in training."""
    scales: tuple[float, float] = (0.5, 2.0)
    """Range of that factor."""
    crop: int = 512
    """Side of training crops and test windows in pixels."""
    most_of_one_class: float = 0.75
    """Fraction of one class above which a crop is drawn again, up to ten times."""
    flip: bool = True
    distortion: bool = True
    """Random brightness, contrast, saturation and hue."""
    hue: float = 0.5
    """Maximum shift of the hue, as a fraction of the colour circle."""
    stride: int = 341
    """Stride of test windows in pixels."""
    test_scales: tuple[float, ...] = (1.0,)
    """Factors of `shorter` over which probabilities are averaged, each with its mirror image if there are several."""

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, shorter=self.shorter, crop=self.crop, stride=self.stride)
        require_at_least(2, batch_size=self.batch_size)  # batch norm requires several images
        require_at_least(0, warmup=self.warmup)
        require_above_zero(
            rate=self.rate, scales=min(self.scales, default=0.0), test_scales=min(self.test_scales, default=0.0)
        )
        if len(self.scales) != 2 or self.scales[0] > self.scales[1]:
            raise ValueError(f"scales are the lowest and the highest factor, not {self.scales}")
        if not (0 <= self.dropout < 1 and 0 < self.most_of_one_class <= 1 and 0 <= self.hue <= 0.5):
            raise ValueError("dropout is below 1, most_of_one_class at most 1, and hue at most 0.5")


DINOV3_SEGMENTATION = LinearSegmentationParameters()
DINOV2_SEGMENTATION = LinearSegmentationParameters(dropout=0.0, weight_decay=1e-4, decay="polynomial", hue=0.1)
FAST_SEGMENTATION = LinearSegmentationParameters(steps=4_000, warmup=150)
SMALL_LINEAR_SEGMENTATION = LinearSegmentationParameters(
    layers="quarters",
    dropout=0.0,
    steps=150,
    rate=1e-2,
    warmup=10,
    shorter=64,
    scales=(1.0, 1.5),
    crop=64,
    distortion=False,
    stride=43,
)


@dataclass(frozen=True)
class DepthParameters:
    """A 1 x 1 convolution to depth bins on the maps of a frozen backbone."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    class_token: bool = False
    """Whether every position also has the block's class token."""
    norm: bool = True
    """Batch norm before the convolution."""
    upsampling: int = 1
    """Factor of bilinear enlargement of the maps before the convolution."""
    bins: int = 256
    nearest: float = 1e-3
    """Depth of the first bin; true depths up to it are unknown."""
    deepest: float = 10.0
    """Depth of the last bin; true depths from it on are unknown."""
    gradient: float = 0.0
    """Weight of the gradient loss relative to the scale-invariant one."""
    steps: int = 38_400
    batch_size: int = 16
    rate: float = 3e-4
    weight_decay: float = 1e-4
    """Weight decay of all parameters, as published."""
    beta2: float = 0.99
    warmup: int = 12_800
    """Number of warm-up steps."""
    schedule: Literal["dinov3", "dinov2"] = "dinov3"
    clip: float = 35.0
    """Maximum norm of the gradient."""
    border: Literal["nyu", "none"] = "nyu"
    """Box to which training images are cropped: `nyu` removes the white border of its images."""
    crop: tuple[int, int] = (416, 544)
    """Height and width of training crops in pixels."""
    rotation: float = 2.5
    """Maximum angle in degrees; every second image is rotated."""
    flip: bool = True
    colour: bool = True
    """Random gamma, brightness and colour of every second image."""
    box: Literal["eigen", "none"] = "eigen"
    """Evaluated part of test images."""

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, upsampling=self.upsampling, crop=min(self.crop, default=0))
        require_at_least(2, batch_size=self.batch_size, bins=self.bins)
        require_at_least(0, warmup=self.warmup)
        require_above_zero(rate=self.rate, nearest=self.nearest, clip=self.clip)
        if len(self.crop) != 2 or self.deepest <= self.nearest:
            raise ValueError("crop is a height and a width, and deepest is beyond nearest")
        if self.gradient < 0 or self.rotation < 0 or not 0 <= self.beta2 < 1:
            raise ValueError("gradient and rotation are at least 0, and beta2 is below 1")


DINOV3_DEPTH = DepthParameters()
DINOV2_DEPTH = DepthParameters(
    class_token=True,
    norm=False,
    upsampling=4,
    gradient=0.5,
    rate=5e-3,
    weight_decay=1e-2,
    beta2=0.999,
    schedule="dinov2",
)
SMALL_DEPTH = DepthParameters(
    layers="quarters",
    bins=64,
    deepest=15.0,
    steps=200,
    rate=1e-2,
    warmup=20,
    schedule="dinov2",
    border="none",
    crop=(64, 64),
    rotation=0.0,
    colour=False,
    box="none",
)

LINEAR_DENSE = (
    ProtocolSpec(
        name="linear-segmentation",
        version=1,
        family="linear-segmentation",
        presets={
            "default": FAST_SEGMENTATION,
            "published": DINOV3_SEGMENTATION,
            "dinov3": DINOV3_SEGMENTATION,
            "dinov2": DINOV2_SEGMENTATION,
            "dinov2-ms": replace(DINOV2_SEGMENTATION, layers="last-4", test_scales=(1.0, 1.32, 1.73)),
            "small": SMALL_LINEAR_SEGMENTATION,
        },
        module="tasks.protocols.linear_segmentation",
        summary="linear head on the frozen last layer, crops and sliding windows as DINOv2 and DINOv3, mean IoU",
        inputs="images",
        needs=("masks",),
        rescore="tasks.metrics.rescore:pixels",
        unsuitable=without_maps,
        trains=True,
    ),
    ProtocolSpec(
        name="depth",
        version=1,
        family="depth",
        presets={
            "default": replace(DINOV3_DEPTH, steps=3_840, warmup=1_280),
            "published": DINOV3_DEPTH,
            "dinov3": DINOV3_DEPTH,
            "dinov2": DINOV2_DEPTH,
            "dinov2-lin4": replace(DINOV2_DEPTH, layers="quarters"),
            "small": SMALL_DEPTH,
        },
        module="tasks.protocols.depth",
        summary="linear head to bins of depth on the frozen backbone as DINOv2 and DINOv3, RMSE",
        inputs="images",
        needs=("depth",),
        rescore="tasks.metrics.dense:depth_rescorer",
        unsuitable=without_maps,
        trains=True,
        margins={
            **{name: Margin(0.01, "metres") for name in ("rmse",)},
            **{name: Margin(0.005, "shares") for name in ("abs-rel", "log10")},
        },
    ),
)


@dataclass(frozen=True)
class CorrespondenceParameters:
    """The position of another image whose patch feature is most similar to that of a keypoint."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    final_norm: bool = True
    """Whether features are taken after the network's final norm."""
    canvas: Literal["padded", "squashed"] = "padded"
    """Conversion of images to squares: padding with white on the right and below, or scaling both sides to the same
    length.
    """
    size: int = 800
    """Side of the square in pixels, rounded up to a multiple of the patch size."""
    positions: Literal["cells", "pixels"] = "cells"
    """Candidates in the other image: its patches, or its pixels, to which features are enlarged (bilinear)."""
    threshold: float = 0.1
    """Largest error of a correct keypoint, as a fraction of the longer side of the object's box."""
    pairs_per_class: int = 0
    """Pairs drawn of every class; 0 for all."""
    reading: PairReading = "pck-class"
    """The ranked score; the others are stored too."""

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size)
        require_at_least(0, pairs_per_class=self.pairs_per_class)
        require_above_zero(threshold=self.threshold)


CORRESPONDENCE = ProtocolSpec(
    name="correspondence",
    version=1,
    family="correspondence",
    presets={
        "default": CorrespondenceParameters(),
        "published": CorrespondenceParameters(normalisation="imagenet", final_norm=False, pairs_per_class=200),
        "probe3d": CorrespondenceParameters(normalisation="imagenet", final_norm=False, pairs_per_class=200),
        "dift": CorrespondenceParameters(canvas="squashed", size=768, positions="pixels", reading="pck-image"),
        "small": CorrespondenceParameters(layers="quarters", size=64, positions="pixels", reading="pck-image"),
    },
    module="tasks.protocols.correspondence",
    summary="training-free correspondence: keypoints found by the most similar patch, PCK at 0.1 of the box (SPair)",
    inputs="images",
    needs=("keypoint-pairs",),
    separate_test=False,
    rescore="tasks.metrics.dense:correspondence_rescorer",
    unsuitable=without_maps,
)


@dataclass(frozen=True)
class KnnSegmentationParameters:
    """A memory of labelled patches, and the mean label of each test patch's nearest ones."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    size: int = 512
    """Side of the square images in pixels, rounded up to a multiple of the patch size."""
    memory: int = 100_000
    """Maximum number of stored training patches."""
    neighbours: int = 30
    temperature: float = 0.02

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size, memory=self.memory, neighbours=self.neighbours)
        require_above_zero(temperature=self.temperature)


KNN_SEGMENTATION = ProtocolSpec(
    name="knn-segmentation",
    version=1,
    family="knn-segmentation",
    presets={
        "default": KnnSegmentationParameters(),
        "hummingbird": KnnSegmentationParameters(size=504, memory=10_240_000),
        "small": KnnSegmentationParameters(layers="quarters", size=64, memory=20_000),
    },
    module="tasks.protocols.knn_segmentation",
    summary="training-free segmentation: labels of the nearest training patches (Hummingbird), mean IoU",
    inputs="images",
    needs=("masks",),
    rescore="tasks.metrics.rescore:pixels",
    unsuitable=without_maps,
)


@dataclass(frozen=True)
class KnnSegmentationCapiParameters:
    """A memory of standardised patches, and a vote of the nearest ones at every pixel."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    size: int = 224
    """Side of the square images in pixels, rounded up to a multiple of the patch size."""
    memory: int = 100_000
    """Maximum number of stored training patches."""
    neighbours: tuple[int, ...] = (1, 3, 10, 30)
    distances: tuple[PatchDistance, ...] = ("cosine", "l2")
    """Distances, combined with `neighbours`, evaluated on validation images."""
    validation_share: float = 0.1
    """Fraction of the training images used for validation."""

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size, memory=self.memory, neighbours=min(self.neighbours, default=0))
        require_above_zero(validation_share=self.validation_share)
        if self.validation_share >= 1:
            raise ValueError(f"validation_share is a share of the training images, not {self.validation_share}")
        if not self.distances or set(self.distances) - {"cosine", "l2"}:
            raise ValueError(f"distances are cosine and l2, not {', '.join(self.distances) or 'none'}")


KNN_SEGMENTATION_CAPI = ProtocolSpec(
    name="knn-segmentation-capi",
    version=1,
    family="knn-segmentation-capi",
    presets={
        "default": KnnSegmentationCapiParameters(),
        "published": KnnSegmentationCapiParameters(normalisation="imagenet", memory=8_000_000),
        "small": KnnSegmentationCapiParameters(layers="quarters", size=64, memory=20_000),
    },
    module="tasks.protocols.knn_segmentation_capi",
    summary="training-free segmentation: votes of the nearest training patches at every pixel (CAPI), mean IoU",
    inputs="images",
    needs=("masks",),
    rescore="tasks.metrics.rescore:pixels",
    unsuitable=without_maps,
)

TRAINING_FREE = (KNN_SEGMENTATION, KNN_SEGMENTATION_CAPI, CORRESPONDENCE)
