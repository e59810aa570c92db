"""Schema versions of the results database, and the upgrade of older ones.

Results that an earlier version measured under a task card's own name get their protocol: their rows state neither
protocol nor dataset, and neither follows from the name of the task; the run's specification contains both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.result import Result
from tasks.catalog.protocols import PROTOCOLS

Document = dict[str, Any]
"""The whole TinyDB file: tables by name, rows by number."""


SCHEMA_VERSION = 1


SCHEMA_TABLE = "schema"


RESULTS_TABLE = "results"


MIGRATIONS: Mapping[int, Callable[[Document], Document]] = {}
"""Migration steps by version: step n converts a document of version n to version n + 1."""


class NewerSchemaError(Exception):
    """The file was written by a newer version of this program."""


def new_document() -> Document:
    """Empty document of the present schema."""
    return {SCHEMA_TABLE: {"1": {"version": SCHEMA_VERSION}}, RESULTS_TABLE: {}}


def version_of(document: Document) -> int:
    """Schema version of a document. Raises ValueError when it has none."""
    row = document.get(SCHEMA_TABLE, {}).get("1")
    version = row.get("version") if isinstance(row, dict) else None
    if not isinstance(version, int):
        raise ValueError("it has no schema version")
    return version


def migrate(
    document: Document,
    migrations: Mapping[int, Callable[[Document], Document]] = MIGRATIONS,
    target: int = SCHEMA_VERSION,
) -> Document:
    """The document at version `target`. Raises NewerSchemaError when it is newer, ValueError when it has no version."""
    version = version_of(document)
    if version > target:
        raise NewerSchemaError(
            f"its schema version is {version}, this program supports up to {target}: upgrade ssl-console"
        )
    for step in range(version, target):
        document = {**migrations[step](document), SCHEMA_TABLE: {"1": {"version": step + 1}}}
    return document


def is_unstated(result: Result) -> bool:
    """Whether neither the row nor the task's name gives a known protocol."""
    return result.source == "mine" and not result.protocol and result.protocol_name not in PROTOCOLS


def stated(result: Result, folder: RunFolder) -> Result:
    """Result with protocol and dataset of its run's specification; unchanged where that cannot be read."""
    if not is_unstated(result):
        return result
    try:
        spec = json.loads(folder.spec.read_bytes())
        found = {"protocol": str(spec["task"]["protocol"]), "dataset": str(spec["dataset"]["name"])}
    except (OSError, ValueError, KeyError, TypeError):
        return result
    return result.model_copy(update=found)
