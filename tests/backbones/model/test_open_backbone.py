from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import backbones
from backbones import OpenBackbone, open_backbone
from backbones.catalog.card import BackboneCard, FactsCard, FileWeights, InputCard, RandomWeights
from backbones.io.card_files import UnknownName
from backbones.io.errors import WeightsError
from backbones.io.image_reading import ImageError

CARD = BackboneCard(
    name="tiny",
    title="Tiny",
    architecture="test_resnet",
    weights=RandomWeights(),
    input=InputCard(size=32),
    facts=FactsCard(method="none"),
)


@pytest.fixture(scope="module")
def backbone() -> OpenBackbone:
    return open_backbone(CARD)


@pytest.fixture(scope="module")
def pixels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), dtype=np.uint8)


def test_a_file_an_image_an_array_and_a_tensor_of_the_same_pixels_have_the_same_features(
    backbone: OpenBackbone, pixels: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    first = Image.fromarray(pixels[0])
    first.save(tmp_path / "first.png")
    expected = backbone.features(pixels)
    assert expected.shape == (5, backbone.dimension)
    assert expected.dtype == np.float32
    for same in (first, tmp_path / "first.png", str(tmp_path / "first.png"), pixels[0]):
        np.testing.assert_allclose(backbone.features(same), expected[:1], rtol=1e-4, atol=1e-5)
    tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    np.testing.assert_allclose(backbone.features(tensors), expected, rtol=1e-4, atol=1e-5)
    mixed = [first, pixels[1], tensors[2]]
    np.testing.assert_allclose(backbone.features(mixed), expected[:3], rtol=1e-4, atol=1e-5)


def test_features_keep_the_order_of_the_images_whatever_the_batch(
    backbone: OpenBackbone, pixels: npt.NDArray[np.uint8]
) -> None:
    seen: list[tuple[int, int]] = []
    found = backbone.features(pixels, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    np.testing.assert_allclose(found, backbone.features(pixels), rtol=1e-4, atol=1e-5)
    assert backbone.features([]).shape == (0, backbone.dimension)


def test_grey_transparent_and_turned_images_are_read_as_tasks_read_them(
    backbone: OpenBackbone, pixels: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    grey = pixels[0, :, :, 0]
    three = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_allclose(backbone.features(grey), backbone.features(three), rtol=1e-4, atol=1e-5)
    clear = Image.new("RGBA", (40, 40), (10, 20, 30, 0))
    white = Image.new("RGB", (40, 40), "white")
    np.testing.assert_allclose(backbone.features(clear), backbone.features(white), rtol=1e-4, atol=1e-5)
    turned = Image.fromarray(pixels[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    upright = turned.transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_allclose(
        backbone.features(tmp_path / "turned.png"), backbone.features(upright), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (torch.rand(2, 3, 40, 40), TypeError, r"image 0 is a tensor of torch.float32: .*\* 255"),
        (np.zeros((40, 40, 3)), TypeError, "image 0 is an? array of float64"),
        (np.zeros((3, 40, 40), np.uint8), ValueError, r"shape \(3, 40, 40\): expected \[h, w, 3\]"),
        (torch.zeros(40, 40, 3, dtype=torch.uint8), ValueError, r"shape \(40, 40, 3\): expected \[3, h, w\]"),
        ([Image.new("RGB", (9, 9)), 7], TypeError, "image 1 is a int"),
    ],
)
def test_what_is_no_image_is_refused_with_its_place_and_the_way_out(
    backbone: OpenBackbone, given: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        backbone.features(given)


def test_a_folder_and_a_file_without_an_image_are_refused_by_name(backbone: OpenBackbone, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="is a folder: give its files"):
        backbone.features(tmp_path)
    with pytest.raises(ImageError, match=r"notes\.txt is not an image"):
        backbone.features(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError):
        backbone.features(tmp_path / "absent.png")


def test_nan_features_are_refused(backbone: OpenBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(batch: torch.Tensor, _spec: object) -> torch.Tensor:
        return torch.full((len(batch), 3), float("nan"))

    monkeypatch.setattr(backbone.encoder, "encode", broken)
    with pytest.raises(WeightsError, match="tiny returns NaN or infinity on image 0"):
        backbone.features(np.zeros((1, 40, 40, 3), np.uint8))


def test_own_cards_of_the_workspace_open_by_name(tmp_path: Path) -> None:
    (tmp_path / "backbones" / "own").mkdir(parents=True)
    card = 'title = "T"\narchitecture = "test_resnet"\nweights = {kind = "random"}\nfacts = {method = "none"}\n'
    (tmp_path / "backbones" / "own" / "mine.toml").write_text(card)
    assert open_backbone("own/mine", workspace=tmp_path).card.name == "own/mine"
    with pytest.raises(UnknownName, match="did you mean 'own/mine'"):
        open_backbone("own/mime", workspace=tmp_path)


def test_missing_weights_are_reported_and_not_fetched_unasked(tmp_path: Path) -> None:
    absent = CARD.model_copy(update={"weights": FileWeights(path=str(tmp_path / "absent.pth"))})
    with pytest.raises(WeightsError, match=r"absent\.pth"):
        open_backbone(absent, workspace=tmp_path)


def test_preprocessing_and_pooling_can_be_chosen_by_name() -> None:
    found = open_backbone(CARD, preprocessing="resize-256", pooling="avg")
    assert (found.preprocessing.resize, found.preprocessing.crop) == (37, 32)
    assert found.card.pooling == "avg"
    with pytest.raises(ValueError, match="unknown preprocessing 'none'"):
        open_backbone(CARD, preprocessing="none")


def test_the_call_works_in_a_cell_of_a_notebook(pixels: npt.NDArray[np.uint8]) -> None:
    cell = "from backbones import open_backbone\nfeatures = open_backbone('demo/simclr').features(images)"
    names: dict[str, Any] = {"images": list(pixels)}

    async def kernel() -> None:  # a notebook's kernel runs its cells inside an event loop
        exec(compile(cell, "<cell>", "exec"), names)

    asyncio.run(kernel())
    assert names["features"].shape == (5, 96)


def test_the_package_has_no_other_names_that_appear_late() -> None:
    with pytest.raises(AttributeError, match="no attribute 'close_backbone'"):
        _ = backbones.close_backbone
