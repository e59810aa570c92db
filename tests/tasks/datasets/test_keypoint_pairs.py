"""SPair-71k on a miniature of its layout, and rendered pairs whose keypoints are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.dataset import DataError
from tasks.datasets.registry import open_dataset
from tasks.synthetic import SceneKind, SceneParameters
from tasks.synthetic.render import stage, trace
from tasks.synthetic.view_pairs import SEPARATION, common_points, other_view, render_pair

CATALOG = TaskCatalog.load()
SPAIR = CATALOG.dataset("spair-71k")
IMAGES = {
    "cat/2008_000001": (40, 30),
    "cat/2008_000002": (30, 40),
    "dog/2008_000003": (50, 20),
    "dog/2009_000004": (24, 24),
}
PAIRS = [
    ("cat", "2008_000001", "2008_000002"),
    ("cat", "2008_000002", "2008_000001"),
    ("dog", "2008_000003", "2009_000004"),
]


def annotation(kind: str, source: str, target: str, **changed: Any) -> dict[str, Any]:
    sizes = [IMAGES[f"{kind}/{name}"] for name in (source, target)]
    return {
        "pair_id": 0,
        "src_imname": f"{source}.jpg",
        "trg_imname": f"{target}.jpg",
        "src_imsize": [*sizes[0], 3],
        "trg_imsize": [*sizes[1], 3],
        "src_bndbox": [1, 2, 20, 18],
        "trg_bndbox": [2, 3, 22, 19],
        "category": kind,
        "src_kps": [[3, 4], [10, 12]],
        "trg_kps": [[5, 6], [11, 13]],
        "kps_ids": ["0", "7"],
        "mirror": 0,
        "viewpoint_variation": 0,
        **changed,
    }


def tree(root: Path, **changed: Any) -> Path:
    """The layout of the published archive; `changed` is of the first annotation."""
    folder = root / "SPair-71k"
    names = []
    for number, (category, source, target) in enumerate(PAIRS):
        name = f"{number:06d}-{source}-{target}:{category}"
        path = folder / "PairAnnotation" / "test" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(annotation(category, source, target, **(changed if number == 0 else {}))))
        names.append(name)
    for number, (name, size) in enumerate(IMAGES.items()):
        path = folder / "JPEGImages" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (40 * number, 0, 0)).save(path)
    (folder / "Layout" / "large").mkdir(parents=True)
    (folder / "Layout" / "large" / "test.txt").write_text("\n".join(names) + "\n")
    return root


def test_each_image_is_listed_once_with_the_pairs_that_begin_with_it(tmp_path: Path) -> None:
    split = open_dataset(SPAIR, tree(tmp_path)).splits["test"]
    assert list(split.identifiers) == [f"JPEGImages/{name}.jpg" for name in IMAGES]
    pairs = split.targets["keypoint-pairs"]
    assert pairs.classes == ("cat", "dog")
    assert [len(pairs[row]) for row in range(4)] == [1, 1, 1, 0]
    first = pairs[0][0]
    assert (first.target, first.category, first.box) == (1, 0, (2.0, 3.0, 22.0, 19.0))
    assert first.source_points.tolist() == [[3, 4], [10, 12]]
    assert first.target_points.tolist() == [[5, 6], [11, 13]]


def test_another_keypoint_is_another_dataset(tmp_path: Path) -> None:
    one = open_dataset(SPAIR, tree(tmp_path / "one"))
    other = open_dataset(SPAIR, tree(tmp_path / "other", trg_kps=[[5, 6], [11, 14]]))
    assert one.splits["test"].images_digest == other.splits["test"].images_digest
    assert one.manifest_digest != other.manifest_digest


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"trg_kps": [[5, 6]]}, "2 keypoints of the source and 1 of the target"),
        ({"src_kps": []}, "keypoints of the shape"),
        ({"src_kps": [[3, 4], [41, 12]]}, "a keypoint is outside of an image of 40 x 30 pixels"),
        ({"trg_bndbox": [5, 5, 5, 9]}, "the box of the target is 5 5 5 9"),
        ({"src_imname": "../../secret.jpg"}, "are not names of images"),
        ({"category": ".."}, "are not names of images"),
        ({"trg_imsize": [0, 3, 3]}, "an image has the size 0 x 3"),
    ],
)
def test_an_annotation_that_cannot_be_right_is_refused_by_name(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError) as error:
        open_dataset(SPAIR, tree(tmp_path, **changed))
    assert words in str(error.value)


def test_a_listed_pair_without_annotation_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (path,) = (root / "SPair-71k" / "PairAnnotation" / "test").glob("000001-*")
    path.unlink()
    with pytest.raises(DataError, match=r"000001-2008_000002-2008_000001:cat\.json is missing"):
        open_dataset(SPAIR, root)


def test_correspondence_is_offered_for_pairs_alone() -> None:
    names = [name for name in CATALOG.task_names if name.startswith("correspondence/")]
    assert names == ["correspondence/shapes-pairs", "correspondence/spair-71k"]
    assert not [name for name in CATALOG.task_names if "pairs" in name and name not in names]


def test_rendered_keypoints_are_the_same_points_of_the_solid_in_both_views() -> None:
    parameters, size = SceneParameters(), 96
    random = np.random.default_rng(0)
    for _ in range(10):
        layout, traced, _visible = stage(random, SceneKind.OBJECT, size, parameters)
        other = other_view(random, layout, parameters)
        bodies, views = (layout.bodies[0], other.bodies[0]), (traced, trace(other, size, parameters.half_view))
        points = common_points(random, bodies, traced, size, parameters)
        own = []
        for body, view, pixels in zip(bodies, views, points, strict=True):
            columns, rows = pixels.round().astype(int).T
            places = view.depth[rows, columns, None] * view.rays[rows, columns]
            own.append((places - body.centre) @ body.inverse.T)
        apart = np.linalg.norm(own[0] - own[1], axis=1)
        assert np.median(apart) < 0.05  # of a solid of radius 1, by half a pixel of the second view


def test_rendered_pairs_repeat_and_their_points_are_apart_and_within_the_boxes() -> None:
    for index in range(10):
        one, again = (render_pair("test", index, size=48, seed=3) for _ in range(2))
        assert np.array_equal(one.points, again.points)
        assert all(np.array_equal(*images) for images in zip(one.images, again.images, strict=True))
        for points, (x0, y0, x1, y1) in zip(one.points, one.boxes, strict=True):
            assert (points >= np.array([x0, y0]) - 1).all()
            assert (points <= np.array([x1, y1])).all()
            apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(len(points)) * 48
            assert apart.min() >= SEPARATION * 48 - 1e-3
