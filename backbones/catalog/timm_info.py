"""timm's descriptions of architectures and pretrained tags, as data that is passed between processes.

timm imports torch, so the catalogue runs `python -m backbones.catalog.timm_info_main` and caches the answer.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from backbones.catalog.card import (
    BackboneCard,
    CropMode,
    FactsCard,
    InputCard,
    Interpolation,
    KeyMapping,
    TimmWeights,
    Triple,
)
from backbones.io.card_files import CardModel, MalformedName, UnknownName
from backbones.io.files import write_if_possible
from backbones.io.subprocess_query import last_error_line, run_module


class Description(CardModel):
    """An architecture of timm; `tag` and the location of its weights, if one was given or it has a default."""

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
    """Names of the layers that `num_classes=0` omits."""
    parameters_millions: float
    """Without the classifier, in millions."""
    feature_dimension: int
    license: str | None = None
    paper: str | None = None
    paper_url: str | None = None

    def input_card(self) -> InputCard:
        """Preprocessing of the weights."""
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


class UnknownArchitecture(CardModel):
    """timm has no such architecture, or no such tag of it."""

    kind: Literal["unknown"] = "unknown"
    name: str
    suggestions: tuple[str, ...] = ()


Answer = Annotated[Description | UnknownArchitecture, Field(discriminator="kind")]
ANSWER: TypeAdapter[Description | UnknownArchitecture] = TypeAdapter(Answer)


def timm_card(description: Description) -> BackboneCard:
    """Card of a pretrained tag, named `timm:architecture.tag`. Only for a description that has a tag."""
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


SECONDS = 180.0
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_\-]+)?")


class ResolverError(RuntimeError):
    """timm could not be queried; the message contains its error."""


@dataclass(frozen=True)
class Resolver:
    """Descriptions by name; each is cached in `cache_folder` for the installed version of timm."""

    cache_folder: Path | None = None
    _answers: dict[str, Description] = field(default_factory=dict, compare=False, repr=False)

    def describe(self, name: str) -> Description:
        """The description of `architecture` or `architecture.tag`.

        Raises UnknownName with suggestions, MalformedName for an invalid name, ResolverError when the query fails.
        """
        if not _NAME.fullmatch(name):
            raise MalformedName(f"{name!r} is not a timm name: expected architecture or architecture.tag")
        if name not in self._answers:
            self._answers[name] = self._kept(name) or self._ask(name)
        return self._answers[name]

    def _kept(self, name: str) -> Description | None:
        path = self._path(name)
        if path is None:
            return None
        try:
            return Description.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None

    def _ask(self, name: str) -> Description:
        answer = _run(name)
        if isinstance(answer, UnknownArchitecture):
            raise UnknownName("timm model", name, tuple(f"timm:{known}" for known in answer.suggestions))
        path = self._path(name)
        if path is not None:
            write_if_possible(path, answer.model_dump_json().encode())
        return answer

    def _path(self, name: str) -> Path | None:
        if self.cache_folder is None:
            return None
        stamp = hashlib.sha256(f"{metadata.version('timm')} {Description.model_fields.keys()}".encode()).hexdigest()
        return self.cache_folder / f"{name}.{stamp[:8]}.json"


def _run(name: str) -> Description | UnknownArchitecture:
    try:
        done = run_module("backbones.catalog.timm_info_main", name, seconds=SECONDS)
        return ANSWER.validate_json(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise ResolverError(f"querying timm for {name!r} took more than {SECONDS:.0f} s") from error
    except ValidationError as error:
        raise ResolverError(f"timm could not describe {name!r}: {last_error_line(done)}") from error
