"""How a p-value is written: two digits, and never as 0."""

from __future__ import annotations

SMALLEST = 1e-4


def told(value: float) -> str:
    """`0.032`, or `<0.0001`."""
    return f"<{SMALLEST:.4f}" if value < SMALLEST else f"{value:.2g}"
