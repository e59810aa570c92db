"""Protocols that describe backbones, by single images or by features: parameters and presets. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from backbones.catalog.card import PreprocessingName
from tasks.catalog.dense_parameters import without_maps
from tasks.catalog.protocol import Margin, ProtocolSpec, require_above_zero, require_at_least


@dataclass(frozen=True)
class AttentionParameters:
    """Occlusion saliency (paper section 4.9 and appendix A.9)."""

    images: int = 50
    """Maximum number of images, evenly spaced over the test images."""
    window: int = 10
    """Side of the occluded square, in pixels."""
    stride: int = 5
    """Distance of neighbouring windows, in pixels; 1 in the paper."""
    compared: int = 1
    """Number of images for which the map at stride 1 is computed as well, to measure the agreement with it."""

    def __post_init__(self) -> None:
        require_at_least(1, images=self.images, window=self.window, stride=self.stride)
        require_at_least(0, compared=self.compared)
        require_at_least(self.stride, window=self.window)


@dataclass(frozen=True)
class InversionParameters:
    """Reconstruction from the last feature map by a deep image prior (paper section 4.8 and appendix A.8)."""

    images: int = 4
    """Maximum number of images, evenly spaced over the test images; for 1, the first."""
    steps: int = 3000
    rate: float = 0.001
    """Learning rate of Adam."""
    channels: tuple[int, ...] = (16, 32, 64, 128, 128, 128)
    """Width of the generating network, scale by scale."""
    kernels: tuple[int, ...] = (7, 7, 5, 5, 3, 3)
    """Kernel size of its convolutions, scale by scale."""
    normalisation: Literal["card", "none"] = "card"
    """Normalisation of pixels between 0 and 1 for the backbone: its own mean and deviation, or none."""

    def __post_init__(self) -> None:
        require_at_least(1, images=self.images, steps=self.steps, channels=min(self.channels, default=0))
        require_above_zero(rate=self.rate)
        if len(self.kernels) != len(self.channels) or any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels must be odd, one for each of the {len(self.channels)} scales: {self.kernels}")


@dataclass(frozen=True)
class LabelFreeParameters:
    """Scores of the spectrum of frozen features."""

    preprocessing: PreprocessingName = "paper"
    images: int = 25_600
    """Maximum number of images, evenly spaced over the training images (RankMe's number)."""

    def __post_init__(self) -> None:
        require_at_least(2, images=self.images)


@dataclass(frozen=True)
class LidarParameters:
    """Discriminant analysis of images by their random views, without labels."""

    preprocessing: PreprocessingName = "paper"
    images: int = 1_000
    """Maximum number of images, evenly spaced over the training images."""
    views: int = 50
    """Number of views per image."""
    smallest: float = 0.08
    """Smallest fraction of the area that a view shows."""
    delta: float = 1e-4
    """Variance added to that of the views in every direction."""

    def __post_init__(self) -> None:
        require_at_least(2, images=self.images, views=self.views)
        require_above_zero(smallest=self.smallest, delta=self.delta)
        if self.smallest > 1:
            raise ValueError(f"smallest is a share of the image's area, not {self.smallest}")


@dataclass(frozen=True)
class TransferabilityParameters:
    """Scores that predict transfer from features and labels, without training."""

    preprocessing: PreprocessingName = "paper"
    pairwise_images: int = 2_000
    """Maximum number of images for PARC and NLEEP, whose cost is quadratic; PARC was published with up to 15,000."""
    components: int = 5
    """Number of components of NLEEP's mixture per class."""

    def __post_init__(self) -> None:
        require_at_least(2, pairwise_images=self.pairwise_images)
        require_at_least(1, components=self.components)


@dataclass(frozen=True)
class TransferabilitySampleParameters:
    """Transferability scores and nearest neighbours on a sample of the images; no others are encoded."""

    preprocessing: PreprocessingName = "paper"
    images: int = 2_000
    """Maximum number of training and validation images, drawn evenly over classes."""
    test_images: int = 1_000
    """Maximum number of test images, drawn at random."""
    components: int = 5
    """Number of components of NLEEP's mixture per class."""
    neighbours: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        require_at_least(2, images=self.images, test_images=self.test_images)
        require_at_least(1, components=self.components, neighbours=self.neighbours)
        require_above_zero(temperature=self.temperature)


@dataclass(frozen=True)
class PatchPcaParameters:
    """Principal components of patch features, as colours."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: Literal["last", "last-4", "quarters"] = "last"
    size: int = 448
    """Side of the square images in pixels, rounded up to a multiple of the patch size."""
    images: int = 256
    """Maximum number of images for the fit, evenly spaced over the test images."""
    shown: int = 6
    """Number of images whose components are rendered, evenly spaced over those of the fit."""

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size, images=self.images, shown=self.shown)


PAPER_INVERSION = InversionParameters(images=1)

ANALYSES = (
    ProtocolSpec(
        name="attention",
        version=1,
        family="attention",
        presets={
            "default": AttentionParameters(),
            "paper": AttentionParameters(stride=1, compared=0),
            "small": AttentionParameters(images=8, stride=6, window=12, compared=0),
        },
        module="tasks.protocols.attention",
        summary="attentive diffusion: how far over the image an occlusion changes the features",
        inputs="images",
        multi_label=True,
        separate_test=False,
        rescore="tasks.metrics.rescore:diffusion",
        descriptive=True,
    ),
    ProtocolSpec(
        name="inversion",
        version=1,
        family="inversion",
        presets={
            "default": InversionParameters(),
            "paper": PAPER_INVERSION,
            "published": replace(PAPER_INVERSION, steps=1000, normalisation="none"),
            "small": InversionParameters(steps=50, rate=0.02, channels=(8, 16, 32), kernels=(5, 3, 3)),
        },
        module="tasks.protocols.inversion",
        summary="deep image prior: an image reconstructed from the last feature map, 3000 steps (paper; code: 1000)",
        inputs="images",
        multi_label=True,
        separate_test=False,
        rescore="tasks.metrics.rescore:reconstructions",
        descriptive=True,
        margins={
            "mse": Margin(0.001, "of squared error"),
            "lpips-alex": Margin(0.01, "of distance"),
            "lpips-vgg": Margin(0.01, "of distance"),
        },
    ),
)

PATCH_PCA = ProtocolSpec(
    name="patch-pca",
    version=1,
    family="patch-pca",
    presets={
        "default": PatchPcaParameters(),
        "published": PatchPcaParameters(normalisation="imagenet", size=224, images=1024),
        "published-448": PatchPcaParameters(normalisation="imagenet", images=1024),
        "small": PatchPcaParameters(layers="quarters", size=64, images=60, shown=4),
    },
    module="tasks.protocols.patch_pca",
    summary="principal components of patch features as colours, of all images together and of each (CAPI)",
    inputs="images",
    multi_label=True,
    separate_test=False,
    rescore="tasks.metrics.dense:patch_pca_rescorer",
    descriptive=True,
    unsuitable=without_maps,
)

SCORES_OF_FEATURES = (
    ProtocolSpec(
        name="label-free",
        version=1,
        family="label-free",
        presets={
            "default": LabelFreeParameters(),
            "published": LabelFreeParameters(preprocessing="resize-256"),
        },
        module="tasks.protocols.label_free",
        summary="RankMe, effective rank and alpha-ReQ of frozen features, without labels",
        inputs="bank",
        multi_label=True,
        rescore="tasks.metrics.rescore:jackknifed",
        descriptive=True,
        margins={
            "rankme": Margin(1.0, "of rank"),
            "effective-rank": Margin(1.0, "of rank"),
            "alpha-req": Margin(0.05, "of exponent"),
        },
    ),
    ProtocolSpec(
        name="lidar",
        version=1,
        family="lidar",
        presets={
            "default": LidarParameters(),
            "small": LidarParameters(images=200, views=10),
        },
        module="tasks.protocols.lidar",
        summary="LiDAR: rank of images separated by random views, without labels; encodes 1,000 images x 50 views",
        inputs="images",
        multi_label=True,
        separate_test=False,
        rescore="tasks.metrics.rescore:jackknifed",
        descriptive=True,
        margins={"lidar": Margin(1.0, "of rank")},
    ),
    ProtocolSpec(
        name="transferability",
        version=1,
        family="transferability",
        presets={
            "default": TransferabilityParameters(),
            "published": TransferabilityParameters(preprocessing="resize-256", pairwise_images=15_000),
        },
        module="tasks.protocols.transferability",
        summary="LogME, H-score, NLEEP and PARC: transfer predicted from features and labels, without training",
        inputs="bank",
        rescore="tasks.metrics.rescore:jackknifed",
        descriptive=True,
        margins={
            "logme": Margin(0.01, "of log evidence per image"),
            "h-score": Margin(0.05, "of the trace"),
            "h-score-regularised": Margin(0.05, "of the trace"),
            "nleep": Margin(0.05, "of log likelihood"),
        },
    ),
    ProtocolSpec(
        name="transferability-sample",
        version=1,
        family="transferability-sample",
        presets={
            "default": TransferabilitySampleParameters(),
            "small": TransferabilitySampleParameters(images=500, test_images=250),
        },
        module="tasks.protocols.transferability_sample",
        summary="20 nearest neighbours, LogME, H-score, NLEEP and PARC on 2,000 training and 1,000 test images",
        inputs="bank",
        sample="tasks.evaluation.splits:sampled",
        rescore="tasks.metrics.rescore:classification",
        descriptive=True,
    ),
)
