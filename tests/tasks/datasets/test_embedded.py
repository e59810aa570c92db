"""Data included in the package: scikit-learn's digits and rendered shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.datasets.manifest import manifest_of
from tasks.datasets.readers.embedded import manifest
from tasks.datasets.registry import open_dataset
from tasks.synthetic import render
from tasks.synthetic.digits import glyphs

CATALOG = TaskCatalog.load()
NOWHERE = Path("/nowhere")


def shapes(factor: str, kind: str = "object", **arguments: int) -> DatasetCard:
    given = {"kind": kind, "factor": factor, "train": 24, "test": 12, "size": 32, **arguments}
    return DatasetCard(name=f"s-{factor}", title="", reader="shapes", reader_arguments=given, protocols=("linear",))


def test_digits_are_8_by_8_rgb_images_cut_as_in_rendered_digit_scenes() -> None:
    dataset = open_dataset(CATALOG.dataset("digits"), NOWHERE)
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert (len(train.images), len(test.images)) == (900, 897)
    assert (train.images[0].mode, train.images[0].size) == ("RGB", (8, 8))
    assert not {*train.identifiers} & {*test.identifiers}
    for split in ("train", "test"):
        assert np.array_equal(dataset.splits[split].labels, glyphs(split).labels)


def test_digits_span_the_range_from_black_to_white() -> None:
    images = open_dataset(CATALOG.dataset("digits"), NOWHERE).splits["train"].images
    levels = {value for index in range(20) for value in np.asarray(images[index]).ravel().tolist()}
    assert (min(levels), max(levels)) == (0, 255)


def test_solid_hue_and_texture_are_questions_about_the_same_images() -> None:
    solid, hue, texture = (open_dataset(shapes(f), NOWHERE).splits["train"] for f in ("solid", "hue", "texture"))
    assert solid.images_digest == hue.images_digest == texture.images_digest
    assert len({solid.labels_digest, hue.labels_digest, texture.labels_digest}) == 3
    assert np.array_equal(np.asarray(solid.images[5]), np.asarray(hue.images[5]))


@pytest.mark.parametrize(("kind", "factor"), [("object", "hue"), ("scene", "count"), ("digit", "digit")])
def test_labels_are_the_factors_that_the_renderer_tells(kind: str, factor: str) -> None:
    dataset = open_dataset(shapes(factor, kind), NOWHERE)
    for split in ("train", "test"):
        scene = render(kind, split, 7, size=32)  # type: ignore[arg-type]
        expected = getattr(scene.factors, factor) - (1 if factor == "count" else 0)
        assert dataset.splits[split].labels[7] == expected
        assert np.array_equal(np.asarray(dataset.splits[split].images[7]), scene.image)
        assert dataset.splits[split].identifiers[7] == f"{kind}/{split}/7"


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": 16}, {"train": 23}])
def test_what_changes_the_rendered_images_changes_their_digest(change: dict[str, int]) -> None:
    before, after = (open_dataset(shapes("solid", "object", **c), NOWHERE).splits["train"] for c in ({}, change))
    assert before.images_digest != after.images_digest


def test_the_manifest_told_without_drawing_is_that_of_the_drawn_dataset() -> None:
    card = shapes("count", "scene")
    assert manifest(card) == manifest_of(open_dataset(card, NOWHERE), card)


@pytest.mark.parametrize(("argument", "value"), [("factor", "weight"), ("kind", "landscape")])
def test_a_factor_or_kind_that_scenes_do_not_have_is_an_error(argument: str, value: str) -> None:
    card = shapes("solid")
    wrong = card.model_copy(update={"reader_arguments": {**card.reader_arguments, argument: value}})
    with pytest.raises(DataError, match=f"{value}.*choose from"):
        open_dataset(wrong, NOWHERE)


def test_the_default_shapes_show_every_class_often_enough_for_50_shots() -> None:
    dataset = open_dataset(CATALOG.dataset("shapes"), NOWHERE)
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    assert np.bincount(labels, minlength=8).min() >= 50 + 15


def test_dense_scenes_have_targets_as_large_as_their_images_and_a_manifest_of_their_own() -> None:
    plain, dense = shapes("count", "scene"), shapes("count", "scene", dense=True)
    opened = open_dataset(dense, NOWHERE)
    for split in opened.splits.values():
        assert set(split.targets) == {"boxes", "masks", "normals", "depth"}
        for index in range(len(split.images)):
            boxes, mask, normals = (split.targets[kind][index] for kind in ("boxes", "masks", "normals"))
            assert mask.shape == normals.shape[:2] == (32, 32)
            assert np.allclose(np.linalg.norm(normals, axis=2), 1, atol=1e-5)
            assert set(np.unique(mask[mask > 0]) - 1) == set(boxes.labels)
            assert boxes.corners.shape == (len(boxes.labels), 4)
    assert opened.manifest_digest == manifest(dense).digest != manifest(plain).digest
    images = [split.images_digest for split in open_dataset(plain, NOWHERE).splits.values()]
    assert [split.images_digest for split in opened.splits.values()] == images
