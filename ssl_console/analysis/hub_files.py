"""Results of a backbone for its page on the Hugging Face hub: `.eval_results` files and a table for the model card.

Sources: eval_results.yaml of huggingface/hub-docs (259eaee) and its page `hub/eval-results`: a list of entries with
`dataset.id` (a benchmark of the hub) and `dataset.task_id`, `value`, and optionally `date`, `source`, `notes`. The
correspondence of datasets to those of the hub is stated by the user. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ssl_console.analysis.badged_results import legend
from ssl_console.analysis.export import escape_markdown
from ssl_console.analysis.ranking_cell import size_text, unit_of
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

DIGITS = 4
"""Significant decimal places of a value in a YAML file."""


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
