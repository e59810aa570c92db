"""Sizes of images on their way into a network: shorter side to a length, padding to a multiple. Pure.

As in the MIT scene parsing code that the paper's dense evaluations are built on: the longer side has a limit, and the
images of one batch are padded to the largest.
"""

from __future__ import annotations

from collections.abc import Iterable


def scaled(height: int, width: int, shorter: int, longest: int) -> tuple[int, int]:
    """Height and width with the shorter side `shorter` pixels, or less where the longer would exceed `longest`."""
    scale = min(shorter / min(height, width), longest / max(height, width))
    return max(1, int(height * scale)), max(1, int(width * scale))


def up_to_multiple(value: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below `value`."""
    return -(-value // unit) * unit


def common_canvas(sizes: Iterable[tuple[int, int]], unit: int) -> tuple[int, int]:
    """Height and width that hold all `sizes`, both multiples of `unit`."""
    heights, widths = zip(*sizes, strict=True)
    return up_to_multiple(max(heights), unit), up_to_multiple(max(widths), unit)
