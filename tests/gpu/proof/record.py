"""A part of the proof and its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

Status = Literal["passed", "failed", "skipped", "out of time"]


class NeedsDeviceError(Exception):
    """The part requires a CUDA device; the message is the reason."""


@dataclass(frozen=True)
class Check:
    """A check that passed or failed, or a figure without a check."""

    name: str
    value: float | int | str
    unit: str = ""
    holds: bool | None = None
    """None for a figure."""


@dataclass(frozen=True)
class Setting:
    """Device and folder of a part."""

    device: str
    """`cuda:0`, or `cpu` in a rehearsal."""
    folder: Path
    """The part's own folder, empty at first."""
    rehearsal: bool = False
    """On the CPU, with sizes that take seconds."""

    def require_cuda(self, reason: str) -> None:
        """Raises NeedsDeviceError in a rehearsal."""
        if self.rehearsal:
            raise NeedsDeviceError(reason)


@dataclass(frozen=True)
class Part:
    """One part, which runs in a separate process."""

    name: str
    title: str
    limit_s: float
    module: str
    """Module with the part's function, named like the part with underscores; may import torch."""

    def run(self, setting: Setting) -> Sequence[Check]:
        """Run it in this process."""
        found: Sequence[Check] = getattr(import_module(self.module), self.name.replace("-", "_"))(setting)
        return found


@dataclass(frozen=True)
class PartOutcome:
    """Result of a part."""

    name: str
    status: Status
    seconds: float
    limit_s: float
    checks: tuple[Check, ...] = ()
    problem: str = ""
    """One line for a part that failed or was skipped; details are in the log."""


@dataclass(frozen=True)
class Proof:
    """The written document."""

    machine: str
    rehearsal: bool
    seconds: float
    parts: tuple[PartOutcome, ...]

    @property
    def holds(self) -> bool:
        """Whether no part failed or ran out of time."""
        return all(part.status in ("passed", "skipped") for part in self.parts)


def markdown(proof: Proof) -> str:
    """The table: one row per part, and one per check below it."""
    lines = [
        f"{'Rehearsal on a CPU' if proof.rehearsal else 'GPU'}: {proof.machine}; {proof.seconds:.0f} s",
        "",
        "| part | result | holds |",
        "|---|---|---|",
    ]
    for part in proof.parts:
        problem = f": {part.problem}" if part.problem else ""
        lines.append(f"| **{part.name}** | {part.status}{problem}, {part.seconds:.0f} of {part.limit_s:.0f} s | |")
        lines += [f"| {check.name} | {_value(check)} | {_holds(check)} |" for check in part.checks]
    return "\n".join(line.replace("\n", " ") for line in lines) + "\n"


def _value(check: Check) -> str:
    value = f"{check.value:.4g}" if isinstance(check.value, float) else str(check.value)
    return f"{value} {check.unit}".rstrip()


def _holds(check: Check) -> str:
    return {None: "", True: "yes", False: "**no**"}[check.holds]
