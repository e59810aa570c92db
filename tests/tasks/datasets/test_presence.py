"""Presence of a dataset and its stored manifest, determined without numpy and torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.manifest import Manifest, Unreadable, ask, known_manifest, manifests, remember_manifest
from tasks.datasets.presence import presence
from tasks.datasets.registry import open_dataset

CATALOG = TaskCatalog.load()


def draw(path: Path, size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (100, 50, 200)).save(path)


def isic(root: Path, images: int = 7) -> Path:
    """A miniature of the only dataset on disk whose reader needs no torchvision, so that its process starts fast."""
    base = root / "ISIC"
    rows = ["image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"]
    for number in range(images):
        draw(base / "ISIC2018_Task3_Training_Input" / f"{number}.jpg")
        rows.append(",".join([str(number), *("1.0" if column == number % 7 else "0.0" for column in range(7))]))
    truth = base / "ISIC2018_Task3_Training_GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv"
    truth.parent.mkdir(parents=True, exist_ok=True)
    truth.write_text("\n".join(rows))
    return base


def describe(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "tasks.catalog.describe_main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_names_a_reader_that_can_be_imported(name: str) -> None:
    module, _, function = LAYOUTS[name].reader.partition(":")
    assert callable(getattr(import_module(module), function))


def test_nothing_there_is_missing_and_the_advice_is_the_command(tmp_path: Path) -> None:
    found = presence(CATALOG.dataset("pets"), tmp_path)
    assert found.status == "missing"
    assert found.missing[0] == tmp_path / "Pets" / "images"
    assert found.advice == "run `ssl-console data fetch pets`"


def test_half_a_dataset_is_partial_and_names_what_is_missing(tmp_path: Path) -> None:
    draw(tmp_path / "Flowers" / "flowers-102" / "jpg" / "image_00001.jpg")
    found = presence(CATALOG.dataset("flowers"), tmp_path)
    assert found.status == "partial"
    assert {path.name for path in found.missing} == {"imagelabels.mat", "setid.mat"}
    assert found.base == tmp_path / "Flowers" / "flowers-102"


def test_data_that_need_a_login_come_with_the_page(tmp_path: Path) -> None:
    advice = presence(CATALOG.dataset("chestx"), tmp_path).advice
    assert "Data_Entry_2017.csv" in advice
    assert "https://www.kaggle.com/" in advice


@pytest.mark.parametrize("name", ["digits", "shapes-count"])
def test_embedded_data_are_always_present(name: str, tmp_path: Path) -> None:
    assert presence(CATALOG.dataset(name), tmp_path / "gone").status == "present"


def test_a_present_dataset_lacks_nothing(tmp_path: Path) -> None:
    isic(tmp_path)
    found = presence(CATALOG.dataset("isic"), tmp_path)
    assert (found.status, found.missing, found.advice) == ("present", (), "")


def test_an_unknown_reader_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    card = DatasetCard(name="x", title="", reader="cifar11", protocols=("linear",))
    with pytest.raises(DataError, match=r"no reader 'cifar11' .*did you mean 'cifar10'"):
        open_dataset(card, tmp_path)


def test_a_manifest_is_what_opening_the_dataset_gives(tmp_path: Path) -> None:
    isic(tmp_path)
    card = CATALOG.dataset("isic")
    dataset = open_dataset(card, tmp_path)
    answer = ask([card], tmp_path)["isic"]
    assert isinstance(answer, Manifest)
    assert (answer.digest, answer.classes) == (dataset.manifest_digest, dataset.classes)
    assert answer.splits["all"].images_digest == dataset.splits["all"].images_digest
    assert answer.splits["all"].labels_digest == dataset.splits["all"].labels_digest


def test_numbers_that_differ_from_the_published_ones_are_problems_and_not_errors(tmp_path: Path) -> None:
    isic(tmp_path)
    fewer = CATALOG.dataset("isic").model_copy(update={"classes": 8})
    answer = ask([fewer], tmp_path)["isic"]
    assert isinstance(answer, Manifest)
    assert answer.problems == ("7 classes, published are 8", "7 images in all, published are 10,015")


def test_a_kept_manifest_is_found_until_a_key_file_changes(tmp_path: Path) -> None:
    isic(tmp_path)
    card, cache = CATALOG.dataset("isic"), tmp_path / "cache"
    assert known_manifest(card, tmp_path, cache) is None
    first = manifests([card], tmp_path, cache)["isic"]
    end = time.monotonic() + 60.0
    while known_manifest(card, tmp_path, cache) is None:  # recently written files are read again
        assert time.monotonic() < end, "the manifest was not kept"
        assert manifests([card], tmp_path, cache)["isic"] == first
    assert known_manifest(card, tmp_path, cache) == first
    isic(tmp_path, images=8)
    assert known_manifest(card, tmp_path, cache) is None
    second = manifests([card], tmp_path, cache)["isic"]
    assert isinstance(first, Manifest)
    assert isinstance(second, Manifest)
    assert second.digest != first.digest


def test_another_card_of_the_same_name_does_not_find_the_kept_manifest(tmp_path: Path) -> None:
    card = CATALOG.dataset("shapes")
    kept = manifests([card], tmp_path, tmp_path)["shapes"]
    smaller = card.model_copy(update={"reader_arguments": {**card.reader_arguments, "train": 10}})
    assert known_manifest(card, tmp_path, tmp_path) == kept
    assert known_manifest(smaller, tmp_path, tmp_path) is None


def test_a_damaged_cache_file_is_ignored(tmp_path: Path) -> None:
    card = CATALOG.dataset("shapes")
    kept = manifests([card], tmp_path, tmp_path)["shapes"]
    assert isinstance(kept, Manifest)
    for path in (tmp_path / "manifests").iterdir():
        path.write_text("{")
    assert known_manifest(card, tmp_path, tmp_path) is None
    remember_manifest(card, tmp_path, tmp_path, kept)
    assert known_manifest(card, tmp_path, tmp_path) == kept


def test_a_cache_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    card = CATALOG.dataset("shapes")
    assert isinstance(manifests([card], tmp_path, blocked)["shapes"], Manifest)


def test_one_unreadable_dataset_does_not_hide_the_others(tmp_path: Path) -> None:
    base = isic(tmp_path)
    next((base / "ISIC2018_Task3_Training_Input").iterdir()).unlink()
    answers = manifests([CATALOG.dataset(name) for name in ("isic", "digits", "pets")], tmp_path, tmp_path / "cache")
    assert isinstance(answers["digits"], Manifest)
    assert isinstance(answers["isic"], Unreadable)
    assert ".jpg is missing from the 7 images of all" in answers["isic"].error
    assert isinstance(answers["pets"], Unreadable)
    assert "ssl-console data fetch pets" in answers["pets"].error


def test_describe_prints_one_line_of_json_per_dataset_and_fails_for_a_missing_one(tmp_path: Path) -> None:
    done = describe("digits", "cifar10", "--data-root", str(tmp_path))
    digits, cifar = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 3
    assert (digits["name"], digits["splits"]["train"]["images"], digits["problems"]) == ("digits", 900, [])
    assert "data_batch_1" in cifar["error"]


def test_describe_reads_own_cards_and_refuses_unknown_names(tmp_path: Path) -> None:
    card = 'title="m"\nreader="shapes"\nprotocols=["knn"]\nreader_arguments={factor="texture", train=3}\n'
    (tmp_path / "mine.toml").write_text(card)
    options = ("--cards", str(tmp_path))
    assert json.loads(describe("mine", *options).stdout)["splits"]["train"]["images"] == 3
    unknown = describe("mien", *options)
    assert (unknown.returncode, "did you mean 'mine'" in unknown.stderr) == (2, True)


def test_looking_for_broken_images_finds_them(tmp_path: Path) -> None:
    (isic(tmp_path) / "ISIC2018_Task3_Training_Input" / "4.jpg").write_bytes(b"no image")
    answer = ask([CATALOG.dataset("isic")], tmp_path, decode=True)["isic"]
    assert isinstance(answer, Manifest)
    assert any("4.jpg cannot be decoded" in problem for problem in answer.problems)


def test_listing_datasets_imports_neither_numpy_nor_torch(tmp_path: Path) -> None:
    program = """
import sys
from importlib import import_module
from pathlib import Path
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.download.fetch import fetch
from tasks.datasets.manifest import known_manifest
from tasks.datasets.presence import presence, signature
catalog = TaskCatalog.load()
for card in catalog.datasets.values():
    presence(card, Path(sys.argv[1])), signature(card, Path(sys.argv[1]))
    known_manifest(card, Path(sys.argv[1]), Path(sys.argv[1]))
catalog.select(["linear/*"], suite="demo")
print([name for name in ("numpy", "torch", "torchvision", "sklearn", "scipy", "PIL") if name in sys.modules])
"""
    command = [sys.executable, "-P", "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
