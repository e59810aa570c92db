"""Own numbers that a published table has besides a result's headline: other metrics, and means over datasets.

Table 9 prints means: calibration over the many-shot datasets with one label per image, attention and inversion over all
datasets of recognition. Such a mean is made where every one of its datasets was measured, and nowhere else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ssl_console.reference.tables import tables
from ssl_console.result import Result

Metrics = Callable[[str], Mapping[str, float]]
"""All metrics of a run, by its id; none where its record is gone."""
ONE_LABEL = ("aircraft", "caltech101", "cars", "cifar10", "cifar100", "dtd", "flowers", "food", "pets", "sun397")
RECOGNITION = (*ONE_LABEL, "voc2007", "cropdiseases", "eurosat", "isic", "chestx")


@dataclass(frozen=True)
class _Mean:
    """What a published number is the mean of."""

    protocol: str
    metric: str
    """As the protocol calls it."""
    datasets: tuple[str, ...]


def further_numbers(results: Iterable[Result], metrics_of: Metrics) -> list[Result]:
    """Every number of these results that has a published column of its own and is not their headline.

    Intervals are of the headlines alone: those of further numbers have no width.
    """
    own = sorted(results, key=lambda result: result.finished)
    metrics = {result.run_id: metrics_of(result.run_id) for result in own}
    return [*_other_metrics(own, metrics), *_means(own, metrics)]


def published_tasks(tasks: Sequence[str]) -> list[str]:
    """What is published of these tasks: themselves, and means whose every part is among them."""
    columns = dict.fromkeys(column.task for table in tables() for column in table.columns)
    parts: dict[str, set[str]] = defaultdict(set)
    for (task, _), mean in _MEANS.items():
        parts[task] |= {f"{mean.protocol}/{dataset}" for dataset in mean.datasets}
    alone = [task for task in tasks if task in columns]
    return [*alone, *(task for task, needed in parts.items() if needed <= set(tasks))]


def _other_metrics(own: list[Result], metrics: Mapping[str, Mapping[str, float]]) -> Iterator[Result]:
    columns = [column for table in tables() for column in table.columns]
    for result in own:
        for column in columns:
            found = metrics[result.run_id].get(column.metric)
            if column.task == result.task and column.metric != result.metric and found is not None:
                yield _number(result, result.task, column.metric, found, f"{result.column}|{column.metric}")


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
