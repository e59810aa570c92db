"""Results as a tidy table: one row for each backbone, task, seed and metric, as CSV or parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from backbones.io.files import whole_file
from ssl_console.analysis.export import no_formula
from ssl_console.analysis.further_scores import optimism_of
from ssl_console.system.safe_text import json_text
from ssl_console.workspace.result import Result, ResultRecord


@dataclass(frozen=True)
class TidyRow:
    """One metric of one result. Percentages are 0 to 100; None where unknown."""

    backbone: str
    task: str
    protocol: str
    dataset: str
    variant: str
    seed: int
    metric: str
    headline: bool
    """Whether rankings use this metric; only it has an interval."""
    value: float
    ci_low: float | None
    ci_high: float | None
    interval_method: str | None
    higher_is_better: bool | None
    """Direction of the headline; None for other metrics."""
    n: int
    chosen_on_test: float | None
    """The headline if its setting had been chosen on the test images; a diagnostic, never the score."""
    badges: str
    warnings: int
    data_notes: str
    column: str
    key: str
    run_id: str
    origin: str
    weights: str | None
    data: str | None
    version: str | None
    device: str
    finished: str
    """ISO 8601, UTC."""
    duration_s: float
    images_per_s: float | None
    memory_mb: float | None
    energy_j: float | None
    parameters: str
    """JSON."""


NAMES = tuple(field.name for field in fields(TidyRow))


def tidy_rows(results: Sequence[Result], records: Mapping[str, ResultRecord | None]) -> list[TidyRow]:
    """All metrics of every result, the headline first; only the headline if a record is missing."""
    rows: list[TidyRow] = []
    for row in sorted(results, key=lambda one: (one.backbone, one.task, one.variant, one.seed, one.finished)):
        record = records.get(row.run_id)
        metrics = {row.metric: row.value, **(record.metrics if record else {})}
        rows += [_row(row, record, name, value) for name, value in metrics.items()]
    return rows


def _row(result: Result, record: ResultRecord | None, metric: str, value: float) -> TidyRow:
    headline = metric == result.metric
    return TidyRow(
        backbone=result.backbone,
        task=result.task,
        protocol=result.protocol_name,
        dataset=result.dataset_name,
        variant=result.variant,
        seed=result.seed,
        metric=metric,
        headline=headline,
        value=result.value if headline else value,
        ci_low=result.ci_low if headline else None,
        ci_high=result.ci_high if headline else None,
        interval_method=(result.interval_method or None) if headline else None,
        higher_is_better=result.higher_is_better if headline else None,
        n=result.n,
        chosen_on_test=_chosen_on_test(record) if headline else None,
        badges="; ".join(result.badges),
        warnings=result.warnings,
        data_notes="; ".join(result.data_notes),
        column=result.column,
        key=result.key,
        run_id=result.run_id,
        origin=result.origin,
        weights=part_of(record, "backbone", "weights"),
        data=part_of(record, "data", "manifest"),
        version=record.versions.get("ssl-console") if record else None,
        device=result.device,
        finished=datetime.fromtimestamp(result.finished, UTC).isoformat(timespec="seconds"),
        duration_s=result.duration_s,
        images_per_s=result.images_per_s,
        memory_mb=result.memory_mb,
        energy_j=record.energy_j if record else None,
        parameters=json_text(record.parameters) if record else "{}",
    )


def _chosen_on_test(record: ResultRecord | None) -> float | None:
    """The most inflated reading, if its protocol has several."""
    found = optimism_of(record) if record else []
    return max(found, key=lambda one: one.inflation).on_test if found else None


def part_of(record: ResultRecord | None, group: str, name: str) -> str | None:
    """A text in the identity of a record: the digest of its weights or data."""
    parts = record.identity.get(group) if record else None
    found = parts.get(name) if isinstance(parts, Mapping) else None
    return found if isinstance(found, str) else None


def tidy_csv(rows: Sequence[TidyRow]) -> str:
    """Unrounded numbers; unknown values are empty. Names that a spreadsheet would interpret as a formula are prefixed
    with an apostrophe.
    """
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(NAMES)
    for row in rows:
        writer.writerow([_text(value) for value in asdict(row).values()])
    return lines.getvalue()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return no_formula(value) if isinstance(value, str) else repr(value)


def write_parquet(rows: Sequence[TidyRow], path: Path) -> None:
    """Write a parquet file. Raises ImportError without pyarrow, OSError."""
    import pyarrow  # noqa: PLC0415 - an extra
    import pyarrow.parquet  # noqa: PLC0415

    kinds = {"str": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
    schema = pyarrow.schema([(one.name, kinds[str(one.type).partition(" ")[0]]) for one in fields(TidyRow)])
    table = pyarrow.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    with whole_file(path) as file:  # never through a link, and never half
        pyarrow.parquet.write_table(table, file)
