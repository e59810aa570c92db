"""Results for other programs: a tidy table, and files for a backbone's page on the Hugging Face hub. Pure.

The tidy table has one row for each backbone, task, seed and metric, as CSV or parquet.

Sources of the files for the hub: eval_results.yaml of huggingface/hub-docs (259eaee) and its page `hub/eval-results`: a
list of entries with `dataset.id` (a benchmark of the hub) and `dataset.task_id`, `value`, and optionally `date`,
`source`, `notes`. The correspondence of datasets to those of the hub is stated by the user.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from backbones.io.files import whole_file
from ssl_console.analysis.badged_results import legend
from ssl_console.analysis.export import escape_markdown, no_formula
from ssl_console.analysis.further_scores import optimism_of
from ssl_console.analysis.ranking_cell import size_text, unit_of
from ssl_console.system.safe_text import json_text
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result, ResultRecord

DIGITS = 4
"""Significant decimal places of a value in a YAML file."""


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
    optimism = optimism_of(record) if record and headline else []
    most = max(optimism, key=lambda one: one.inflation, default=None)  # a protocol may have several choices
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
        chosen_on_test=None if most is None else most.on_test,
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
    with whole_file(path) as file:  # never through a link, and never in part
        pyarrow.parquet.write_table(table, file)


@dataclass(frozen=True)
class HubBenchmark:
    """A benchmark dataset of the hub as named by the user: `ORG/NAME` or `ORG/NAME:TASK`."""

    dataset: str
    task: str

    @classmethod
    def of(cls, text: str) -> HubBenchmark:
        """Parse `ORG/NAME:TASK`; the task defaults to the dataset's name. Raises ValueError."""
        dataset, _, task = text.partition(":")
        owner, slash, name = dataset.partition("/")
        if not (owner and slash and name) or "/" in name:
            raise ValueError(f"{text}: a dataset of the hub is ORG/NAME or ORG/NAME:TASK")
        return cls(dataset, task or name)


def eval_results(results: Sequence[Result], benchmark: HubBenchmark, source: tuple[str, str] | None = None) -> str:
    """The YAML of one benchmark, with an entry for every result. `source` is an address and its name."""
    return "".join(_entry(result, benchmark, source) for result in results)


def _entry(result: Result, benchmark: HubBenchmark, source: tuple[str, str] | None) -> str:
    lines = [
        "- dataset:",
        f"    id: {_scalar(benchmark.dataset)}",
        f"    task_id: {_scalar(benchmark.task)}",
        f"  value: {round(result.value, DIGITS):g}",
        f"  date: {_scalar(datetime.fromtimestamp(result.finished, UTC).date().isoformat())}",
    ]
    if source is not None:
        lines += ["  source:", f"    url: {_scalar(source[0])}", f"    name: {_scalar(source[1])}"]
    lines.append(f"  notes: {_scalar(_notes(result))}")
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    """A quoted string, which is the same in JSON and YAML."""
    return json.dumps(text)


def _notes(result: Result) -> str:
    """Protocol, interval, images, seed, and all warnings about the score."""
    doubts = f"; doubts: {', '.join(result.badges)}" if result.badges else ""
    noted = f"; data: {'; '.join(result.data_notes)}" if result.data_notes else ""
    size = size_text(result.n, unit_of(result.protocol_name))
    interval = f"95 % interval {result.ci_low:.2f} to {result.ci_high:.2f}"
    what = f"{result.metric} of {result.task} [{result.variant}], {interval}, {size}, seed {result.seed}"
    return f"{what}, key {result.key[:12]}{doubts}{noted}"


def model_card_table(backbone: str, results: Sequence[Result], version: str) -> str:
    """A Markdown section with one row per result, intervals and marks, and the meaning of the marks."""
    head = ("Task", "Variant", "Metric", "Score", "95 % interval", "n", "Seed")
    lines = [f"## Evaluation of {escape_markdown(backbone)}", "", _line(head), _line(["---"] * 3 + ["---:"] * 4)]
    for one in results:
        score = f"{one.value:.2f}{escape_markdown(marks(one.badges))}"
        size = size_text(one.n, unit_of(one.protocol_name))
        names = [escape_markdown(text) for text in (one.task, one.variant, one.metric)]
        lines.append(_line([*names, score, f"{one.ci_low:.2f} to {one.ci_high:.2f}", size, str(one.seed)]))
    used = legend(one.badges for one in results)
    below = [f"{escape_markdown(mark)} {meaning}" for mark, meaning in used.items()]
    for one in results:
        reasons = [*one.badges, *one.data_notes]
        if reasons:
            below.append(escape_markdown(f"{one.task} [{one.variant}], seed {one.seed}: {'; '.join(reasons)}"))
    below.append(f"Measured with ssl-console {escape_markdown(version)}; settings were chosen without the test images.")
    return "\n".join([*lines, "", *(f"{text}\n" for text in below)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def by_benchmark(
    results: Sequence[Result], benchmarks: Mapping[str, HubBenchmark]
) -> tuple[dict[str, list[Result]], list[str]]:
    """Results by file name, and the datasets without a stated benchmark. Every task has its own file, so that a page
    never shows two protocols as one.
    """
    files: dict[str, list[Result]] = {}
    missing: dict[str, None] = {}
    for one in results:
        if one.dataset_name in benchmarks:
            name = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in f"{one.task}-{one.variant}")
            files.setdefault(f"{name}.yaml", []).append(one)
        else:
            missing[one.dataset_name] = None
    return files, list(missing)
