"""Render one scene of the shapes dataset, given its kind, split and index, by casting one ray per pixel."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.synthetic.digits import write_digit
from tasks.synthetic.scene_layout import Body, Room, SceneKind, SceneLayout, SceneParameters, draw_layout
from tasks.synthetic.solids import SOLIDS, Floats, first_hits

RENDERER_VERSION = 1
"""Part of the identity of every rendered dataset: increased whenever any image changes."""

_KIND_NUMBERS = {SceneKind.OBJECT: 1, SceneKind.SCENE: 2, SceneKind.DIGIT: 3}
_DEFAULT = SceneParameters()
_STAGE_TRIES = 50


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


def _trace_room(room: Room, rays: Floats) -> Traced:
    down = np.minimum(rays @ room.up, -1e-6)
    floor_depth = -room.height / down
    wall_depth = -room.wall_distance / (rays @ room.wall_normal)
    floor = floor_depth < wall_depth
    depth = np.where(floor, floor_depth, wall_depth).astype(np.float32)
    points, ahead = depth[:, :, None] * rays, np.cross(np.array([1, 0, 0], np.float32), room.up)
    cells = np.floor(points[..., 0] * room.tile) + np.floor(points @ ahead * room.tile)
    dark = (cells.astype(np.int32) & 1).astype(np.float32)
    tiles = np.asarray(1 - np.float32(room.tile_contrast) * dark, np.float32)[:, :, None]
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
    dark = _PATTERNS[body.texture](hits.points[seen] + body.phase)
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


@dataclass(frozen=True)
class Factors:
    """Labels of a scene. `solid`, `hue` and `texture` are those of its first visible solid, -1 if there is none.

    `count` is the number of visible solids, at least 1 except under handwriting; class 0 of a count task is one solid.
    `digit` is -1 without handwriting.
    """

    solid: int
    hue: int
    texture: int
    count: int
    digit: int


@dataclass(frozen=True, eq=False)
class Scene:
    """A rendered scene with its exact geometry, for k visible solids.

    Geometry is of the solids and the room; handwriting is on the image only. Camera frame: x right, y down, z into
    the scene.

    Attributes:
        image: uint8 [h, w, 3].
        instance: int16 [h, w], 0 = room, 1..k = row of `boxes` + 1.
        semantic: uint8 [h, w], 0 = room, 1..8 = solid label + 1.
        depth: float32 [h, w], z coordinate of what the pixel sees, in scene units.
        normals: float32 [h, w, 3], unit, towards the camera.
        boxes: float32 [k, 4], x0 y0 x1 y1 in pixels around the visible part; x1 and y1 are exclusive.
        classes: int64 [k], solid labels.
        factors: labels of the whole scene.
    """

    image: NDArray[np.uint8]
    instance: NDArray[np.int16]
    semantic: NDArray[np.uint8]
    depth: Floats
    normals: Floats
    boxes: Floats
    classes: NDArray[np.int64]
    factors: Factors


def _generator(kind: SceneKind, split: str, index: int, seed: int) -> np.random.Generator:
    address = [seed, zlib.crc32(split.encode()), _KIND_NUMBERS[kind], index]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(address)))


def _visible(traced: Traced, bodies: int, parameters: SceneParameters) -> list[int]:
    """Indices of the bodies with enough visible pixels."""
    pixels = np.bincount(traced.owner.ravel(), minlength=bodies + 1)[1:]
    return [i for i in range(bodies) if pixels[i] >= max(1.0, parameters.visible_pixels * traced.owner.size)]


def stage(
    rng: np.random.Generator, kind: SceneKind, size: int, parameters: SceneParameters
) -> tuple[SceneLayout, Traced, list[int]]:
    """Draw and trace a layout with at least one visible solid; scenes under handwriting may have none."""
    for _ in range(_STAGE_TRIES):
        layout = draw_layout(rng, kind, parameters)
        traced = trace(layout, size, parameters.half_view)
        visible = _visible(traced, len(layout.bodies), parameters)
        if visible or kind is SceneKind.DIGIT:
            return layout, traced, visible
    raise ValueError(f"{_STAGE_TRIES} {kind} scenes in a row showed no solid: these parameters place them out of view")


def visible_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1 around the true pixels [h, w]; x1 and y1 are exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def develop(rng: np.random.Generator, image: Floats, parameters: SceneParameters) -> NDArray[np.uint8]:
    """Add sensor noise and quantise."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    levels = (image + np.float32(rng.uniform(*parameters.noise)) * noise) * 255 + 0.5
    return np.clip(levels, 0, 255).astype(np.uint8)


