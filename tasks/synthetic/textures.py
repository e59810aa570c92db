"""Solid textures: patterns through the body of a solid, so that no unwrapping is needed."""

from __future__ import annotations

import numpy as np

from tasks.synthetic.solids import Floats


def _plain(points: Floats) -> Floats:
    return np.zeros(len(points), np.float32)


def _stripes(points: Floats) -> Floats:
    return np.asarray(np.sin(9.0 * points[:, 1] + 3.0 * points[:, 0]) > 0, np.float32)


def _checks(points: Floats) -> Floats:
    cells = np.floor(3.0 * points).astype(np.int32)
    return np.asarray(cells.sum(axis=1) & 1, np.float32)


def _dots(points: Floats) -> Floats:
    lattice = 2.6 * points
    offset = lattice - np.rint(lattice)
    return np.asarray((offset * offset).sum(axis=1) < 0.17, np.float32)


def _marble(points: Floats) -> Floats:
    x, y, z = points.T
    veins = np.sin(5.0 * x + 3.0 * np.sin(4.0 * y + 2.0 * z) + 2.0 * np.sin(5.0 * z))
    return np.asarray(0.5 + 0.5 * veins, np.float32)


_PATTERNS = (_plain, _stripes, _checks, _dots, _marble)


def darkness(texture: int, points: Floats, phase: Floats) -> Floats:
    """How dark a texture (as in `TEXTURE_NAMES`) is, 0 to 1, at points [n, 3] of a solid's own frame; shape [n]."""
    return _PATTERNS[texture](points + phase)
