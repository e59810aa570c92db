"""Durations of runs without comparable results, from the measured speed of the backbone on this device."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from backbones.catalog.card import BackboneCard
from backbones.io.file_digests import canonical
from backbones.io.files import write_if_possible
from ssl_console.operations.budget import BudgetCell
from ssl_console.planning.duration import History
from ssl_console.planning.plan import PlannedRun
from ssl_console.system import command_hints
from tasks.backbone_checks.finding import CheckRequest
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.card import DatasetCard

SPEED = "tasks.backbone_checks.speed"
PROTOCOL_S = 10.0
"""Default seconds of a protocol on stored features, where none was measured yet."""
SECONDS = 600.0


class UnknownDuration(Exception):  # noqa: N818 - an answer, not a fault
    """The duration of a run cannot be estimated; the message gives the reason."""


@dataclass(frozen=True)
class UncertainRun:
    """A run of unknown duration."""

    backbone: str
    task: str
    why: str


@dataclass
class Profiler:
    """Speeds by backbone; measured once per weights, card and device, and stored."""

    folder: Path
    weights: Path
    device: str
    images: Callable[[DatasetCard], int | None]
    """Number of images of a dataset; None when it has not been read yet."""
    notify: Callable[[str], None]
    _speeds: dict[str, float | None] = field(default_factory=dict)

    def cell(self, run: PlannedRun, history: History) -> BudgetCell:
        """The run with its expected duration. Raises UnknownDuration.

        The best source are runs of this task; next, encoding at the backbone's own speed is more precise than durations
        of the protocol on other datasets.
        """
        work = run.candidate.work
        known = history.of_task(work)
        if known is not None:
            same = (work.backbone, work.task, work.variant) in history.exact
            return BudgetCell(work.backbone, work.task, known, "measured" if same else "estimated", run)
        if PROTOCOLS[work.protocol].reads_features:
            return self._profiled(run)
        usual = history.seconds(work)
        if usual is None:
            raise UnknownDuration(f"no {work.protocol} was measured yet: run one to learn its duration")
        return BudgetCell(work.backbone, work.task, usual, "estimated", run)

    def _profiled(self, run: PlannedRun) -> BudgetCell:
        """Duration of encoding all images at the measured speed, and of the protocol on stored features."""
        candidate = run.candidate
        count = self.images(candidate.dataset)
        if count is None:
            raise UnknownDuration(f"the number of images of {candidate.dataset.name} is not known yet")
        speed = self.speed(candidate.backbone)
        if not speed:
            name = candidate.backbone.name
            raise UnknownDuration(
                f"{name} cannot be timed: `{command_hints.examine(name)}` shows what is wrong with it"
            )
        encoding = count / speed
        work, dataset = candidate.work, candidate.dataset.name
        return BudgetCell(work.backbone, work.task, encoding + PROTOCOL_S, "profiled", run, dataset, encoding)

    def speed(self, card: BackboneCard) -> float | None:
        """Images per second; None when the backbone cannot be loaded."""
        if card.name not in self._speeds:
            self._speeds[card.name] = self._kept(card) or self._measure(card)
        return self._speeds[card.name]

    def _kept(self, card: BackboneCard) -> float | None:
        try:
            return float(json.loads(self._place(card).read_bytes())["images_per_s"])
        except (OSError, ValueError, KeyError):
            return None

    def _measure(self, card: BackboneCard) -> float | None:
        self.notify(f"measuring the speed of {card.name} ...")
        request = CheckRequest(backbone=card, weights=str(self.weights), device=self.device)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", SPEED],
                input=request.model_dump_json(),
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
                check=True,
            )
            found = float(json.loads(done.stdout)["images_per_s"])
        except (subprocess.SubprocessError, ValueError, KeyError):
            return None
        write_if_possible(self._place(card), json.dumps({"images_per_s": found}).encode())
        return found

    def _place(self, card: BackboneCard) -> Path:
        """File of a speed, named by what determines it: architecture, input, device."""
        parts = [card.architecture, dict(card.architecture_arguments), card.input.size, card.pooling, self.device]
        return self.folder / f"{hashlib.sha256(canonical(parts)).hexdigest()[:16]}.json"


def cells_of(
    runs: Iterable[PlannedRun], history: History, profiler: Profiler
) -> tuple[list[BudgetCell], list[UncertainRun]]:
    """Runs with a known duration, and the others."""
    cells, unclear = list[BudgetCell](), list[UncertainRun]()
    for run in runs:
        try:
            cells.append(profiler.cell(run, history))
        except UnknownDuration as reason:
            unclear.append(UncertainRun(run.candidate.backbone.name, run.candidate.task.name, str(reason)))
    return cells, unclear
