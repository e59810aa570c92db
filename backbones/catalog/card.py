"""The backbone card: the facts about a backbone that are needed before its weights are read.

A card is one TOML file; its name is its path below the cards folder without the suffix (`paper/moco-v2`).
This module needs neither torch nor numpy, so the console can list every backbone at start-up.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field, PrivateAttr, field_validator

from backbones.io.card_files import CardModel
from backbones.io.urls import redacted

Triple = tuple[float, float, float]
Scalar = str | int | float | bool
ArchitectureValue = Scalar | tuple[int, ...]
"""An argument of an architecture, e.g. `depths=(2, 2, 6, 2)`."""
Pooling = Literal["avg", "cls", "cls+avg", "map", "default"]
Padding = Literal["torchvision", "same", "same-pool"]
"""`same`: TensorFlow's SAME for strided convolutions and the max-pool (haiku); `same-pool`: for the max-pool only."""
Conversion = Literal[
    "none",
    "byol-haiku",
    "simclr-tensorflow",
    "simclr-separius",
    "lightly-sequential",
    "timm",
    "dinov2",
    "dinov3",
    "swin",
    "convnext",
    "clip",
    "aimv2",
    "detectron2",
    "flax-vit",
    "mmpretrain-vit",
    "mmpretrain-swin",
    "hf-vit",
    "hf-beit",
    "hf-beit-masked",
    "hf-swin",
    "hf-hiera",
    "hf-dinov3",
    "hf-dinov3-convnext",
    "hf-convnext",
    "hf-clip",
    "hf-aimv2",
    "hf-resnet",
    "torchvision-vit",
    "torchvision-convnext",
    "torchvision-swin",
    "torchvision-efficientnet",
    "torchvision-mobilenet-v2",
    "torchvision-mobilenet-v3",
    "torchvision-regnet",
]
"""Conversion from another project's names and layouts to timm's (`backbones.checkpoints.layouts`); `timm`: by the
filter for published files in the architecture's module.
"""
CropMode = Literal["center", "squash", "border"]
Interpolation = Literal["bicubic", "bilinear"]
Precision = Literal["float32", "bfloat16", "float16"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
"""A SHA-256 in hexadecimal, or its published prefix."""

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


FileName = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]*$", max_length=200)]
"""A relative file name that does not leave its folder."""


class PublicUrls(CardModel):
    """Base of cards whose addresses may contain a login or a token: these are kept in memory for fetching, and never
    written to a file or message.
    """

    _given: dict[str, str] = PrivateAttr(default_factory=dict)
    """Addresses as given, by their public form."""

    def model_post_init(self, _: object) -> None:
        """Replace the addresses by their public form."""
        for name in ("url", "companions"):
            value = self.__dict__.get(name)
            if isinstance(value, str):
                self.__dict__[name] = self._public(value)
            elif value:
                self.__dict__[name] = tuple(map(self._public, value))

    def _public(self, url: str) -> str:
        public = redacted(url)
        if public != url:
            self._given[public] = url
        return public

    def address(self, url: str) -> str:
        """Address to fetch from; the public one if the original was not read by this process."""
        return self._given.get(url, url)


class UrlWeights(PublicUrls):
    """A published file, fetched once into the weights folder and stored with its digest."""

    kind: Literal["url"] = "url"
    url: str = Field(pattern="^https?://")
    companions: tuple[str, ...] = ()
    """Further files of the same checkpoint, e.g. a TensorFlow checkpoint's data files."""
    filename: FileName | None = None
    """File name in the weights folder; without one, the URL's own name with a digest of the URL."""
    sha256: Digest | None = None
    manual: str | None = None
    """Reason why a plain download is impossible (login page), and the alternative; then `url` is the page to open."""


