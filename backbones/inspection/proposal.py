"""Content of a checkpoint and how it can be loaded, as data that is passed between processes.

Inspecting a checkpoint requires torch, so the console runs `python -m backbones.inspection.inspect_main` and receives
these records.
"""

from __future__ import annotations

import subprocess
import zipfile
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
from backbones.catalog.weights_folder import candidates, checkpoint_files
from backbones.io.card_files import CardModel
from backbones.io.errors import WeightsError
from backbones.io.subprocess_query import last_error_line, run_module

PROPOSE = "backbones.inspection.inspect_main"
SECONDS = 900.0
"""Reading a checkpoint of tens of gigabytes from a network disk may take minutes."""
SAVE_STATE = "save its state dict where the network was created: torch.save(model.state_dict(), 'weights.pth')"
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer and not the file itself: run `git lfs pull` where it came from"),
    (b"<!DOCTYPE", "is a web page, not a checkpoint: the download needed a login or failed; fetch the file again"),
    (b"<html", "is a web page, not a checkpoint: the download needed a login or failed; fetch the file again"),
    (b"\x89HDF", "is an HDF5 file (Keras): convert it to safetensors or a torch state dict first"),
    (b"\x1f\x8b", "is gzip-compressed: unpack it first (gunzip)"),
    (b"BZh", "is bzip2-compressed: unpack it first (bunzip2)"),
    (b"\xfd7zXZ", "is xz-compressed: unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "is Zstandard-compressed: unpack it first (unzstd)"),
    (b"GGUF", "is a GGUF file of a language model, not a vision backbone's checkpoint"),
    (b"ftrt", f"is a TensorRT engine, compiled for one GPU, which holds no state dict: {SAVE_STATE}"),
    (b"ptrt", f"is a TensorRT engine, compiled for one GPU, which holds no state dict: {SAVE_STATE}"),
    (b"<?xml", f"is an XML file (e.g. of OpenVINO), which holds no state dict: {SAVE_STATE}"),
)
_INSIDE_TAR = 257
_BY_SUFFIX = {
    ".onnx": "is an ONNX graph, which has no names of a state dict",
    ".engine": "is a TensorRT engine, compiled for one GPU, which holds no state dict",
    ".plan": "is a TensorRT engine, compiled for one GPU, which holds no state dict",
    ".trt": "is a TensorRT engine, compiled for one GPU, which holds no state dict",
    ".tflite": "is a TensorFlow Lite graph, which has no names of a state dict",
    ".pb": "is a TensorFlow graph, which has no names of a state dict",
    ".mlmodel": "is a Core ML model, which has no names of a state dict",
    ".pte": "is an ExecuTorch program, which holds no state dict",
}


class Dropped(CardModel):
    """Tensors that are dropped intentionally: a head, a projector."""

    prefix: str
    tensors: int
    parameters: int
    reason: str = ""
    """Reason why features do not depend on them."""


class Proposal(CardModel):
    """One way to load the file: a place in it, and the architecture that matches the tensors there."""

    architecture: str
    arguments: dict[str, ArchitectureValue] = Field(default_factory=dict)
    keys: KeyMapping
    size: int
    """Input side in pixels of the architecture or of the checkpoint's position embedding."""
    matched: int
    expected: int
    """Tensors of the architecture, without counters that only training uses."""
    pooling: Pooling = "default"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    crop: float = 0.875
    interpolation: Interpolation = "bicubic"
    assumptions: tuple[str, ...] = ()
    """Values that were assumed because neither the tensors nor a neighbouring file states them."""
    question: str | None = None
    """Question to answer before it can be used."""
    asks: tuple[str, int] | None = None
    """The argument in question, and a plausible value."""
    undecided: tuple[str, ...] = ()
    """Prefixes of keys that features may depend on; nothing else prevents loading."""
    dropped: tuple[Dropped, ...] = ()
    obstacles: tuple[str, ...] = ()
    """Reasons why it cannot be loaded; empty when every tensor is present with its shape."""

    @property
    def exact(self) -> bool:
        """Whether every tensor of the architecture is present, and nothing of the network is left over."""
        return not self.obstacles

    @property
    def share(self) -> float:
        """Fraction of the architecture's tensors that were found."""
        return self.matched / self.expected if self.expected else 0.0

    @property
    def place(self) -> str:
        """Place in the file for display: `state_dict, module.encoder_q.*`."""
        return ", ".join(part for part in (self.keys.container, f"{self.keys.prefix}*") if part)


