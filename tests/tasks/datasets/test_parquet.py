"""Parquet files with images, as on the Hugging Face hub, written by pyarrow."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.datasets.dataset import DataError
from tasks.datasets.folders import Ambiguous
from tasks.datasets.registry import open_dataset
from tests.tasks.datasets.messy import CLASSES, add, folders, images, notes_text, numbered, picture, png

pa: Any = pytest.importorskip("pyarrow", reason="parquet files need pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="parquet files need pyarrow")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def parquet(
    path: Path, rows: list[dict[str, Any]], schema: dict[str, Any], names: dict[str, Any] | None = None
) -> Path:
    """A file with two rows per group; `names` are class names by column, as written by `datasets`."""
    features = {column: {"names": list(some), "_type": "ClassLabel"} for column, some in (names or {}).items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(schema.items()), metadata)), path, row_group_size=2)
    return path


def row(number: int, **cells: Any) -> dict[str, Any]:
    return {"image": {"bytes": png(number), "path": f"{number}.png"}, **cells}


def hub(root: Path, *, label: Any = CLASSES.index, test: Any = None) -> Path:
    """Two splits, the second with the last four images of every class."""
    schema = {"image": IMAGE, "label": pa.int64()}
    for split in ("train", "test"):
        chosen = [(name, number) for name, number in numbered() if (number % 10 > 5) == (split == "test")]
        value = test if split == "test" and test else label
        rows = [row(number, label=value(name)) for name, number in chosen]
        parquet(root / "data" / f"{split}-00000-of-00001.parquet", rows, schema, {"label": CLASSES})
    return root


def test_images_classes_and_splits_of_the_hubs_layout_are_read(tmp_path: Path) -> None:
    (tmp_path / "some" / "README.md").parent.mkdir()
    (tmp_path / "some" / "README.md").write_text("a card")
    found = add(hub(tmp_path / "some"))
    assert (found.layout, found.card.images, found.card.classes) == ("parquet", {"train": 12, "test": 8}, 2)
    dataset = open_dataset(found.card, Path("/"))
    assert dataset.classes == CLASSES
    for split in dataset.splits.values():
        for index in reversed(range(len(split.images))):
            number = int(Path(split.identifiers[index]).stem)
            assert np.array_equal(np.asarray(split.images[index]), np.asarray(picture(number)))
            assert split.labels[index] == number // 10


def test_a_parquet_file_that_is_replaced_is_noticed_and_then_another_dataset(tmp_path: Path) -> None:
    root = hub(tmp_path / "some")
    found = add(root)
    dataset = open_dataset(found.card, Path("/"))
    path = root / "data" / "train-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["image"]["bytes"] = png(99)
    parquet(path, rows, {"image": IMAGE, "label": pa.int64()}, {"label": CLASSES})
    with pytest.raises(DataError, match="changed after the dataset was opened"):
        dataset.splits["train"].images[0]
    again = open_dataset(found.card, Path("/"))
    assert again.manifest_digest != dataset.manifest_digest
    assert np.array_equal(np.asarray(again.splits["train"].images[0]), np.asarray(picture(99)))


def test_without_pyarrow_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = hub(tmp_path / "some")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"parquet files need pyarrow, .*pip install 'ssl-console\[parquet\]'"):
        add(root)
    folders(tmp_path / "pictures")
    (tmp_path / "pictures" / "predictions.parquet").write_bytes(b"PAR1")
    assert images(add(tmp_path / "pictures")) == 20, "a table beside class folders does not ask for pyarrow"


def test_a_split_whose_labels_are_kept_secret_is_a_question(tmp_path: Path) -> None:
    root = hub(tmp_path / "some", test=lambda _name: -1)
    with pytest.raises(Ambiguous, match="the 8 images of the split test have no labels"):
        add(root)
    assert "rows of test-00000-of-00001.parquet without a label: 8" in notes_text(add(root, leave_out=True))


def test_null_labels_are_left_out_and_labels_may_be_words(tmp_path: Path) -> None:
    rows = [row(number, label=None if number == 3 else name) for name, number in numbered()]
    parquet(tmp_path / "some" / "0.parquet", rows, {"image": IMAGE, "label": pa.string()})
    found = add(tmp_path / "some")
    assert (images(found), found.card.classes) == (19, 2)
    assert "rows of 0.parquet without a label: 1 (0.parquet/3/3.png)" in notes_text(found)


def test_several_labels_per_row_are_a_question_and_read_with_several(tmp_path: Path) -> None:
    rows = [row(number, tags=[name, "odd"] if number % 2 else [name]) for name, number in numbered()]
    parquet(tmp_path / "some" / "0.parquet", rows, {"image": IMAGE, "tags": pa.list_(pa.string())})
    with pytest.raises(Ambiguous, match="choose --several"):
        add(tmp_path / "some", label_column="tags")
    found = add(tmp_path / "some", label_column="tags", several=True)
    assert (images(found), found.card.classes, found.card.metric) == (20, 3, "map11")


def test_further_columns_of_labels_images_or_splits_are_questions(tmp_path: Path) -> None:
    schema = {"image": IMAGE, "mask": IMAGE, "fine": pa.int64(), "coarse": pa.int64(), "split": pa.string()}
    rows = [
        {**row(number), "mask": {"bytes": png(number), "path": None}, "fine": number // 10, "coarse": 0, "split": word}
        for number, word in ((number, "train" if number % 2 else "holdout") for _, number in numbered())
    ]
    parquet(tmp_path / "some" / "0.parquet", rows, schema, {"fine": CLASSES, "coarse": ("all",)})
    with pytest.raises(Ambiguous, match="--file-column: image, mask"):
        add(tmp_path / "some")
    with pytest.raises(Ambiguous, match="--label-column: fine, coarse"):
        add(tmp_path / "some", file_column="image")
    found = add(tmp_path / "some", file_column="image", label_column="fine")
    assert found.card.images == {"train": 10, "test": 10}
    assert "'holdout' is test" in notes_text(found)


def test_configurations_beside_each_other_are_a_question(tmp_path: Path) -> None:
    for name in ("plain", "augmented"):
        hub(tmp_path / "some" / name)
    with pytest.raises(Ambiguous, match="parquet files in 2 folders, which may be configurations of the same images"):
        add(tmp_path / "some")


def test_a_row_without_bytes_is_named_and_a_damaged_file_refused(tmp_path: Path) -> None:
    rows = [row(number, label=name) for name, number in numbered()]
    rows[3]["image"]["bytes"] = None
    path = parquet(tmp_path / "some" / "0.parquet", rows, {"image": IMAGE, "label": pa.string()})
    assert "1 image cannot be read" in notes_text(add(path.parent))
    assert images(add(path.parent, skip_unreadable=True)) == 19
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"0\.parquet is not a parquet file, or is damaged"):
        add(path.parent)