class TimmWeights(PublicUrls):
    """The weights of a timm pretrained tag: `architecture.tag` on the model hub."""

    kind: Literal["timm"] = "timm"
    tag: FileName
    """`architecture.tag`."""
    hub_repository: str | None = Field(None, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)?$")
    """Repository on the hub, if not `timm/` and the tag."""
    hub_filename: FileName = "model.safetensors"
    url: str | None = Field(None, pattern="^https?://")
    """Original file, for tags that are not on the hub."""


class FileWeights(CardModel):
    """A checkpoint of the user's own."""

    kind: Literal["file"] = "file"
    path: str = Field(pattern="^[/~]")
    """Absolute, or relative to the home folder, because workers run in another folder."""


class HubFile(CardModel):
    """A file of a model on the hub, by its path in the repository."""

    name: str = Field(pattern=r"^[^./\\\x00-\x1f][^\\\x00-\x1f]*$", max_length=400)
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        if ".." in name.split("/"):
            raise ValueError("a path that leaves its folder")
        return name


class HubWeights(CardModel):
    """Weights of a model on the hub at one commit. The first file lists the others, if there are shards."""

    kind: Literal["hub"] = "hub"
    repository: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    revision: str = Field(pattern="^[0-9a-f]{40}$")
    """The commit."""
    files: tuple[HubFile, ...] = Field(min_length=1)


class ShippedWeights(CardModel):
    """A small file shipped with this package (the demo backbones)."""

    kind: Literal["shipped"] = "shipped"
    filename: FileName
    sha256: Digest | None = None


class RandomWeights(CardModel):
    """The architecture's own initialisation under a seed: the baseline for every pretraining."""

    kind: Literal["random"] = "random"
    seed: int = 0


Weights = Annotated[
    UrlWeights | TimmWeights | HubWeights | FileWeights | ShippedWeights | RandomWeights, Field(discriminator="kind")
]


class KeyMapping(CardModel):
    """Mapping of a checkpoint's keys to the architecture's; loading is strict afterwards
    (`backbones.checkpoints.key_mapping`)."""

    container: str | None = None
    """Dotted path of the dictionary that contains the tensors, e.g. `state_dict`; None when the file is that
    dictionary.
    """
    prefix: str = ""
    """Only keys with this prefix are used; it is removed."""
    drop: tuple[str, ...] = ()
    """Prefixes, after removing `prefix`, of keys that are dropped intentionally (a head, a projector)."""
    conversion: Conversion = "none"


class InputCard(CardModel):
    """Preprocessing that the backbone was trained with. `mean` and `std` refer to pixels in [0, 1]."""

    size: int = Field(224, ge=8, le=2048)
    """Side of the square input in pixels."""
    own_size: int | None = Field(None, ge=8, le=2048)
    """Side in pixels in the model's own transform, if that differs: DINOv2 is evaluated at 224, but its position
    embedding is for 518.
    """
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    crop: float = Field(0.875, gt=0, le=1)
    """Fraction of the resized image that the model's own transform crops (`own` preprocessing only)."""
    crop_mode: CropMode = "center"
    """Method by which the model's own transform produces a square: centre crop, squash, or pad."""
    interpolation: Interpolation = "bicubic"


class FactsCard(CardModel):
    """Published facts about the backbone; shown and filtered on, never used to compute a score."""

    method: str
    paper: str | None = None
    paper_url: str | None = None
    year: int | None = None
    pretraining_data: str | None = None
    seen_datasets: tuple[str, ...] = ()
    """Names of dataset cards that the pre-training used or was curated around, as far as published."""
    epochs: int | None = None
    imagenet_top1: float | None = Field(None, ge=0, le=100)
    parameters_millions: float | None = Field(None, gt=0)
    feature_dimension: int | None = Field(None, gt=0)
    license: str | None = None
    note: str | None = None


class BackboneCard(CardModel):
    """One backbone. `name` is derived from the card's path, so a file never repeats it."""

    name: str
    title: str
    architecture: str
    """A timm architecture, without tag; or `package.module:function` or `/path/file.py:function` that returns a
    network.
    """
    code_sha256: Digest | None = None
    """Digest of the file of the user's code in `architecture`, which the user must have trusted; other content is
    refused.
    """
    architecture_arguments: dict[str, ArchitectureValue] = Field(default_factory=dict)
    padding: Padding = "torchvision"
    pooling: Pooling = "default"
    weights: Weights
    keys: KeyMapping = KeyMapping()
    input: InputCard = InputCard()
    facts: FactsCard


