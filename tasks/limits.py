"""What every parameter dataclass checks of its values."""

from __future__ import annotations


def require_at_least(least: int, **values: int) -> None:
    """Raises ValueError naming the first value that is smaller."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def require_above_zero(**values: float) -> None:
    """Raises ValueError naming the first value that is zero, negative or not a number."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}")
