"""The backbone card: everything that must be known of a backbone before its weights are touched.

A card is one TOML file; its name is its path below the cards folder without the ending (`paper/moco-v2`).
This module needs neither torch nor numpy, so the console can list every backbone at start-up.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Triple = tuple[float, float, float]
Scalar = str | int | float | bool
Pooling = Literal["avg", "cls", "cls+avg", "map", "default"]
Padding = Literal["torchvision", "same", "same-pool"]
"""`same`: TensorFlow's SAME for strided convolutions and the max-pool (haiku); `same-pool`: for the max-pool alone."""
Conversion = Literal["none", "byol-haiku", "simclr-tensorflow", "simclr-separius", "lightly-sequential"]
CropMode = Literal["center", "squash", "border"]
Interpolation = Literal["bicubic", "bilinear"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
"""A SHA-256 in hexadecimal, or as much of its beginning as was published."""

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


class CardModel(BaseModel):
    """Frozen, and strict about keys: a misspelt key is an error, never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


FileName = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]*$", max_length=200)]
"""A name that stays in its folder."""


class UrlWeights(CardModel):
    """A published file, fetched once into the weights folder and kept with its digest."""

    kind: Literal["url"] = "url"
    url: str = Field(pattern="^https?://")
    companions: tuple[str, ...] = ()
    """Further files that belong to the first: a TensorFlow checkpoint's data beside its index."""
    filename: FileName | None = None
    """Its name in the weights folder; without one, the URL's own name with a digest of the URL in it."""
    sha256: Digest | None = None
    manual: str | None = None
    """Why a plain download cannot work (login page) and what to do instead; then `url` is the page to open."""


class TimmWeights(CardModel):
    """The weights of a timm pretrained tag: `architecture.tag` on the model hub."""

    kind: Literal["timm"] = "timm"
    tag: FileName
    """`architecture.tag`."""
    hub_repository: str | None = Field(None, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)?$")
    """Where the hub keeps it, if not under `timm/` and the tag."""
    hub_filename: FileName = "model.safetensors"
    url: str | None = Field(None, pattern="^https?://")
    """The original file, for the tags that are not on the hub."""


class FileWeights(CardModel):
    """A checkpoint of the user's own."""

    kind: Literal["file"] = "file"
    path: str = Field(pattern="^[/~]")
    """Absolute, or from the home folder: a worker's own folder is none of the user's business."""


class ShippedWeights(CardModel):
    """A small file that comes with this package (the demo backbones)."""

    kind: Literal["shipped"] = "shipped"
    filename: FileName
    sha256: Digest | None = None


class RandomWeights(CardModel):
    """The architecture's own initialisation under a seed: the baseline that every pretraining must beat."""

    kind: Literal["random"] = "random"
    seed: int = 0


Weights = Annotated[
    UrlWeights | TimmWeights | FileWeights | ShippedWeights | RandomWeights, Field(discriminator="kind")
]


class KeyMapping(CardModel):
    """How a checkpoint's keys become the architecture's. Loading is strict afterwards (see `backbones.keymap`)."""

    container: str | None = None
    """Dotted path of the dictionary that holds the tensors, `state_dict` say; None when the file is that dictionary."""
    prefix: str = ""
    """Only keys that start with this are kept, and it is cut off."""
    drop: tuple[str, ...] = ()
    """After cutting the prefix: keys starting with one of these (a head, a projector) are left out by intention."""
    conversion: Conversion = "none"


class InputCard(CardModel):
    """What the backbone was trained to see. `mean` and `std` refer to pixels in [0, 1]."""

    size: int = Field(224, ge=8, le=2048)
    """Side in pixels of the square that it is given."""
    own_size: int | None = Field(None, ge=8, le=2048)
    """Side in the model's own transform, where that differs: DINOv2 is measured at 224, its positions are for 518."""
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    crop: float = Field(0.875, gt=0, le=1)
    """Share of the resized image that the model's own transform keeps (`own` preprocessing only)."""
    crop_mode: CropMode = "center"
    """How the model's own transform makes a square: cut the middle out, squash, or pad."""
    interpolation: Interpolation = "bicubic"


class FactsCard(CardModel):
    """What is published about the backbone; shown and filtered on, never used to compute a score."""

    method: str
    paper: str | None = None
    paper_url: str | None = None
    year: int | None = None
    pretraining_data: str | None = None
    epochs: int | None = None
    imagenet_top1: float | None = Field(None, ge=0, le=100)
    parameters_millions: float | None = Field(None, gt=0)
    feature_dimension: int | None = Field(None, gt=0)
    license: str | None = None
    note: str | None = None


class BackboneCard(CardModel):
    """One backbone. `name` is filled in from the card's place, so a file never repeats it."""

    name: str
    title: str
    architecture: str
    """A timm architecture, without tag; or `package.module:function` or `/path/file.py:function` that makes one."""
    code_sha256: Digest | None = None
    """Digest of the file of the user's code in `architecture`; the user has to have trusted it, another is refused."""
    architecture_arguments: dict[str, Scalar] = Field(default_factory=dict)
    padding: Padding = "torchvision"
    pooling: Pooling = "default"
    weights: Weights
    keys: KeyMapping = KeyMapping()
    input: InputCard = InputCard()
    facts: FactsCard
