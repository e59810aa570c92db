"""The published tables of this package, and their conversion to results for rankings.

Every table is a JSON file of columns (task, metric, place of publication) and of rows by backbone card. A cell is a
number, or a number and the half-width of its 95 % interval if one was published.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ssl_console.workspace.badges import CHOSEN_ON_TEST
from ssl_console.workspace.result import Result

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
"""Files of the paper's tables, in display order."""
REFERENCES = (
    "reference-frozen",
    "reference-attentive",
    "reference-finetune",
    "reference-dense",
    "reference-retrieval",
    "reference-board",
)
"""Files of numbers published elsewhere, each column with the protocol of its measurement."""
ChosenOn = Literal["validation", "test", "fixed", "unknown"]
"""Images on which the setting of a published number was chosen: validation images, the reported ones, or none."""
Provenance = Literal["read", "third-party", "memory"]
"""How a number is known: read at its source, cited by others than its authors, or from memory and not checked."""
PROVENANCE_WORDS: Mapping[str, str] = {
    "read": "",
    "third-party": "cited by a third party",
    "memory": "from memory, not checked",
}
VARIANT = "paper"
"""The preset with the parameters of the published numbers."""

Number = float | tuple[float, float]
"""A value, or a value and the half-width of its interval."""


class PublishedColumn(BaseModel):
    """One task and metric of a table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    metric: str
    """Name of the metric; a suite's column shows the first metric of a task in its table."""
    table: str
    """Place of publication: `Table 1`."""
    n: int
    """Number of test images, or episodes; 0 where the source does not state it."""
    variant: str = VARIANT
    """The preset of the task with the same protocol, or a name of its own if no task has that protocol. Numbers of
    other variants than the paper's are shown only next to own results of the same variant.
    """
    protocol: str = ""
    """Description of the protocol, if it is not the paper's."""
    source: str = ""
    """File or publication of the number, if it differs from that of the whole table."""
    chosen_on: ChosenOn = "unknown"
    """Images on which its setting was chosen; `test` marks the number, which is too high by the optimism of that
    choice.
    """
    provenance: Provenance = "read"
    tolerance: float | None = None
    """Tolerance for numbers without an interval, in the metric's unit."""
    higher_is_better: bool = True
    unit: str = "percent"

    @property
    def key(self) -> str:
        """The comparability key, which no own measurement has."""
        variant = "" if self.variant == VARIANT else f"|{self.variant}"
        return f"published|{self.task}|{self.metric}{variant}"


class PublishedTable(BaseModel):
    """Columns of one subject."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    note: str = ""
    others: dict[str, str] = {}
    """Backbones of rows without a card: name and description."""
    remarks: dict[str, str] = {}
    """Reasons for which a row is not comparable with the other rows, by backbone."""
    columns: tuple[PublishedColumn, ...]
    rows: dict[str, tuple[Number | None, ...]]
    """One number per column by backbone card; null where none was published."""

    def results(self) -> Iterator[Result]:
        """All cells, column by column."""
        for place, column in enumerate(self.columns):
            for backbone, numbers in self.rows.items():
                number = numbers[place]
                if number is not None:
                    yield _result(column, backbone, number)


@lru_cache(maxsize=1)
def tables() -> tuple[PublishedTable, ...]:
    """The paper's tables, cached."""
    return _read(TABLES)


@lru_cache(maxsize=1)
def references() -> tuple[PublishedTable, ...]:
    """Tables of numbers published elsewhere, by other protocols, cached."""
    return _read(REFERENCES)


def _read(names: Sequence[str]) -> tuple[PublishedTable, ...]:
    folder = resources.files(__package__)
    return tuple(PublishedTable.model_validate_json((folder / f"{name}.json").read_bytes()) for name in names)


@lru_cache(maxsize=1)
def published() -> tuple[Result, ...]:
    """Every number of the paper as a result with `source="paper"` and a comparability key of its own.

    Without a published interval, both bounds equal the value.
    """
    return tuple(result for table in tables() for result in table.results())


@lru_cache(maxsize=1)
def reference_numbers() -> tuple[Result, ...]:
    """All numbers of the other tables, in the form of `published`; `variant` is the protocol."""
    return tuple(result for table in references() for result in table.results())


def all_published(boards: Sequence[PublishedTable] = ()) -> tuple[Result, ...]:
    """The paper's numbers, then those of others; `boards` of the user replace columns of the same key."""
    added = [number for board in boards for number in board.results()]
    replaced = {number.column for number in added}
    kept = (number for number in (*published(), *reference_numbers()) if number.column not in replaced)
    return (*kept, *added)


def column_of(task: str, metric: str, variant: str = VARIANT) -> PublishedColumn | None:
    """The published column of a task, metric and variant; None if there is none."""
    return _columns().get((task, metric, variant))