class Inspection(CardModel):
    """A checkpoint. `chosen` is the proposal; without one, `question` or `problem` gives the reason."""

    kind: Literal["inspected"] = "inspected"
    path: str
    tensors: int
    chosen: Proposal | None = None
    reason: str = ""
    """Reason why `chosen` was preferred to the others; empty where there was no choice."""
    others: tuple[Proposal, ...] = ()
    """Other proposals, best first."""
    question: str | None = None
    """A choice that the user has to make."""
    problem: str | None = None
    """Reason why no architecture matches."""
    method: str = "own checkpoint"
    """Pretraining method of the layout, where it can be recognised."""
    progress: dict[str, int] = Field(default_factory=dict)
    """`epoch`, `step` and the like, where the file states them."""
    code_sha256: str | None = None
    """Digest of the user's own file that defines the architecture."""
    code_loaded: tuple[str, ...] = ()
    """The user's own files that were run."""
    code_writable: tuple[str, ...] = ()
    """Which of them other users can change, as sentences."""
    stubs: tuple[str, ...] = ()
    """Names of objects in the file that were replaced by inert stubs."""
    merged: str = ""
    """Description of what was merged into the network (an adapter); empty for most files."""
    images_from: str | None = None
    """File that states the preprocessing; None where it is assumed."""


class Refused(CardModel):
    """A file that is not a checkpoint, or must not be read."""

    kind: Literal["refused"] = "refused"
    path: str
    error: str


class InspectionHints(CardModel):
    """The user's choices; all are optional."""

    architecture: str | None = None
    """A timm name, or `module:function` or `/path/to/file.py:function`."""
    arguments: dict[str, ArchitectureValue] = Field(default_factory=dict)
    container: str | None = None
    prefix: str | None = None
    trust_code: bool = False
    """Whether all imports of the architecture's code are trusted in their present state."""
    drop: tuple[str, ...] = ()
    """Prefixes of keys that features do not depend on, according to the user."""


Answer = Annotated[Inspection | Refused, Field(discriminator="kind")]
ANSWER: TypeAdapter[Inspection | Refused] = TypeAdapter(Answer)


def present_files(path: Path) -> list[Path]:
    """Files of the checkpoint. Raises WeightsError if one of them is not a file."""
    files = checkpoint_files(path)
    absent = next((file for file in files if not file.is_file()), None)
    if absent is not None and absent.is_dir():
        found = [file.name for file in candidates(absent)]
        there = (
            f"contains {len(found)} checkpoints ({', '.join(found[:6])})"
            if found
            else "is a folder without checkpoints"
        )
        raise WeightsError(f"{absent} {there}: name one file")
    if absent is not None:
        raise WeightsError(f"{absent} does not exist: name a checkpoint file")
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


def inspect(path: Path, hints: InspectionHints | None = None) -> Inspection:
    """Inspect a file in a subprocess, without running its content.

    An architecture of the user's own code in `hints` is run: get the user's consent first. Raises WeightsError with the
    reason for a file that cannot be used at all; for one that is absent or in a foreign format, without that process.
    """
    first_file(path)
    try:
        done = run_module(PROPOSE, str(path), (hints or InspectionHints()).model_dump_json(), seconds=SECONDS)
        answer = ANSWER.validate_json(done.stdout.splitlines()[-1] if done.stdout.strip() else "")
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{path}: the inspection took more than {SECONDS:.0f} s: is the disk slow?") from error
    except ValidationError as error:
        raise WeightsError(f"{path} could not be inspected: {last_error_line(done)}") from error
    if isinstance(answer, Refused):
        raise WeightsError(answer.error)
    return answer


def foreign_format(path: Path) -> str | None:
    """Reason why the file cannot be a checkpoint, as the predicate of a sentence; None when it may be one.

    Raises OSError.
    """
    if path.stat().st_size == 0:
        return "is empty: the disk was full, or the writing was interrupted"
    with path.open("rb") as file:
        start = file.read(512)
    if start[:4] == b"PK\x03\x04":
        return _zip_format(path)
    for beginning, words in _BEGINNINGS:
        if start.lstrip().lower().startswith(beginning.lower()):
            return words
    if start[_INSIDE_TAR : _INSIDE_TAR + 5] == b"ustar":
        return "is a tar archive: unpack it and name the checkpoint inside"
    # ONNX: the first protobuf field is the version of the format, the second a producer or a graph
    onnx = len(start) > 4 and start[0] == 0x08 and start[1] < 0x20 and start[2] in (0x12, 0x3A)
    suffix = (
        ".tflite" if start[4:8] == b"TFL3" else path.suffix if path.suffix in _BY_SUFFIX else ".onnx" if onnx else ""
    )
    return f"{_BY_SUFFIX[suffix]}: {SAVE_STATE}" if suffix else None


def _zip_format(path: Path) -> str | None:
    """Kind of a zip archive that is not torch's or numpy's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return None
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return f"is a TorchScript program, not a state dict: {SAVE_STATE}"
    if any(
        "serialized_exported_program" in name or name.endswith(("models/model.json", "archive_format"))
        for name in names
    ):
        return f"is an exported program (torch.export, .pt2), not a state dict: {SAVE_STATE}"
    if "metadata.json" in names and "config.json" in names and any(name.endswith(".h5") for name in names):
        return "is a Keras archive: convert it to safetensors or a torch state dict first"
    if any(
        name.endswith((".pt", ".pth", ".ckpt", ".safetensors", ".bin")) and "data.pkl" not in inner for name in names
    ):
        return "is a zip archive that holds checkpoints: unpack it and name the one inside"
    return None
