"""Per-sample outputs of runs, read when a test needs them."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import ResultRecord

Arrays = Mapping[str, npt.NDArray[np.generic]]
Predictions = Callable[[str], Arrays | None]
"""Arrays by run id; None when the run has no readable predictions."""

_HEAVY = frozenset(
    {
        "logits",
        "saliency",
        "probability",
        "confidence",
        "confidence_scaled",
        "angle_counts",
        "original",
        "reconstruction",
    }
)
"""Arrays that no test needs; class scores are needed only where there is no single predicted class."""

_NO_ARRAYS = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, MemoryError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""Exceptions of numpy and zipfile for a damaged file: a wrong flag looks like a password or an unknown compression."""


@dataclass
class RunOutputs:
    """Outputs in the run folders of one workspace. Ended runs never change, so each file is read once."""

    workspace: Workspace
    _arrays: dict[str, Arrays | None] = field(default_factory=dict)
    _records: dict[str, ResultRecord | None] = field(default_factory=dict)

    def predictions(self, run_id: str) -> Arrays | None:
        """Arrays of `predictions.npz` that tests need; None when it is missing or damaged."""
        if run_id not in self._arrays:
            try:
                with np.load(self.workspace.run(run_id).predictions, allow_pickle=False) as file:
                    unneeded = _HEAVY | ({"scores"} if "predicted" in file else set())
                    needed = [name for name in file.files if name not in unneeded and "@" not in name]
                    self._arrays[run_id] = {name: file[name] for name in needed}
            except _NO_ARRAYS:
                self._arrays[run_id] = None
        return self._arrays[run_id]

    def part(self, run_id: str) -> Arrays | None:
        """Arrays of `part.npz` as they are now; None when it is missing or damaged."""
        try:
            with np.load(self.workspace.run(run_id).part, allow_pickle=False) as file:
                return {name: file[name] for name in ("index", "label", "predicted")}
        except _NO_ARRAYS:
            return None

    def record(self, run_id: str) -> ResultRecord | None:
        """`result.json`; None when it is missing or damaged."""
        if run_id not in self._records:
            try:
                content = self.workspace.run(run_id).result.read_bytes()
                self._records[run_id] = ResultRecord.model_validate_json(content)
            except (OSError, ValidationError):
                self._records[run_id] = None
        return self._records[run_id]

    def metrics(self, run_id: str) -> Mapping[str, float]:
        """All metrics of a run; empty without a record."""
        record = self.record(run_id)
        return {} if record is None else record.metrics
