"""Compute `published.json`: rank intervals and correlations of the published tables.

    python -P tests/ssl_console/analysis/statistics/golden/analysis.py

rewrites the file. README.md next to it explains the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssl_console.analysis.correlations import published_transfer
from ssl_console.analysis.published import published
from ssl_console.analysis.rank_intervals import rank_table
from ssl_console.analysis.ranking import rank
from ssl_console.workspace.result import Result

FILE = Path(__file__).with_name("published.json")
DECIMALS = 3
HEADLINES = {
    "detection-frozen": "ap50",
    "detection-finetune": "ap50",
    "normals": "within-11.25",
    "segmentation": "miou",
}
"""Metric by which the paper's figure 1 judges a protocol."""
RECOGNITION = ("linear", "finetune", "few-shot")


def protocol(result: Result) -> str:
    """Protocol part of a task name, e.g. `few-shot-5` of `few-shot-5/aircraft`."""
    return result.task.partition("/")[0]


GROUPS: Mapping[str, Callable[[Result], bool]] = {
    "linear": lambda result: protocol(result) == "linear",
    "finetune": lambda result: protocol(result) == "finetune",
    "few-shot": lambda result: protocol(result).startswith("few-shot"),
    "detection and dense": lambda result: HEADLINES.get(protocol(result)) == result.metric,
    "everything": lambda result: (
        protocol(result).startswith(RECOGNITION) or HEADLINES.get(protocol(result)) == result.metric
    ),
}


def analysis() -> dict[str, Any]:
    """All values, rounded."""
    tables = {name: rank_table(rank(filter(belongs, published())), _nothing) for name, belongs in GROUPS.items()}
    found: dict[str, Any] = rounded(
        {
            "ranks": {name: [asdict(row) for row in table.ranks.rows] for name, table in tables.items()},
            "critical_difference": {
                name: table.classical.critical_difference for name, table in tables.items() if table.classical
            },
            "correlations": {
                setting.name: asdict(setting.association)
                for setting in published_transfer().settings
                if setting.association
            },
        }
    )
    return found


def rounded(content: Any) -> Any:
    """Floats to a few decimals, so that another linear algebra library gives the same file."""
    if isinstance(content, float):
        return round(content, DECIMALS) + 0.0
    if isinstance(content, dict):
        return {name: rounded(value) for name, value in content.items()}
    return [rounded(value) for value in content] if isinstance(content, list) else content


def _nothing(_run_id: str) -> None:
    """Published numbers have no predictions."""


def written(content: object) -> str:
    """In the file's format: one line per backbone or coefficient."""
    lines = json.dumps(content, indent=1)
    return lines + "\n"


if __name__ == "__main__":
    FILE.write_text(written(analysis()))
