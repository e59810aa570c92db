"""How progress leaves a protocol. The worker implements this, tests fake it, a notebook may print it."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Interface through which a protocol reports."""

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """A new phase begins, with `total` units of work when that is known."""

    def advance(self, count: int = 1) -> None:
        """`count` more units of the current phase are done."""

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        """A number worth watching; `step` places it on a curve."""

    def warn(self, message: str) -> None:
        """Issue a warning for readers of the result."""


class SilentReporter:
    """Reporter that discards everything."""

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Ignore the phase."""

    def advance(self, count: int = 1) -> None:
        """Ignore the advance."""

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        """Ignore the metric."""

    def warn(self, message: str) -> None:
        """Ignore the warning."""
