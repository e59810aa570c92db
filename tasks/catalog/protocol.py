"""Declaration of a protocol, and the protocols of other packages. Needs no torch.

Everything that depends on a protocol is declared once, in its `ProtocolSpec`: its requirements, its inputs, the
rescoring of its stored predictions. No other module dispatches on the name of a protocol.

Modules named in `$SSL_CONSOLE_PROTOCOLS` (separated by commas) are imported, and the specs in their `PROTOCOLS` join
the built-in ones. Installed packages add protocols by entry points: see `backbones.io.plugins`. Of this package, both
import `tasks.plugin_api` alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Literal, Protocol

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import FeatureMapInfo, LayerRequest
from backbones.io.plugins import PROTOCOLS as PROTOCOL_GROUP
from backbones.io.plugins import PlugInProblem, find
from tasks.datasets.card import DatasetCard

ENVIRONMENT_VARIABLE = "SSL_CONSOLE_PROTOCOLS"
FEATURE_EVALUATION = "tasks.evaluation.features"
IMAGE_EVALUATION = "tasks.evaluation.images"

InputKind = Literal["splits", "bank", "pool", "images"]
"""What `evaluate` is given (`tasks.evaluation.inputs`), from stored features unless it is `images`:

    splits   ManyShotInputs: train, validation and test
    bank     BankInputs: training and validation images as one bank, and the test images
    pool     PoolInputs: all images of the dataset together
    images   ImageInputs: the images themselves, and a backbone that can be trained
"""


@dataclass(frozen=True)
class Margin:
    """Largest difference of two scores that is irrelevant."""

    size: float
    unit: str

    def __str__(self) -> str:
        return f"{self.size:g} {self.unit.removesuffix('s') if self.size == 1 else self.unit}"


POINT = Margin(1.0, "points")
"""Margin of scores in percent."""


class Parameters(Protocol):
    """Any frozen dataclass in which every field affects the score."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class ProtocolSpec:
    """A protocol: its parameters, what it requires, and where it is implemented."""

    name: str
    version: int
    """Increased whenever the same parameters would give another score."""
    family: str
    """Name for overrides, `--set family.key=value`."""
    presets: Mapping[str, Parameters]
    """At least `default`; all of one dataclass."""
    module: str
    """Module whose `evaluate(inputs, parameters, seed, reporter)` returns an `Outcome`; imported by workers only."""
    summary: str
    inputs: InputKind = "splits"
    needs: tuple[str, ...] = ("labels",)
    """Targets that a dataset must have: `labels`, `masks`, `boxes`, `normals`, `depth`, or any that a plug-in's reader
    declares. The protocol is offered for every dataset that has all of them, within the limits below."""
    multi_label: bool = False
    """Whether an image may have several labels."""
    separate_test: bool = True
    """Whether the dataset needs published test images."""
    most_images: int | None = None
    """Largest dataset that it is offered for, in images over all splits; None for any size."""
    limits: Callable[[DatasetCard, Parameters], str | None] | None = None
    """Further restrictions: the reason why a dataset does not suit these parameters, or None if it does."""
    unsuitable: Callable[[BackboneCard, FeatureMapInfo, Parameters], str | None] | None = None
    """Reason why the protocol with these parameters cannot measure a backbone, or None if it can. Checked before
    anything is queued; a protocol that works with every backbone has none.
    """
    pixel_targets: str | None = None
    """`module:function` that computes float64 targets [k] from one image uint8 [3, h, w] as the backbone is shown it;
    `ManyShotInputs.pixel_targets` then holds them for every role."""
    further_splits: str | None = None
    """`module:function` that returns further source splits (by name) of a dataset and the parameters, whose features
    are stored too; `ManyShotInputs.shifts` then holds them, and the further test sets of the dataset."""
    sample: str | None = None
    """`module:function` that returns the dataset with fewer images, from the dataset and the parameters; the others are
    not encoded. None for all images."""
    layers: bool = False
    """Whether `ManyShotInputs.layers` holds layer-wise features; `blocks` and `storage` of the parameters choose which
    (`backbones.catalog.layer_info.LayerRequest`)."""
    rescore: str | None = None
    """`module:function` that returns the `tasks.metrics.rescore.Rescorer` of stored predictions (arrays by name), or
    None where arrays are missing. Without it, scores are reported as not rescored when a bundle is verified."""
    predictor: str | None = None
    """`module:function` that fits on the training and validation images of `inputs`, from the inputs, the parameters
    and a reporter, and returns the function from features [n, d] (layer-wise ones where the protocol reads them) to
    predicted classes [n]. With it, test images can be
    scored in parts (`tasks.evaluation.parts`). None where a score needs all of them at once."""
    writes_parts: bool = False
    """Whether its module itself scores the test images in parts (`ImageInputs.part`)."""
    whole_test: str = "the score is not a mean over test images"
    """Reason why all test images are used where they cannot be scored in parts."""
    descriptive: bool = False
    """Whether it describes a backbone, so that a higher score is neither better nor worse and is not ranked."""
    trains: bool = False
    """Whether it trains a network, so that a score depends on the seed of the training as well as on the images."""
    margins: Mapping[str, Margin] = field(default_factory=dict)
    """Largest irrelevant difference by metric, in the metric's own unit; `POINT` for other metrics."""
    averaged: bool = False
    """Whether its scores are averaged over datasets before they are correlated with ImageNet accuracy."""
    evaluation: str = ""
    """Module whose `evaluate_task` (see `tasks.evaluation.features`) carries out a whole run; empty for the one that
    `inputs` implies."""

    def margin(self, metric: str) -> Margin:
        """Largest irrelevant difference of two scores of a metric."""
        return self.margins.get(metric, POINT)

    @property
    def evaluation_module(self) -> str:
        """Full name of the module that carries out a run."""
        return self.evaluation or (IMAGE_EVALUATION if self.inputs == "images" else FEATURE_EVALUATION)

    def layer_request(self, parameters: Parameters) -> LayerRequest | None:
        """The layer-wise features that it reads with these parameters; None if it reads none."""
        if not self.layers:
            return None
        given = {name: getattr(parameters, name) for name in ("blocks", "storage") if hasattr(parameters, name)}
        return LayerRequest(**given)

    @property
    def scored_in_parts(self) -> bool:
        """Whether test images can be scored in parts, so that a judgement may end before the last of them."""
        return self.predictor is not None or self.writes_parts

    @property
    def reads_features(self) -> bool:
        """Whether it is computed from stored features."""
        return self.evaluation_module == FEATURE_EVALUATION


