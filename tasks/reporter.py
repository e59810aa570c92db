"""Progress reports of a protocol. Implemented by the worker, by tests, and e.g. by a notebook that prints them."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Interface through which a protocol reports."""

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Start a phase, with `total` units of work if known."""

    def advance(self, count: int = 1) -> None:
        """Report that `count` more units of the current phase are done."""

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        """Report a number to be monitored; `step` is its position on a curve."""

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
