"""Ray casting, one ray per pixel: depth, normals, the solid that is hit, its texture and colour."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.synthetic.scene_layout import Body, Room, SceneLayout
from tasks.synthetic.solids import SOLIDS, Floats, first_hits


@dataclass(frozen=True, eq=False)
class Traced:
    """First hit of each pixel, [h, w] or [h, w, 3]; `owner` is 0 for the room, else 1 + index of the body."""

    rays: Floats
    depth: Floats
    normals: Floats
    albedo: Floats
    gloss: Floats
    owner: NDArray[np.int16]
    floor: NDArray[np.bool_]
    """True where the floor would be visible without bodies."""


@lru_cache(maxsize=8)
def camera_rays(size: int, half_view: float) -> Floats:
    """Directions [size, size, 3] through the pixel centres, with z = 1: a ray's parameter is its depth."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * np.float32(half_view)
    rays = np.empty((size, size, 3), np.float32)
    rays[:, :, 0], rays[:, :, 1], rays[:, :, 2] = axis[None, :], axis[:, None], 1
    rays.flags.writeable = False
    return rays


def _tiles(points: Floats, room: Room) -> Floats:
    ahead = np.cross(np.array([1, 0, 0], np.float32), room.up)
    cells = np.floor(points[..., 0] * room.tile) + np.floor(points @ ahead * room.tile)
    dark = (cells.astype(np.int32) & 1).astype(np.float32)
    return np.asarray(1 - np.float32(room.tile_contrast) * dark, np.float32)


def _trace_room(room: Room, rays: Floats) -> Traced:
    down = np.minimum(rays @ room.up, -1e-6)
    floor_depth = -room.height / down
    wall_depth = -room.wall_distance / (rays @ room.wall_normal)
    floor = floor_depth < wall_depth
    depth = np.where(floor, floor_depth, wall_depth).astype(np.float32)
    tiles = _tiles(depth[:, :, None] * rays, room)[:, :, None]
    on_floor = floor[:, :, None]
    return Traced(
        rays=rays,
        depth=depth,
        normals=np.where(on_floor, room.up, room.wall_normal),
        albedo=np.where(on_floor, room.floor_colour * tiles, room.wall_colour),
        gloss=np.zeros(depth.shape, np.float32),
        owner=np.zeros(depth.shape, np.int16),
        floor=floor,
    )


def _extent(across: float, deep: float, reach: float, half_view: float, size: int) -> slice:
    """Pixels along one image axis that a ball of radius `reach` can touch."""
    distance = math.hypot(across, deep)
    if distance <= reach:
        return slice(0, size)
    middle, spread = math.atan2(across, deep), math.asin(reach / distance)
    low, high = (math.tan(max(-1.5, min(1.5, middle + s * spread))) for s in (-1, 1))
    first, last = ((edge / half_view + 1) * size / 2 for edge in (low, high))
    return slice(min(size, max(0, math.floor(first))), max(0, min(size, math.ceil(last) + 1)))


def _trace_body(traced: Traced, body: Body, owner: int, half_view: float) -> None:
    """Draw a body into the arrays where it is nearer than their content."""
    size = traced.depth.shape[0]
    x, y, z = (float(value) for value in body.centre)
    window = (_extent(y, z, body.reach, half_view, size), _extent(x, z, body.reach, half_view, size))
    shape = traced.depth[window].shape
    if 0 in shape:
        return
    rays = traced.rays[window].reshape(-1, 3) @ body.inverse.T
    hits = first_hits(SOLIDS[body.solid], -body.inverse @ body.centre, rays)
    seen = np.flatnonzero(hits.t < traced.depth[window].ravel())
    normals = hits.normals[seen] @ body.inverse
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    dark = darkness(body.texture, hits.points[seen], body.phase)
    rows, columns = np.divmod(seen, shape[1])
    place = (rows + window[0].start, columns + window[1].start)
    traced.depth[place] = hits.t[seen]
    traced.normals[place] = normals
    traced.albedo[place] = body.colour * (1 - np.float32(body.contrast) * dark)[:, None]
    traced.gloss[place] = body.gloss
    traced.owner[place] = owner


def trace(layout: SceneLayout, size: int, half_view: float) -> Traced:
    """Cast the rays of a camera of `size` x `size` pixels at a layout."""
    traced = _trace_room(layout.room, camera_rays(size, half_view))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for owner, body in enumerate(layout.bodies, start=1):
            _trace_body(traced, body, owner, half_view)
    return traced


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
    """Darkness of a texture (as in `TEXTURE_NAMES`), 0 to 1, at points [n, 3] in a solid's frame; shape [n]."""
    return _PATTERNS[texture](points + phase)