def source_of(column: PublishedColumn) -> str:
    """File or publication of a column's numbers."""
    source = column.source or next(table.source for table in (*tables(), *references()) if column in table.columns)
    words = PROVENANCE_WORDS[column.provenance]
    return f"{source} ({words})" if words else source


def column_of_number(number: Result, boards: Sequence[PublishedTable] = ()) -> PublishedColumn:
    """The original column of a published number that was moved."""
    key = number.key.rpartition("|")[0]
    added = [column for board in boards for column in board.columns]
    return next(column for column in (*added, *_columns().values()) if column.key == key)


@lru_cache(maxsize=1)
def _columns() -> dict[tuple[str, str, str], PublishedColumn]:
    every = (column for table in (*tables(), *references()) for column in table.columns)
    return {(column.task, column.metric, column.variant): column for column in every}


def _result(column: PublishedColumn, backbone: str, number: Number) -> Result:
    value, half = number if isinstance(number, tuple) else (number, 0.0)
    name = f"{column.key}|{backbone}"
    return Result(
        run_id=name,
        key=name,
        backbone=backbone,
        task=column.task,
        variant=column.variant,
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
        badges=(CHOSEN_ON_TEST,) if column.chosen_on == "test" else (),
        source="paper",
    )


Metrics = Callable[[str], Mapping[str, float]]
"""All metrics of a run, by its id; empty if its record is missing."""
ONE_LABEL = ("aircraft", "caltech101", "cars", "cifar10", "cifar100", "dtd", "flowers", "food", "pets", "sun397")
RECOGNITION = (*ONE_LABEL, "voc2007", "cropdiseases", "eurosat", "isic", "chestx")


@dataclass(frozen=True)
class _Mean:
    """Components of a published mean."""

    protocol: str
    metric: str
    """Name of the metric in the protocol."""
    datasets: tuple[str, ...]


def further_numbers(results: Iterable[Result], metrics_of: Metrics) -> list[Result]:
    """Metrics of these results other than the headline that have a published column of their own. Only headlines have
    intervals; those of further numbers have no width.
    """
    own = sorted(results, key=lambda result: result.finished)
    metrics = {result.run_id: metrics_of(result.run_id) for result in own}
    columns = [column for table in tables() for column in table.columns]
    numbers = []
    for result in own:
        for column in columns:
            found = metrics[result.run_id].get(column.metric)
            if column.task == result.task and column.metric != result.metric and found is not None:
                key = f"{result.column}|{column.metric}"
                numbers.append(_number(result, result.task, column.metric, found, key))
    return [*numbers, *_means(own, metrics)]


def published_tasks(tasks: Sequence[str]) -> list[str]:
    """Published columns of these tasks: of the tasks themselves, and of means whose parts are all among them."""
    columns = dict.fromkeys(column.task for table in tables() for column in table.columns)
    parts: dict[str, set[str]] = defaultdict(set)
    for (task, _), mean in _MEANS.items():
        parts[task] |= {f"{mean.protocol}/{dataset}" for dataset in mean.datasets}
    alone = [task for task in tasks if task in columns]
    return [*alone, *(task for task, needed in parts.items() if needed <= set(tasks))]


def _means(own: list[Result], metrics: Mapping[str, Mapping[str, float]]) -> Iterator[Result]:
    newest: dict[tuple[str, str, int], dict[str, Result]] = defaultdict(dict)
    for result in own:
        newest[result.backbone, result.variant, result.seed][result.task] = result
    for of_tasks in newest.values():
        for (task, metric), mean in _MEANS.items():
            parts = [of_tasks.get(f"{mean.protocol}/{dataset}") for dataset in mean.datasets]
            values = [metrics[part.run_id].get(mean.metric) if part else None for part in parts]
            known = [value for value in values if value is not None]
            last = next(iter(reversed([part for part in parts if part])), None)
            if last is not None and len(known) == len(parts):
                yield _number(last, task, metric, fmean(known), f"mean|{task}|{metric}|{last.variant}")


def _number(result: Result, task: str, metric: str, value: float, column: str) -> Result:
    changed = {"task": task, "metric": metric, "value": value, "ci_low": value, "ci_high": value, "column": column}
    return result.model_copy(update=changed)


_MEANS: Mapping[tuple[str, str], _Mean] = {
    **{
        ("calibration/many-shot", f"ece-{protocol}{published}"): _Mean(protocol, metric, ONE_LABEL)
        for protocol in ("linear", "finetune")
        for published, metric in (("", "ece"), ("-scaled", "ece_scaled"))
    },
    ("attention/recognition", "diffusion"): _Mean("attention", "diffusion", RECOGNITION),
    **{
        ("inversion/recognition", metric): _Mean("inversion", metric, RECOGNITION)
        for metric in ("lpips-alex", "lpips-vgg", "lpips-squeeze", "mse-red", "mse-green", "mse-blue")
    },
}
