"""What timm says of an architecture or a pretrained tag, as data that travels between processes.

timm imports torch, so the catalogue asks `python -m backbones.describe` and keeps the answer; see `backbones.resolver`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from backbones.card import (
    BackboneCard,
    CardModel,
    CropMode,
    FactsCard,
    InputCard,
    Interpolation,
    KeyMapping,
    TimmWeights,
    Triple,
)


class Description(CardModel):
    """An architecture that timm knows; `tag` and where its weights are, if it was asked for or has a default one."""

    kind: Literal["found"] = "found"
    architecture: str
    tag: str | None = None
    hub_repository: str | None = None
    hub_filename: str = "model.safetensors"
    url: str | None = None
    size: int
    mean: Triple
    std: Triple
    crop: float
    crop_mode: CropMode
    interpolation: Interpolation
    classifier: tuple[str, ...] = ()
    """Names of the layers that `num_classes=0` leaves out."""
    parameters_millions: float
    """Without the classifier."""
    feature_dimension: int
    license: str | None = None
    paper: str | None = None
    paper_url: str | None = None

    def input_card(self) -> InputCard:
        """What the weights were made for."""
        return InputCard(
            size=self.size,
            mean=self.mean,
            std=self.std,
            crop=self.crop,
            crop_mode=self.crop_mode,
            interpolation=self.interpolation,
        )

    def head_keys(self) -> tuple[str, ...]:
        """Prefixes of the classifier's keys in a checkpoint of the whole model."""
        return tuple(f"{name}." for name in self.classifier)


class Unknown(CardModel):
    """timm has no such architecture, or not with that tag."""

    kind: Literal["unknown"] = "unknown"
    name: str
    suggestions: tuple[str, ...] = ()


Answer = Annotated[Description | Unknown, Field(discriminator="kind")]
ANSWER: TypeAdapter[Description | Unknown] = TypeAdapter(Answer)


def timm_card(description: Description) -> BackboneCard:
    """The card of a pretrained tag, named `timm:architecture.tag`. Only for a description that has a tag."""
    full_name = f"{description.architecture}.{description.tag}"
    return BackboneCard(
        name=f"timm:{full_name}",
        title=full_name,
        architecture=description.architecture,
        weights=TimmWeights(
            tag=full_name,
            hub_repository=description.hub_repository,
            hub_filename=description.hub_filename,
            url=description.url,
        ),
        keys=KeyMapping(drop=description.head_keys()),
        input=description.input_card(),
        facts=FactsCard(
            method=description.tag or "unknown",
            paper=description.paper,
            paper_url=description.paper_url,
            parameters_millions=description.parameters_millions,
            feature_dimension=description.feature_dimension,
            license=description.license,
        ),
    )