PreprocessingName = Literal["paper", "own", "squash", "resize-256", "whole"]
ResizeMode = Literal["shorter", "squash", "border"]
"""`shorter`: the shorter side becomes `resize`; `squash`: both sides; `border`: the longer side, and borders are added.
"""

_MODES: dict[CropMode, ResizeMode] = {"center": "shorter", "squash": "squash", "border": "border"}
SQUASH_FACTOR = 1.15
RESIZE_256 = 256 / 224


@dataclass(frozen=True)
class PreprocessingSpec:
    """Resize to `resize` pixels by `mode`, crop the central `crop` x `crop`, scale to [0, 1], normalise."""

    name: PreprocessingName
    resize: int
    crop: int
    mode: ResizeMode
    interpolation: Interpolation
    mean: Triple
    std: Triple


def preprocessing_for(card: BackboneCard, name: str) -> PreprocessingSpec:
    """Preprocessing of this name for the backbone. Raises ValueError for any other name.

    `paper`: shorter side bicubic to the input size, centre crop (Ericsson et al., appendix A.2). `own`: the
    transform published with the weights. `squash`: the published few-shot code's 1.15 times the input size in both
    directions, bilinear, centre crop (`few_shot.py` in ssl-transfer, which differs from the paper's A.3).
    `resize-256`: shorter side bicubic to 256 / 224 of the input size, centre crop, as DINO and DINOv2 read images
    for their published k-NN figures. `whole`: longer side bicubic to the input size, padded with the mean colour,
    so that nothing is cropped.
    """
    size, mean, std = card.input.size, card.input.mean, card.input.std
    if name == "paper":
        return PreprocessingSpec("paper", size, size, "shorter", "bicubic", mean, std)
    if name == "squash":
        return PreprocessingSpec("squash", int(size * SQUASH_FACTOR), size, "squash", "bilinear", mean, std)
    if name == "resize-256":
        resize = round(size * RESIZE_256)
        return PreprocessingSpec("resize-256", resize, size, "shorter", "bicubic", mean, std)
    if name == "whole":
        return PreprocessingSpec("whole", size, size, "border", "bicubic", mean, std)
    if name == "own":
        own = card.input.own_size or size
        resize = math.floor(own / card.input.crop)
        return PreprocessingSpec("own", resize, own, _MODES[card.input.crop_mode], card.input.interpolation, mean, std)
    raise ValueError(f"unknown preprocessing {name!r}: expected one of {', '.join(get_args(PreprocessingName))}")


ENCODING_VERSION = 1
"""Incremented when the code that loads or runs backbones changes the features."""


def identity(card: BackboneCard, weights_digest: str, spec: PreprocessingSpec) -> dict[str, object]:
    """Identity as plain JSON values. Two backbones with equal identities give equal features, independent of their
    names.

    Excluded: names, titles and facts; the path of the file; the preprocessing's name, so that two equivalent
    preprocessings share their features; and memory layout, folded batch norms and the library of matrix products,
    which change features by rounding only.
    """
    pixels = {key: value for key, value in asdict(spec).items() if key != "name"}
    code = {} if card.code_sha256 is None else {"code": card.code_sha256}
    return {
        "version": ENCODING_VERSION,
        "architecture": card.architecture.rpartition("/")[2],
        **code,
        "arguments": dict(sorted(card.architecture_arguments.items())),
        "padding": card.padding,
        "pooling": card.pooling,
        "keys": card.keys.model_dump(mode="json"),
        "weights": weights_digest,
        "preprocessing": {key: list(value) if isinstance(value, tuple) else value for key, value in pixels.items()},
    }
