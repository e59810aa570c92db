"""Candidate architectures for a network, and statements of the checkpoint and its neighbouring files about it.

Sources of statements, in this order: `config.json` and `preprocessor_config.json` of transformers and timm,
`open_clip_config.json`, mmengine's `data_preprocessor`, and the arguments of the training script (`args`,
`hyper_parameters`, `config`).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from timm.models import list_models
from torch import Tensor

from backbones.catalog.card import ArchitectureValue, Interpolation, Pooling, Triple
from backbones.checkpoints.inert_pickle import InertObject
from backbones.checkpoints.key_mapping import Shape

MOST_BYTES = 4 * 1024**2
"""Maximum size of a configuration file in bytes; a larger one is ignored."""
ARGUMENTS = ("args", "hyper_parameters", "config", "cfg", "hparams", "opt", "model_args", "params", "model_config")
"""Keys under which training scripts store their arguments."""
HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "heads", "nhead")
ARCHITECTURES = ("arch", "architecture", "model", "model_name", "backbone", "encoder", "net", "name")
DEEPEST = 6
RESAMPLING: Mapping[int, Interpolation] = {2: "bilinear", 3: "bicubic"}
"""PIL's codes of its filters."""


@dataclass(frozen=True)
class Question:
    """An argument that does not follow from the tensors: its description, name, and a plausible value."""

    about: str
    argument: str
    suggestion: int

    def __str__(self) -> str:
        return f"{self.about} does not follow from the tensors: set it, e.g. --arg {self.argument}={self.suggestion}"


HEADS = "the number of attention heads"


@dataclass(frozen=True)
class ArchitectureCandidate:
    """An architecture with its arguments. The tensors decide whether it matches; `assumptions` are what does not follow
    from them.
    """

    architecture: str
    arguments: dict[str, ArchitectureValue] = field(default_factory=dict)
    published: bool = False
    """Whether it is the only published model of its shape, so that it is proposed without a question."""
    pooling: Pooling = "default"
    assumptions: tuple[str, ...] = ()
    trust_imports: bool = False
    """Whether the user trusts the imports of the architecture's code, if it is the user's own."""
    question: Question | None = None
    """Argument that must be given before it can be used."""


class NoArchitecture(ValueError):  # noqa: N818 - a domain word, raised as such
    """The tensors belong to a network that timm does not have; the message describes it."""


def count(shapes: Mapping[str, Shape], name: str) -> int:
    """Number of the numbered modules below `name`."""
    numbers = (re.match(rf"{re.escape(name)}\.(\d+)\.", key) for key in shapes)
    return 1 + max((int(found[1]) for found in numbers if found), default=-1)


def fitting_names(*patterns: str) -> list[str]:
    """timm's architectures that match these patterns."""
    return [name for pattern in patterns for name in list_models(pattern)]


@dataclass(frozen=True)
class ImageFacts:
    """Preprocessing stated by a file. `source` names it."""

    source: str
    mean: Triple | None = None
    std: Triple | None = None
    size: int | None = None
    crop: float | None = None
    interpolation: Interpolation | None = None


@dataclass(frozen=True)
class Evidence:
    """All statements. `values`: settings by name, the first statement of each; `config`: transformers' or timm's."""

    values: Mapping[str, object] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    images: ImageFacts | None = None
    whole_config: Mapping[str, Any] = field(default_factory=dict)
    """`config.json`, unchanged."""
    names: str = ""
    """Names of the file and its folder, in lower case."""

    def number(self, *names: str) -> int | None:
        """First of these settings that is an integer."""
        found = (self.config.get(name, self.values.get(name)) for name in names)
        return next((value for value in found if type(value) is int), None)

    def text(self, *names: str) -> str | None:
        """First of these settings that is a string."""
        found = (self.config.get(name, self.values.get(name)) for name in names)
        return next((value for value in found if isinstance(value, str)), None)

    @property
    def heads(self) -> int | None:
        """Attention heads, where the file or its configuration states them."""
        return self.number(*HEAD_COUNTS)

    def numbers(self, name: str) -> tuple[int, ...] | None:
        """A setting that is a list of integers."""
        value = self.config.get(name, self.values.get(name))
        good = isinstance(value, list | tuple) and value and all(type(item) is int for item in value)
        return tuple(cast("Sequence[int]", value)) if good else None

    @property
    def architectures(self) -> tuple[str, ...]:
        """Names of the architecture in training scripts; may be timm's."""
        found = (self.config.get(name, self.values.get(name)) for name in ARCHITECTURES)
        return tuple(dict.fromkeys(value for value in found if isinstance(value, str)))

    @property
    def model_type(self) -> str:
        """Model type of transformers; empty without its configuration."""
        return str(self.config.get("model_type", ""))


def evidence_of(content: Mapping[str, object], path: Path) -> Evidence:
    """Read the statements of the file and its neighbours. `path`: the file; for a folder, the file that lists the
    others.
    """
    config = _json(path.parent / "config.json")
    flat = _of_backbone(config)
    values = dict(_settings(content))
    images = (
        _of_processor(_json(path.parent / "preprocessor_config.json"))
        or _of_timm(config.get("pretrained_cfg"))
        or _of_open_clip(_json(path.parent / "open_clip_config.json"))
        or _of_tensors(content)
        or _of_settings(values)
    )
    return Evidence(values, flat, images, config, f"{path.parent.name}/{path.name}".lower())