def declared_function(name: str) -> Callable[..., Any]:
    """The function that a specification declares as `module:function`; imports the module, so only in workers."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


class PlugInError(RuntimeError):
    """A module of `$SSL_CONSOLE_PROTOCOLS` that cannot be used; the message names it."""


def outside_protocols(taken: Collection[str]) -> Iterator[ProtocolSpec]:
    """The protocols of all modules named in the environment, then those of plug-ins.

    `taken` are the names of the built-in ones, which no plug-in may replace. Unusable ones are added to
    `PROTOCOL_PROBLEMS`.

    Raises:
        PlugInError: a module of the environment variable cannot be used.
    """
    for name in filter(None, map(str.strip, os.environ.get(ENVIRONMENT_VARIABLE, "").split(","))):
        try:
            yield from import_module(name).PROTOCOLS
        except (ImportError, AttributeError, TypeError) as error:
            raise PlugInError(f"${ENVIRONMENT_VARIABLE} names {name!r}, which cannot be used: {error}") from error
    found = find(PROTOCOL_GROUP)
    PROTOCOL_PROBLEMS.extend(found.problems)
    for plug_in in found.plug_ins:
        for spec in getattr(plug_in.module, "PROTOCOLS", ()):
            if isinstance(spec, ProtocolSpec) and spec.name not in taken and "default" in spec.presets:
                yield spec
            else:
                PROTOCOL_PROBLEMS.append(
                    plug_in.problem(f"{spec!r:.80} is not a protocol with a default preset and an unused name")
                )


PROTOCOL_PROBLEMS: list[PlugInProblem] = []
"""Reasons why protocols of plug-ins are unusable; complete after the import of `tasks.catalog.protocols`."""


def require_at_least(least: int, **values: int) -> None:
    """Raise ValueError naming the first value that is smaller."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def require_above_zero(**values: float) -> None:
    """Raise ValueError naming the first value that is zero, negative or not a number."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}")
