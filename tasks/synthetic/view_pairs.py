"""Two views of one solid, and points of its surface that both show.

The second view has another camera, room and light, and the solid is elsewhere on the floor and turned about the
vertical. Points follow from the geometry: they are exact, and visible in both views.
"""

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.synthetic.render import Traced, develop, shade, stage, trace, visible_box
from tasks.synthetic.scene_layout import Body, SceneKind, SceneLayout, SceneParameters, draw_layout
from tasks.synthetic.solids import SOLIDS, Floats, first_hits

PAIRS_VERSION = 1
"""Part of the identity of rendered pairs: increased whenever any image or point changes."""
_PAIR_NUMBER = 4
"""Of the random numbers of pairs, next to those of the kinds of scenes."""
_DEFAULT = SceneParameters()
_TRIES = 200
TURN = (math.radians(15), math.radians(45))
"""Range of the solid's turn, to either side."""
MOST_POINTS, FEWEST_POINTS = 8, 4
SEPARATION = 0.06
"""Smallest distance of two points, as a fraction of the image's side."""
SAME_SURFACE = 1e-3
"""Relative difference of depths up to which a ray hits the point itself."""


@dataclass(frozen=True, eq=False)
class ViewPair:
    """Two images uint8 [size, size, 3] of one solid.

    `points` float32 [2, k, 2] are x and y in each image, in pixels; a whole number is the middle of a pixel. `boxes`
    [2, 4] are x0 y0 x1 y1 around the visible part, x1 and y1 exclusive.
    """

    images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    points: Floats
    boxes: Floats
    solid: int


def render_pair(
    split: str, index: int, size: int = 64, seed: int = 0, parameters: SceneParameters = _DEFAULT
) -> ViewPair:
    """Render a pair. The same arguments give the same pair in any order and in any process.

    Raises:
        ValueError: index or size is out of range, or no two views with common points are found.
    """
    if index < 0 or size < 8:
        raise ValueError(f"cannot render pair {index} at {size} px: the index starts at 0 and the size at 8")
    address = [seed, zlib.crc32(split.encode()), _PAIR_NUMBER, index]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(address)))
    for _ in range(_TRIES):
        layout, traced, _visible = stage(rng, SceneKind.OBJECT, size, parameters)
        other = other_view(rng, layout, parameters)
        seen = trace(other, size, parameters.half_view)
        points = common_points(rng, (layout.bodies[0], other.bodies[0]), traced, size, parameters)
        if points.shape[1] >= FEWEST_POINTS:
            views = ((layout, traced), (other, seen))
            return ViewPair(
                (_image(rng, *views[0], parameters), _image(rng, *views[1], parameters)),
                points,
                np.array([visible_box(view.owner == 1) for _, view in views], np.float32),
                layout.bodies[0].solid,
            )
    raise ValueError(f"{_TRIES} pairs of views in a row have fewer than {FEWEST_POINTS} common points")


def _image(
    rng: np.random.Generator, layout: SceneLayout, traced: Traced, parameters: SceneParameters
) -> NDArray[np.uint8]:
    return develop(rng, shade(layout, traced), parameters)


def other_view(rng: np.random.Generator, layout: SceneLayout, parameters: SceneParameters) -> SceneLayout:
    """The layout's solid in another drawn scene, on the floor where that scene's own was, and turned."""
    drawn, body = draw_layout(rng, SceneKind.OBJECT, parameters), layout.bodies[0]
    angle = float(rng.uniform(*TURN)) * (1 if rng.random() < 0.5 else -1)
    before, after = _upright(layout.room.up), _upright(drawn.room.up)
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = after @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], np.float32) @ before.T
    foot = drawn.bodies[0].foot
    height = float((body.centre - body.foot) @ layout.room.up)
    moved = replace(
        body,
        foot=foot,
        centre=np.asarray(foot + height * drawn.room.up, np.float32),
        linear=np.asarray(rotation @ body.linear, np.float32),
        inverse=np.asarray(body.inverse @ rotation.T, np.float32),
    )
    return replace(drawn, bodies=(moved,))


def _upright(up: Floats) -> Floats:
    """Axes of the floor as columns [3, 3]: right, up and ahead."""
    right = np.array([1, 0, 0], np.float32)
    return np.stack([right, up, np.cross(up, right)], axis=1)


def common_points(
    rng: np.random.Generator, bodies: tuple[Body, Body], traced: Traced, size: int, parameters: SceneParameters
) -> Floats:
    """Points [2, k, 2] of the solid's pixels in the first view that the second shows too, apart in both."""
    rows, columns = np.nonzero(traced.owner == 1)
    places = traced.depth[rows, columns, None] * traced.rays[rows, columns]
    own = np.asarray((places - bodies[0].centre) @ bodies[0].inverse.T, np.float32)
    second, seen = _projected(bodies[1], own, size, parameters.half_view)
    found = np.stack([np.stack([columns, rows], axis=1), second])[:, seen]
    chosen: list[int] = []
    left = rng.permutation(found.shape[1])
    while len(left) and len(chosen) < MOST_POINTS:
        chosen.append(int(left[0]))
        apart = np.linalg.norm(found[:, left] - found[:, left[:1]], axis=2)
        left = left[(apart >= SEPARATION * size).all(axis=0)]
    return np.asarray(found[:, chosen], np.float32)


def _projected(body: Body, own: Floats, size: int, half_view: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Pixels [n, 2] of points [n, 3] of a solid's own frame, and which of them the camera sees."""
    places = own @ body.linear.T + body.centre
    rays = places / places[:, 2:]
    pixels = (rays[:, :2] / half_view + 1) * (size / 2) - 0.5
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        hits = first_hits(
            SOLIDS[body.solid], -body.inverse @ body.centre, np.asarray(rays @ body.inverse.T, np.float32)
        )
        nearest = np.abs(hits.t - places[:, 2]) <= SAME_SURFACE * places[:, 2]
    inside = ((pixels >= 0) & (pixels <= size - 1)).all(axis=1)
    return np.asarray(pixels, np.float32), np.asarray(inside & nearest, np.bool_)
