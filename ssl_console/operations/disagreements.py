"""Test images that one backbone classifies correctly and another wrongly: their list, and their pictures."""

from __future__ import annotations

import io
import subprocess
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from backbones.io.subprocess_query import last_error_line, run_module
from ssl_console.analysis.result_diff import FieldDifference, difference, flips
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.worker.image_names import ImageAnswer, ImageRequest
from ssl_console.workspace.pictures import Picture
from ssl_console.workspace.predictions import Arrays
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.run import RunSpec

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_NAMED = 2000
"""Maximum number of named images per side."""
THUMBNAILS = 12
"""Maximum number of thumbnails per side."""
ACROSS = 4
SECONDS = 300.0


@dataclass(frozen=True)
class NamedImage:
    """A test image, its class, and the predictions of both backbones."""

    name: str
    """Path of its file, or the stable name of an image that is not a file."""
    label: str
    first: str
    second: str


@dataclass(frozen=True)
class DisagreeingImages:
    """Images on which only one of two runs is correct."""

    found: Disagreement
    only_first: tuple[NamedImage, ...]
    """At most `MOST_NAMED`, as in `only_second`."""
    only_second: tuple[NamedImage, ...]
    sheet: Picture | None
    """Thumbnails of the first images of `only_first`, or of `only_second` if that is empty."""


def disagreeing_images(session: Session, first: str, second: str) -> DisagreeingImages | str:
    """Compare two runs image by image; if that is impossible, the reason. Opens the dataset in another process."""
    arrays = session.outputs.predictions(first), session.outputs.predictions(second)
    found = disagreement(*arrays)
    if isinstance(found, str) or arrays[0] is None:
        return str(found)
    ours, theirs = found.only_first[:MOST_NAMED], found.only_second[:MOST_NAMED]
    try:
        answer = _ask(session, first, arrays[0]["index"].tolist(), [one.position for one in (*ours, *theirs)])
    except ConsoleError as error:
        return str(error)
    named = [_named(one, name, answer.classes) for one, name in zip((*ours, *theirs), answer.names, strict=True)]
    sheet = _sheet(answer.thumbnails, f"the first {len(answer.thumbnails)} of {len(ours) or len(theirs)}")
    return DisagreeingImages(found, tuple(named[: len(ours)]), tuple(named[len(ours) :]), sheet)


def _ask(session: Session, run_id: str, index: Sequence[int], positions: Sequence[int]) -> ImageAnswer:
    """Names and thumbnails of test images. Raises ConsoleError if the dataset cannot be opened."""
    try:
        dataset = RunSpec.model_validate_json(session.workspace.run(run_id).spec.read_bytes()).dataset
    except (OSError, ValidationError) as error:
        raise ConsoleError(f"run {run_id} does not name its dataset: {error}") from error
    request = ImageRequest(
        dataset=dataset,
        data_root=session.data_root,
        cache=session.workspace.cache,
        index=list(index),
        positions=list(positions),
        thumbnails=min(THUMBNAILS, len(positions)),
    )
    try:
        done = run_module("ssl_console.worker.image_names", given=request.model_dump_json(), seconds=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ConsoleError(f"the images of {dataset.name} were not listed within {SECONDS:.0f} s") from error
    if done.returncode:
        raise ConsoleError(f"the images of {dataset.name} cannot be listed: {last_error_line(done)}")
    return ImageAnswer.model_validate_json(done.stdout.splitlines()[-1])


def _named(one: SampleAnswer, name: str, classes: Sequence[str]) -> NamedImage:
    return NamedImage(name, *(_class(number, classes) for number in (one.label, one.first, one.second)))


def _class(number: int, classes: Sequence[str]) -> str:
    return classes[number] if 0 <= number < len(classes) else f"class {number}"


def _sheet(thumbnails: Sequence[str], title: str) -> Picture | None:
    """Thumbnails side by side."""
    from PIL import Image as PillowImage  # noqa: PLC0415 - most of what the console does needs no pictures

    opened: list[Image] = [PillowImage.open(io.BytesIO(b64decode(one))).convert("RGB") for one in thumbnails]
    if not opened:
        return None
    width, height = (max(getattr(one, side) for one in opened) + 2 for side in ("width", "height"))
    rows = -(-len(opened) // ACROSS)
    sheet = PillowImage.new("RGB", (width * min(ACROSS, len(opened)), height * rows), (32, 32, 32))
    for number, one in enumerate(opened):
        sheet.paste(one, (number % ACROSS * width, number // ACROSS * height))
    return Picture(Path(title), sheet)


def record_difference(session: Session, first: ResultRecord, second: ResultRecord) -> FieldDifference:
    """Difference of two records and of their predictions."""
    predictions = session.outputs.predictions
    return difference(first, second, flips(*(predictions(one.result.run_id) for one in (first, second))))


@dataclass(frozen=True)
class SampleAnswer:
    """One test image, and the predictions of both backbones."""

    position: int
    """Index in the test set."""
    label: int
    first: int
    second: int


@dataclass(frozen=True)
class Disagreement:
    """Two backbones on the same test images."""

    only_first: tuple[SampleAnswer, ...]
    """Images that only the first classifies correctly."""
    only_second: tuple[SampleAnswer, ...]
    both: int
    neither: int

    @property
    def images(self) -> int:
        """All test images."""
        return len(self.only_first) + len(self.only_second) + self.both + self.neither


def disagreement(first: Arrays | None, second: Arrays | None) -> Disagreement | str:
    """Compare the predicted classes image by image; if that is impossible, the reason."""
    if first is None or second is None:
        return "the predictions of a run are missing"
    if any(
        not {"label", "predicted", "index"} <= set(arrays) or arrays["predicted"].ndim != 1
        for arrays in (first, second)
    ):
        return "this task has no single predicted class for each test image"
    if first["label"].ndim != 1:
        return "this task has several labels for each test image"
    if any(not np.array_equal(first[name], second[name]) for name in ("index", "label")):
        return "the two runs were not tested on the same images"
    labels = first["label"]
    right = first["predicted"] == labels, second["predicted"] == labels
    rows = list(zip(labels.tolist(), first["predicted"].tolist(), second["predicted"].tolist(), strict=True))

    def chosen(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[SampleAnswer, ...]:
        return tuple(SampleAnswer(position, *rows[position]) for position in np.flatnonzero(mask).tolist())

    return Disagreement(
        chosen(right[0] & ~right[1]),
        chosen(right[1] & ~right[0]),
        int((right[0] & right[1]).sum()),
        int((~right[0] & ~right[1]).sum()),
    )