INNER = ("vision_config", "backbone_config", "encoder", "perception_encoder_config")
"""Keys of the image network's configuration inside that of a larger model."""


def _of_backbone(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Configuration of the image network, completed by settings of the whole model.

    Sizes of the whole model, e.g. a decoder's heads, are not those of the network inside.
    """
    inner = next((found for name in INNER if isinstance(found := config.get(name), Mapping) and found), None)
    if inner is None:
        return config
    outer = {key: value for key, value in config.items() if key not in (*HEAD_COUNTS, "hidden_size", "hidden_act")}
    return {**outer, **_of_backbone(inner)}


def _json(path: Path) -> Mapping[str, Any]:
    """A JSON object; empty if there is none."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _of_processor(config: Mapping[str, Any]) -> ImageFacts | None:
    """From transformers' image processor."""
    mean, std = _triple(config.get("image_mean")), _triple(config.get("image_std"))
    if mean is None or std is None or config.get("do_normalize") is False:
        return None
    resized, cropped = _side(config.get("size")), _side(config.get("crop_size"))
    cropped = cropped if config.get("do_center_crop") else None
    share = config.get("crop_pct") or (cropped / resized if cropped and resized and cropped <= resized else 1.0)
    return ImageFacts(
        "preprocessor_config.json",
        mean,
        std,
        cropped or resized,
        float(share),
        RESAMPLING.get(config.get("resample", 3)),
    )


def _of_timm(config: object) -> ImageFacts | None:
    """From timm's `pretrained_cfg`."""
    if not isinstance(config, Mapping) or _triple(config.get("mean")) is None:
        return None
    size = config.get("input_size")
    side = size[-1] if isinstance(size, Sequence) and size and isinstance(size[-1], int) else None
    how = config.get("interpolation")
    return ImageFacts(
        "config.json",
        _triple(config.get("mean")),
        _triple(config.get("std")),
        side,
        float(config.get("crop_pct") or 0.875),
        cast("Interpolation", how) if how in ("bicubic", "bilinear") else None,
    )


def _of_open_clip(config: Mapping[str, Any]) -> ImageFacts | None:
    stated = config.get("preprocess_cfg")
    if not isinstance(stated, Mapping) or _triple(stated.get("mean")) is None:
        return None
    return ImageFacts("open_clip_config.json", _triple(stated.get("mean")), _triple(stated.get("std")))


def _of_tensors(content: Mapping[str, object]) -> ImageFacts | None:
    """From mmengine's `data_preprocessor.mean` and detectron2's `pixel_mean`, for pixels from 0 to 255."""
    inside = [content, *(value for value in content.values() if isinstance(value, Mapping))]
    for tensors in inside:
        for mean_name, std_name in (("data_preprocessor.mean", "data_preprocessor.std"), ("pixel_mean", "pixel_std")):
            mean, std = _colours(tensors.get(mean_name)), _colours(tensors.get(std_name))
            if mean and std:
                return ImageFacts(mean_name.rpartition(".")[0] or mean_name, mean, std)
    return None


def _of_settings(values: Mapping[str, object]) -> ImageFacts | None:
    """From `mean` and `std` of the training script, both of three numbers up to 1."""
    mean, std = _triple(values.get("mean")), _triple(values.get("std"))
    return ImageFacts("the training's arguments", mean, std) if mean and std and max(*mean, *std) <= 1 else None


def _colours(value: object) -> Triple | None:
    if not isinstance(value, Tensor) or value.numel() != 3:
        return None
    red, green, blue = (round(float(number) / 255, 6) for number in value.flatten())
    return (red, green, blue)


def _triple(value: object) -> Triple | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        return None
    if not all(isinstance(number, int | float) for number in value):
        return None
    red, green, blue = (float(number) for number in value)
    return (red, green, blue)


def _side(value: object) -> int | None:
    """A side: in transformers a number, `height`, or `shortest_edge`."""
    if isinstance(value, Mapping):
        value = value.get("height", value.get("shortest_edge"))
    return value if type(value) is int else None


def _settings(content: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Settings by name, the innermost first, so that the outermost takes precedence in a dictionary."""
    named = ("arch", "model_name", "architecture")
    found = [(name, content[name]) for name in named if isinstance(content.get(name), str)]
    for name in ARGUMENTS:
        found.extend(_inside(content.get(name), DEEPEST))
    yield from reversed(found)


def _inside(value: object, depth: int) -> Iterator[tuple[str, object]]:
    settings = _dictionary(value)
    for key, item in settings.items():
        if isinstance(item, str | int | float | bool | list | tuple):
            yield str(key), item
    if depth:
        for item in settings.values():
            yield from _inside(item, depth - 1)


def _dictionary(value: object) -> Mapping[object, object]:
    """Settings in a dictionary, a namespace, or a stub (OmegaConf stores values below `_content` and `_val`)."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, InertObject):
        attributes = value.attributes
        content = attributes.get("_content")
        if isinstance(content, Mapping):
            return {key: _value(item) for key, item in content.items()}
        return attributes
    return cast("Mapping[object, object]", vars(value)) if isinstance(value, argparse.Namespace) else {}


def _value(value: object) -> object:
    if isinstance(value, InertObject) and "_val" in value.attributes:
        return value.attributes["_val"]
    return value
