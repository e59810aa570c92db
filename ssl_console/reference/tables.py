"""The published tables as they lie in this package, and as results that a ranking can take.

Every table is a JSON file of columns (task, metric, where it was printed) and of rows by backbone card. A cell is a
number, or a number and the half-width of its 95 % interval where one was printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import resources

from pydantic import BaseModel, ConfigDict

from ssl_console.result import Result

TABLES = (
    "imagenet",
    "linear",
    "finetune",
    "few-shot",
    "detection",
    "normals",
    "segmentation",
    "calibration",
    "inversion",
    "attention",
)
"""The files, in the order in which they are shown."""
VARIANT = "paper"
"""The preset whose parameters are those of the published numbers."""

Number = float | tuple[float, float]
"""A value, or a value and the half-width of its interval."""


class PublishedColumn(BaseModel):
    """One task and metric of a table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    metric: str
    """Of the metrics of one task, the first in its table is the one that a suite's column shows."""
    table: str
    """Where it was printed: `Table 1`."""
    n: int
    """Number of test images, or episodes."""
    tolerance: float | None = None
    """How far an own measurement may lie from the number where no interval was printed, in the metric's unit."""
    higher_is_better: bool = True
    unit: str = "percent"

    @property
    def key(self) -> str:
        """The comparability key: nothing that was measured here ever has it."""
        return f"published|{self.task}|{self.metric}"


class PublishedTable(BaseModel):
    """Columns of one subject."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    note: str = ""
    columns: tuple[PublishedColumn, ...]
    rows: dict[str, tuple[Number, ...]]
    """By backbone card, one number a column."""

    def results(self) -> Iterator[Result]:
        """Every cell, column by column."""
        for place, column in enumerate(self.columns):
            for backbone, numbers in self.rows.items():
                yield _result(column, backbone, numbers[place])


@lru_cache(maxsize=1)
def tables() -> tuple[PublishedTable, ...]:
    """All tables; read once."""
    folder = resources.files(__package__)
    return tuple(PublishedTable.model_validate_json((folder / f"{name}.json").read_bytes()) for name in TABLES)


@lru_cache(maxsize=1)
def published() -> tuple[Result, ...]:
    """Every published number as a result with `source="paper"` and a comparability key of its own.

    Where no interval was printed, both of its ends are the value itself.
    """
    return tuple(result for table in tables() for result in table.results())


def column_of(task: str, metric: str) -> PublishedColumn | None:
    """The published column of a task and metric; None when there is none."""
    return _columns().get((task, metric))


@lru_cache(maxsize=1)
def _columns() -> dict[tuple[str, str], PublishedColumn]:
    return {(column.task, column.metric): column for table in tables() for column in table.columns}


def _result(column: PublishedColumn, backbone: str, number: Number) -> Result:
    value, half = number if isinstance(number, tuple) else (number, 0.0)
    name = f"{column.key}|{backbone}"
    return Result(
        run_id=name,
        key=name,
        backbone=backbone,
        task=column.task,
        variant=VARIANT,
        column=column.key,
        seed=0,
        metric=column.metric,
        value=value,
        ci_low=value - half,
        ci_high=value + half,
        n=column.n,
        higher_is_better=column.higher_is_better,
        finished=0.0,
        duration_s=0.0,
        source="paper",
    )
