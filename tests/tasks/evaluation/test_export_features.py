from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from backbones import open_backbone
from backbones.catalog.card import BackboneCard, FactsCard, FileWeights, InputCard, RandomWeights
from backbones.io.errors import WeightsError
from backbones.io.image_reading import ImageError
from tasks.datasets.dataset import DataError
from tasks.datasets.registry import open_dataset
from tasks.evaluation.export_features import Export, LineReporter
from tasks.features.array_files import NamedFeatures, write_features
from tasks.features.requests import (
    DatasetSplits,
    Exported,
    ExportRequest,
    FormatError,
    ImageFiles,
    LayerChoice,
    LayerError,
    check_format,
)
from tests.tasks.workspace_fixture import CATALOG

CARD = BackboneCard(
    name="tiny",
    title="Tiny",
    architecture="test_resnet",
    weights=RandomWeights(),
    input=InputCard(size=16),
    facts=FactsCard(method="none"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of different sizes, and a folder for everything else."""
    folder = tmp_path_factory.mktemp("export")
    generator = np.random.default_rng(0)
    for number in range(3):
        pixels = generator.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return folder


def files(root: Path) -> ImageFiles:
    paths = sorted(map(str, root.glob("*.jpg")))
    return ImageFiles(files=tuple(paths), names=("a", "b", "c"))


def export(root: Path, output: str, *sources: ImageFiles | DatasetSplits, **changed: Any) -> Exported:
    request = ExportRequest(
        backbone=changed.pop("backbone", CARD),
        sources=sources,
        output=str(root / output),
        weights=str(root / "weights"),
        data=str(root / "data"),
        features=str(root / "features"),
        **changed,
    )
    return Export(request, LineReporter()).carry_out()


def test_features_of_files_are_those_of_the_python_call_in_every_format(root: Path) -> None:
    given = files(root)
    expected = open_backbone(CARD).features(given.files)
    assert export(root, "files.npy", given).images == 3
    np.testing.assert_array_equal(np.load(root / "files.npy"), expected)
    beside = json.loads((root / "files.names.json").read_text())
    assert (beside["names"], beside["backbone"], beside["layers"]) == (["a", "b", "c"], "tiny", ["last"])
    export(root, "files.npz", given)
    with np.load(root / "files.npz") as arrays:
        np.testing.assert_array_equal(arrays["features"], expected)
        assert list(arrays["names"]) == ["a", "b", "c"]
        assert json.loads(str(arrays["about"]))["preprocessing"]["crop"] == 16
    export(root, "files.safetensors", given)
    with safe_open(root / "files.safetensors", "numpy") as opened:
        np.testing.assert_array_equal(opened.get_tensor("features"), expected)
        assert json.loads(opened.metadata()["names"]) == ["a", "b", "c"]
    assert not list(root.glob(".*partial*"))


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="parquet needs pyarrow")
def test_parquet_has_one_row_per_image(tmp_path: Path) -> None:
    import pyarrow.parquet  # noqa: PLC0415

    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_features(tmp_path / "f.parquet", NamedFeatures(values, ["a", "b"], {"backbone": "x"}, np.array([1, 0])))
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    assert table.column("name").to_pylist() == ["a", "b"]
    assert table.column("features").to_pylist() == values.tolist()
    assert json.loads(table.schema.metadata[b"ssl_console"])["backbone"] == "x"


def test_features_of_a_dataset_come_with_labels_and_stay_in_the_store_of_the_tasks(root: Path) -> None:
    digits = DatasetSplits(card=CATALOG.dataset("digits"), splits=("test",))
    first = export(root, "digits.npz", digits)
    assert (first.images, first.encoded) == (897, 897)
    again = export(root, "again.npz", digits)
    assert again.encoded == 0
    with np.load(root / "digits.npz") as arrays:
        assert arrays["labels"].shape == (897,)
        assert len(arrays["classes"]) == 10
        assert set(arrays["splits"]) == {"test"}
        assert arrays["names"][0].startswith("digits/test/")
    both = export(root, "both.npz", files(root), digits)
    assert both.images == 900
    with np.load(root / "both.npz") as arrays:
        assert "labels" not in arrays


def test_another_pooling_makes_other_stored_features(root: Path) -> None:
    digits = DatasetSplits(card=CATALOG.dataset("digits"), splits=("test",))
    vit = CARD.model_copy(update={"architecture": "test_vit", "pooling": "cls"})
    assert export(root, "cls.npy", digits, backbone=vit).encoded == 897
    assert export(root, "avg.npy", digits, backbone=vit.model_copy(update={"pooling": "avg"})).encoded == 897
    assert not np.allclose(np.load(root / "cls.npy"), np.load(root / "avg.npy"))


def test_chosen_blocks_of_datasets_and_of_files_are_the_stored_columns(root: Path) -> None:
    vit = CARD.model_copy(update={"architecture": "test_vit"})
    digits = DatasetSplits(card=CATALOG.dataset("digits"), splits=("test",))
    choice = LayerChoice(blocks=(2,), poolings=("cls", "mean"))
    export(root, "blocks.npy", digits, backbone=vit, layers=choice)
    stored = np.load(root / "blocks.npy")
    assert stored.shape == (897, 2 * 64)
    assert json.loads((root / "blocks.names.json").read_text())["layers"] == ["block 2 cls", "block 2 mean"]
    image = open_dataset(CATALOG.dataset("digits"), root / "data").splits["test"].images[0]
    image.save(root / "digit.png")
    one = ImageFiles(files=(str(root / "digit.png"),), names=("digit",))
    export(root, "one.npy", one, backbone=vit, layers=choice)
    np.testing.assert_allclose(np.load(root / "one.npy")[0], stored[0], rtol=5e-3, atol=5e-3)
    with pytest.raises(LayerError, match=r"tiny has blocks 1 to .*, pooled by cls, mean"):
        export(root, "none.npy", one, backbone=vit, layers=LayerChoice(blocks=(99,)))


def test_what_cannot_be_had_is_named_and_leaves_no_file(root: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    broken = ImageFiles(files=(str(tmp_path / "notes.jpg"),), names=("notes",))
    with pytest.raises(ImageError, match=r"notes\.jpg is not an image"):
        export(root, "broken.npy", broken)
    with pytest.raises(DataError, match=r"digits has no split 'val': it has train, test"):
        export(root, "broken.npy", DatasetSplits(card=CATALOG.dataset("digits"), splits=("val",)))
    absent = CARD.model_copy(update={"weights": FileWeights(path=str(tmp_path / "absent.pth"))})
    with pytest.raises(WeightsError, match="missing"):
        export(root, "broken.npy", files(root), backbone=absent)
    assert not (root / "broken.npy").exists()


def test_an_unknown_ending_and_parquet_without_its_library_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FormatError, match=r"\.npy, \.npz, \.safetensors, \.parquet"):
        check_format(Path("features.csv"))
    monkeypatch.setattr("tasks.features.requests.find_spec", lambda _name: None)
    with pytest.raises(FormatError, match="pip install pyarrow"):
        check_format(Path("features.parquet"))
