"""Eight solids and their analytic ray intersections.

A solid is an intersection of half-spaces and at most one quadric, minus at most one quadric: the part of a ray inside
it is one interval, and the start of the interval is the hit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Interval = tuple[Floats, Floats]

_TINY = np.float32(1e-8)


@dataclass(frozen=True, eq=False)
class Quadric:
    """The points q with sum(square * q**2) + 2 * linear . q + constant <= 0."""

    square: Floats
    linear: Floats
    constant: float


@dataclass(frozen=True, eq=False)
class Solid:
    """A convex body inside the unit ball, with or without a bore: normal . q <= offset, for `normals` [p, 3]."""

    normals: Floats
    offsets: Floats
    bottom: float
    """Distance from the centre down to the ground."""
    surface: Quadric | None = None
    hole: Quadric | None = field(default=None)


@dataclass(frozen=True, eq=False)
class Hits:
    """First hits of n rays in the solid's own frame: `t` [n] (inf where missed), `points` and `normals` [n, 3]."""

    t: Floats
    points: Floats
    normals: Floats


def _floats(values: object) -> Floats:
    return np.asarray(values, dtype=np.float32)


def _quadric(square: tuple[float, float, float], linear: tuple[float, float, float], constant: float) -> Quadric:
    return Quadric(_floats(square), _floats(linear), constant)


def _polyhedron(planes: list[tuple[float, float, float, float]], bottom: float) -> Solid:
    """Rows are outward normals (any length) and offsets."""
    rows = np.array(planes)
    length = np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
    return Solid(_floats(rows[:, :3] / length), _floats(rows[:, 3] / length[:, 0]), bottom)


def _slab(axis: int, low: float, high: float) -> tuple[Floats, Floats]:
    normals = np.zeros((2, 3), np.float32)
    normals[0, axis], normals[1, axis] = 1, -1
    return normals, _floats([high, -low])


def _solids() -> Iterator[Solid]:
    """Sphere, cube, cylinder, cone, pyramid, prism, octahedron and ring."""
    signs, nothing = (1.0, -1.0), np.zeros((0, 3), np.float32)
    yield Solid(nothing, nothing[:, 0], 0.76, _quadric((1, 1, 1), (0, 0, 0), -(0.76**2)))
    yield _polyhedron([(s * (i == 0), s * (i == 1), s * (i == 2), 0.57) for i in range(3) for s in signs], 0.57)
    yield Solid(*_slab(1, -0.7, 0.7), 0.7, _quadric((1, 0, 1), (0, 0, 0), -(0.56**2)))
    apex, base, radius = 0.85, -0.6, 0.72
    k = (radius / (apex - base)) ** 2
    yield Solid(*_slab(1, base, apex), -base, _quadric((1, -k, 1), (0, k * apex, 0), -k * apex * apex))
    rise, half = 1.45, 0.66
    sides = [(x * rise, half, z * rise, half * 0.85) for x, z in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    yield _polyhedron([*sides, (0.0, -1.0, 0.0, 0.6)], 0.6)
    slopes = [(1.2, 0.66, 0.0, 0.66 * 0.72), (-1.2, 0.66, 0.0, 0.66 * 0.72)]
    yield _polyhedron([*slopes, (0.0, -1.0, 0.0, 0.48), (0.0, 0.0, 1.0, 0.68), (0.0, 0.0, -1.0, 0.68)], 0.48)
    yield _polyhedron([(x, y, z, 0.98) for x in signs for y in signs for z in signs], 0.98)
    outer, inner = _quadric((1, 1, 0), (0, 0, 0), -(0.84**2)), _quadric((1, 1, 0), (0, 0, 0), -(0.5**2))
    yield Solid(*_slab(2, -0.24, 0.24), 0.84, outer, inner)


SOLIDS: tuple[Solid, ...] = tuple(_solids())
"""In the order of `labels.SOLID_NAMES`. The y axis points up."""


def _nonzero(values: Floats) -> Floats:
    return np.where(np.abs(values) < _TINY, _TINY, values)


def _between_planes(solid: Solid, origin: Floats, rays: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Entry and exit [n] of the half-spaces, and the index of the entry plane."""
    along = _nonzero(np.asarray(rays @ solid.normals.T, np.float32))
    t = (solid.offsets - solid.normals @ origin) / along
    entering = along < 0
    entries = np.where(entering, t, -np.inf)
    plane = entries.argmax(axis=1)
    entry = entries[np.arange(len(plane)), plane]
    return entry, np.where(entering, np.inf, t).min(axis=1), plane


def _within_quadric(quadric: Quadric, origin: Floats, rays: Floats) -> Interval:
    """Entry and exit [n]; an empty interval if missed. Of a double cone, only the nappe below the apex counts."""
    a = _nonzero(np.asarray((rays * rays) @ quadric.square, np.float32))
    b = rays @ (quadric.square * origin + quadric.linear)
    c = float(quadric.square @ (origin * origin) + 2 * quadric.linear @ origin) + quadric.constant
    discriminant = b * b - a * np.float32(c)
    root = np.sqrt(np.maximum(discriminant, 0))
    first, second = (-b - root) / a, (-b + root) / a
    missed = discriminant < 0
    if quadric.square.min() >= 0:
        return np.where(missed, np.inf, first), second
    # a ray steeper than the cone is outside between its two crossings, so it is in the lower nappe before or after
    low, high = np.minimum(first, second), np.maximum(first, second)
    steep, falling = a < 0, rays[:, 1] < 0
    entry = np.where(steep, np.where(falling, high, -np.inf), low)
    leave = np.where(steep, np.where(falling, np.inf, low), high)
    return entry, leave


def first_hits(solid: Solid, origin: Floats, rays: Floats) -> Hits:
    """First hits of n rays `origin + t * rays` on a solid, all in the solid's own frame.

    Args:
        solid: the body.
        origin: start of the rays, [3], outside the body.
        rays: directions [n, 3], of any length; t is in units of that length.

    Returns:
        The entries; normals point outwards and are not normalised.
    """
    count = len(rays)
    entry, leave = np.full(count, -np.inf, np.float32), np.full(count, np.inf, np.float32)
    normals = np.zeros((count, 3), np.float32)
    if len(solid.offsets):
        entry, leave, plane = _between_planes(solid, origin, rays)
        normals = np.asarray(solid.normals[plane], np.float32)
    if solid.surface is not None:
        low, high = _within_quadric(solid.surface, origin, rays)
        curved = low > entry
        entry, leave = np.maximum(entry, low), np.minimum(leave, high)
        normals = _curved(solid.surface, origin, rays, entry, curved, normals)
    if solid.hole is not None:
        low, high = _within_quadric(solid.hole, origin, rays)
        inside = (low < entry) & (entry < high)
        entry = np.asarray(np.where(inside, high, entry), np.float32)
        inward = -_curved(solid.hole, origin, rays, entry, inside, normals)
        normals = np.asarray(np.where(inside[:, None], inward, normals), np.float32)
    t = np.asarray(np.where((entry < leave) & (entry > 0), entry, np.inf), np.float32)
    return Hits(t, _points(origin, rays, t), normals)


def _points(origin: Floats, rays: Floats, t: Floats) -> Floats:
    return np.asarray(origin + np.where(np.isfinite(t), t, 0)[:, None] * rays, np.float32)


def _curved(
    quadric: Quadric, origin: Floats, rays: Floats, t: Floats, where: NDArray[np.bool_], normals: Floats
) -> Floats:
    points = _points(origin, rays, t)
    return np.where(where[:, None], points * quadric.square + quadric.linear, normals)
