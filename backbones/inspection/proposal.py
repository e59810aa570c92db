"""What a checkpoint turned out to hold and how it could be loaded, as data that travels between processes.

Looking into one takes torch, so the console asks `python -m backbones.inspection` (see there) and gets
this back.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from backbones.catalog.card import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ArchitectureValue,
    Interpolation,
    KeyMapping,
    Pooling,
    Triple,
)
from backbones.catalog.checkpoint_files import candidates, checkpoint_files
from backbones.checkpoints.foreign_formats import foreign_format
from backbones.io.card_files import CardModel
from backbones.io.errors import WeightsError
from backbones.io.subprocess_query import last_error_line, run_module

PROPOSE = "backbones.inspection.inspect_main"
SECONDS = 900.0
"""Reading a checkpoint of tens of gigabytes from a network disk may take minutes."""


class Dropped(CardModel):
    """Tensors that are left out by intention: a head, a projector."""

    prefix: str
    tensors: int
    parameters: int
    reason: str = ""
    """Why features do not need them."""


class Proposal(CardModel):
    """One way to load the file: a place in it, and the architecture whose tensors lie there."""

    architecture: str
    arguments: dict[str, ArchitectureValue] = Field(default_factory=dict)
    keys: KeyMapping
    size: int
    """Input side in pixels that the architecture, or the checkpoint's position embedding, was made for."""
    matched: int
    expected: int
    """Tensors of the architecture; counters that only training reads are not counted."""
    pooling: Pooling = "default"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    crop: float = 0.875
    interpolation: Interpolation = "bicubic"
    assumptions: tuple[str, ...] = ()
    """What neither the tensors nor a file beside them state, and what was taken instead."""
    question: str | None = None
    """What must be given before it can be used."""
    asks: tuple[str, int] | None = None
    """The argument that is asked for, and a plausible value."""
    undecided: tuple[str, ...] = ()
    """Beginnings of keys of which it is not known whether features can do without; nothing else is in the way."""
    dropped: tuple[Dropped, ...] = ()
    obstacles: tuple[str, ...] = ()
    """Why it cannot be loaded; empty when every tensor is there with its shape."""

    @property
    def exact(self) -> bool:
        """Whether every tensor of the architecture is there, and nothing of the network is left over."""
        return not self.obstacles

    @property
    def share(self) -> float:
        """Of the architecture's tensors, how many were found."""
        return self.matched / self.expected if self.expected else 0.0

    @property
    def place(self) -> str:
        """Where in the file, for people: `state_dict, module.encoder_q.*`."""
        return ", ".join(part for part in (self.keys.container, f"{self.keys.prefix}*") if part)


class Inspection(CardModel):
    """A file that is a checkpoint. `chosen` is what is proposed; without one, `question` or `problem` says why."""

    kind: Literal["inspected"] = "inspected"
    path: str
    tensors: int
    chosen: Proposal | None = None
    reason: str = ""
    """Why `chosen` was preferred to the others, where there was a choice; empty where there was none."""
    others: tuple[Proposal, ...] = ()
    """Other ways, best first."""
    question: str | None = None
    """What only the user can decide."""
    problem: str | None = None
    """Why no way to load it was found."""
    method: str = "own checkpoint"
    """The pretraining method whose layout this is, where it shows."""
    progress: dict[str, int] = Field(default_factory=dict)
    """`epoch`, `step` and the like, where the file says so."""
    code_sha256: str | None = None
    """Digest of the user's own file that makes the architecture."""
    code_loaded: tuple[str, ...] = ()
    """The user's own files that were run."""
    code_writable: tuple[str, ...] = ()
    """What of those other users may change, as sentences."""
    stubs: tuple[str, ...] = ()
    """Names of objects in the file that were not made, but stand as inert stubs."""
    merged: str = ""
    """What was merged into the network (an adapter); empty for most files."""
    images_from: str | None = None
    """The file that states the preprocessing; None where it is assumed."""


class Refused(CardModel):
    """A file that is no checkpoint, or none that may be read."""

    kind: Literal["refused"] = "refused"
    path: str
    error: str


class InspectionHints(CardModel):
    """What the user said already; everything may be left open."""

    architecture: str | None = None
    """A timm name, or `module:function` or `/path/to/file.py:function`."""
    arguments: dict[str, ArchitectureValue] = Field(default_factory=dict)
    container: str | None = None
    prefix: str | None = None
    trust_code: bool = False
    """Whether everything that the architecture's code imports is trusted as it is now."""
    drop: tuple[str, ...] = ()
    """Beginnings of keys that features can do without, as the user states."""


Answer = Annotated[Inspection | Refused, Field(discriminator="kind")]
ANSWER: TypeAdapter[Inspection | Refused] = TypeAdapter(Answer)


def present_files(path: Path) -> list[Path]:
    """The files of the checkpoint. Raises WeightsError where one of them is no file."""
    files = checkpoint_files(path)
    absent = next((file for file in files if not file.is_file()), None)
    if absent is not None and absent.is_dir():
        found = [file.name for file in candidates(absent)]
        there = (
            f"holds {len(found)} checkpoints ({', '.join(found[:6])})" if found else "is a folder without checkpoints"
        )
        raise WeightsError(f"{absent} {there}: name one file")
    if absent is not None:
        raise WeightsError(f"{absent} is not there: name a checkpoint file")
    return files


def first_file(path: Path) -> Path:
    """The first file of the checkpoint. Raises WeightsError where it is absent, unreadable, or in a foreign format."""
    first = present_files(path)[0]
    try:
        words = foreign_format(first)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if words is not None:
        raise WeightsError(f"{path} {words}")
    return first


def inspect(path: Path, wish: InspectionHints | None = None) -> Inspection:
    """Look into a file, in a process of its own, without running anything that is in it.

    With an architecture of the user's own code in `wish`, that code is run: ask first. Raises WeightsError with the
    reason for a file that cannot be used at all; for one that is absent or in a foreign format, without that process.
    """
    first_file(path)
    try:
        done = run_module(PROPOSE, str(path), (wish or InspectionHints()).model_dump_json(), seconds=SECONDS)
        answer = ANSWER.validate_json(done.stdout.splitlines()[-1] if done.stdout.strip() else "")
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{path}: looking into it took more than {SECONDS:.0f} s: is the disk slow?") from error
    except ValidationError as error:
        raise WeightsError(f"{path} could not be looked into: {last_error_line(done)}") from error
    if isinstance(answer, Refused):
        raise WeightsError(answer.error)
    return answer
