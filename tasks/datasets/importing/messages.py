"""Requests and results of the import of a user's own dataset, passed between processes. Needs no numpy."""

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
    """Options of an import, all optional."""

    layout: Kind | None = None
    file_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    split_words: tuple[tuple[str, str], ...] = ()
    """Values of the split column and their meaning: train, val, test or none; `*` for all others."""
    several: bool | None = None
    """Whether table cells contain several labels, separated by | or ; or commas; None raises Ambiguous if they seem
    to."""
    leave_out: bool = False
    """Whether classes, shards and folders without usable content are left out instead of raising Ambiguous."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """Fraction of every class that is held out as test if the dataset has no splits."""
    seed: int = 0
    skip_unreadable: bool = False
    background: str = "white"
    """Background colour of transparent images."""
    orientation: Literal["upright", "stored"] = "upright"


BRING = "tasks.datasets.importing.main"


class Warned(CardModel):
    """Something that would make results misleading."""

    kind: str
    count: int
    words: str
    examples: tuple[str, ...] = ()


class ImportProgress(CardModel):
    """Progress of the scan."""

    kind: Literal["progress"] = "progress"
    done: int
    total: int


class ImportResult(CardModel):
    """A usable dataset: its card, notes and warnings. `card.manifest` is its digest."""

    kind: Literal["brought"] = "brought"
    layout: Kind
    card: DatasetCard
    notes: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()


class ImportFailure(CardModel):
    """Reason why the dataset cannot be used; with `question`, a decision required from the user."""

    kind: Literal["not brought"] = "not brought"
    error: str
    question: bool = False


class DatasetProblem(Exception):  # noqa: N818 - a domain word, raised as such
    """The dataset cannot be used as it is; `question` if an option would resolve it."""

    def __init__(self, words: str, *, question: bool = False) -> None:
        self.question = question
        super().__init__(words)


class ImportRequest(CardModel):
    """Request to the importing process: path of the data, name, and folder of the index."""

    path: str
    name: str
    index: str
    cache: str | None = None
    """Folder for the digests of its files."""
    wish: ImportOptions = ImportOptions()


Answer = Annotated[ImportProgress | ImportResult | ImportFailure, Field(discriminator="kind")]
ANSWER: TypeAdapter[ImportProgress | ImportResult | ImportFailure] = TypeAdapter(Answer)


def import_dataset(order: ImportRequest, on_progress: Callable[[ImportProgress], None]) -> ImportResult:
    """Detect, split and scan a dataset in a separate process, which writes its index.

    Raises DatasetProblem with the message of the process.
    """
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-P", "-m", BRING, order.model_dump_json()]
    answer: ImportResult | ImportFailure | None = None
    with (
        TemporaryFile("w+") as complaints,  # a full stderr pipe would block the process
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            try:
                message = ANSWER.validate_json(line)
            except ValidationError:
                continue
            if isinstance(message, ImportProgress):
                on_progress(message)
            else:
                answer = message
        process.wait()
        complaints.seek(0)
        last = (complaints.read().strip().splitlines() or ["no error message"])[-1]
    if isinstance(answer, ImportResult):
        return answer
    if answer is None:
        raise DatasetProblem(f"{Path(order.path)} could not be scanned: {last}")
    raise DatasetProblem(answer.error, question=answer.question)


SURVEY = "tasks.datasets.importing.scan_images"


class ScanReport(CardModel):
    """Result of a scan; `error` if the dataset could not be opened."""

    error: str | None = None
    images: dict[str, int] = Field(default_factory=dict)
    classes: int = 0
    side: int = 0
    """Median of the shorter image sides in pixels."""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()


def survey(card: DatasetCard, data_root: Path) -> ScanReport:
    """Open the dataset and decode every image."""
    done = run_module(SURVEY, str(data_root), given=card.model_dump_json())
    try:
        return ScanReport.model_validate_json(done.stdout)
    except ValidationError:
        return ScanReport(error=f"the process that scans the data failed: {last_error_line(done)}")
