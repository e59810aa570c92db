"""What was found in a dataset of the user's own, as data that travels between processes. Needs no numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from backbones.io.card_files import CardModel
from backbones.io.subprocess_query import last_error_line, run_module
from tasks.datasets.card import DatasetCard

Kind = Literal["class-folders", "split-files", "csv", "voc", "coco", "webdataset", "parquet"]


class ImportOptions(CardModel):
    """Everything may be left open."""

    layout: Kind | None = None
    file_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    split_words: tuple[tuple[str, str], ...] = ()
    """Values of the split's column and what they mean: train, val, test or none; `*` for all others."""
    several: bool | None = None
    """Whether cells of a table hold several labels, separated by | or ; or commas; None asks where they seem to."""
    leave_out: bool = False
    """Whether classes, shards and folders that hold nothing usable are left out instead of asked about."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """Share of every class that is set aside as test where the dataset has no splits."""
    seed: int = 0
    skip_unreadable: bool = False
    background: str = "white"
    """The colour on which transparent images are composited."""
    orientation: Literal["upright", "stored"] = "upright"


BRING = "tasks.datasets.importing.main"


class Warned(CardModel):
    """Something that would spoil a measurement."""

    kind: str
    count: int
    words: str
    examples: tuple[str, ...] = ()


class ImportProgress(CardModel):
    """How far the looking is."""

    kind: Literal["progress"] = "progress"
    done: int
    total: int


class ImportResult(CardModel):
    """A dataset that can be used: its card, and what to know of it. `card.manifest` is its digest."""

    kind: Literal["brought"] = "brought"
    layout: Kind
    card: DatasetCard
    notes: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()


class ImportFailure(CardModel):
    """Why it cannot be used; with `question`, what the user has to decide first."""

    kind: Literal["not brought"] = "not brought"
    error: str
    question: bool = False


class DatasetProblem(Exception):  # noqa: N818 - a domain word, raised as such
    """The dataset cannot be used as it is; `question` when an option would decide."""

    def __init__(self, words: str, *, question: bool = False) -> None:
        self.question = question
        super().__init__(words)


class ImportRequest(CardModel):
    """What the process is told: where the data are, under which name, and where the index goes."""

    path: str
    name: str
    index: str
    cache: str | None = None
    """The folder in which the digests of its files are remembered."""
    wish: ImportOptions = ImportOptions()


Answer = Annotated[ImportProgress | ImportResult | ImportFailure, Field(discriminator="kind")]
ANSWER: TypeAdapter[ImportProgress | ImportResult | ImportFailure] = TypeAdapter(Answer)


def import_dataset(order: ImportRequest, on_progress: Callable[[ImportProgress], None]) -> ImportResult:
    """Recognise, split and look through a dataset in a process of its own; its index is written when this returns.

    Raises DatasetProblem with the sentence that the process gave.
    """
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-P", "-m", BRING, order.model_dump_json()]
    answer: ImportResult | ImportFailure | None = None
    with (
        TemporaryFile("w+") as complaints,  # a pipe that nobody reads meanwhile would fill, and hold the process
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            try:
                said = ANSWER.validate_json(line)
            except ValidationError:
                continue
            if isinstance(said, ImportProgress):
                on_progress(said)
            else:
                answer = said
        process.wait()
        complaints.seek(0)
        last = (complaints.read().strip().splitlines() or ["it said nothing"])[-1]
    if isinstance(answer, ImportResult):
        return answer
    if answer is None:
        raise DatasetProblem(f"{Path(order.path)} could not be looked through: {last}")
    raise DatasetProblem(answer.error, question=answer.question)


SURVEY = "tasks.datasets.importing.scan_main"


class ScanReport(CardModel):
    """What was found; `error` when the dataset could not be opened."""

    error: str | None = None
    images: dict[str, int] = Field(default_factory=dict)
    classes: int = 0
    side: int = 0
    """Median of the images' shorter sides in pixels."""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()


def survey(card: DatasetCard, data_root: Path) -> ScanReport:
    """Open the dataset and decode every image."""
    done = run_module(SURVEY, str(data_root), given=card.model_dump_json())
    try:
        return ScanReport.model_validate_json(done.stdout)
    except ValidationError:
        return ScanReport(error=f"the process that looks through the data failed: {last_error_line(done)}")
