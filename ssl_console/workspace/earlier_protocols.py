"""Protocols of results that an earlier version measured under a task card's own name.

Their rows state neither protocol nor dataset, and neither follows from the name of the task; the run's specification
contains both.
"""

from __future__ import annotations

import json

from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.result import Result
from tasks.catalog.protocols import PROTOCOLS


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