def _scene(image: NDArray[np.uint8], layout: SceneLayout, traced: Traced, visible: list[int], digit: int) -> Scene:
    numbers = np.zeros(len(layout.bodies) + 1, np.int16)
    numbers[[i + 1 for i in visible]] = np.arange(1, len(visible) + 1)
    instance = numbers[traced.owner]
    classes = np.array([layout.bodies[i].solid for i in visible], np.int64)
    boxes = [visible_box(instance == k) for k in range(1, len(visible) + 1)]
    first = layout.bodies[visible[0]] if visible else None
    labels = (first.solid, first.hue, first.texture) if first else (-1, -1, -1)
    return Scene(
        image=image,
        instance=instance,
        semantic=np.concatenate([[0], classes + 1]).astype(np.uint8)[instance],
        depth=traced.depth,
        normals=traced.normals,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=classes,
        factors=Factors(*labels, count=len(visible), digit=digit),
    )


def render(
    kind: SceneKind, split: str, index: int, size: int = 64, seed: int = 0, parameters: SceneParameters = _DEFAULT
) -> Scene:
    """Render a scene. The same arguments give the same scene in any order and in any process.

    Args:
        kind: what to draw.
        split: any name; "test" alone draws from the test handwriting.
        index: number of the scene in its split, from 0.
        size: pixels per side.
        seed: of the whole data set.
        parameters: ranges that scenes are drawn from.

    Raises:
        ValueError: the kind is unknown, index or size is out of range, or the parameters place solids out of view.
    """
    kind = SceneKind(kind)
    if index < 0 or size < 8:
        raise ValueError(f"cannot render scene {index} at {size} px: the index starts at 0 and the size at 8")
    rng = _generator(kind, split, index, seed)
    layout, traced, visible = stage(rng, kind, size, parameters)
    image, digit = shade(layout, traced), -1
    if kind is SceneKind.DIGIT:
        image, digit = write_digit(rng, image, split, parameters)
    return _scene(develop(rng, image, parameters), layout, traced, visible, digit)


def _standing_shadows(layout: SceneLayout, traced: Traced) -> Floats:
    """Fraction of light that reaches the floor [h, w]: a dark spot at each solid's foot, shifted away from the
    light."""
    share = np.ones(traced.depth.shape, np.float32)
    points = traced.depth[:, :, None] * traced.rays
    flat = layout.light.direction - (layout.light.direction @ layout.room.up) * layout.room.up
    for body in layout.bodies:
        apart = points - (body.foot - 0.5 * body.reach * flat)
        spot = np.exp((apart * apart).sum(axis=2) * np.float32(-1.6 / body.reach**2))
        share *= 1 - np.float32(layout.light.shadow) * spot
    return np.where(traced.floor & (traced.owner == 0), share, 1)


def _highlights(layout: SceneLayout, traced: Traced) -> Floats:
    """Blinn-Phong highlight strength [h, w]."""
    to_camera = -traced.rays / np.linalg.norm(traced.rays, axis=2, keepdims=True)
    half = to_camera + layout.light.direction
    cosine = (half * traced.normals).sum(axis=2) / np.linalg.norm(half, axis=2)
    return np.asarray(traced.gloss * np.maximum(cosine, 0) ** 24, np.float32)


def shade(layout: SceneLayout, traced: Traced) -> Floats:
    """Light a traced layout; RGB [h, w, 3], about 0..1 and not clipped."""
    light = layout.light
    diffuse = np.maximum(traced.normals @ light.direction, 0) * np.float32(1 - light.ambient) + np.float32(
        light.ambient
    )
    if layout.bodies:
        diffuse = diffuse * _standing_shadows(layout, traced)
    image = traced.albedo * (diffuse[:, :, None] * light.tint)
    if layout.bodies:
        image = image + _highlights(layout, traced)[:, :, None]
    return np.asarray(image, np.float32)
