"""Readers with thousands of invalid inputs: each returns a value or raises the reader's own error."""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from backbones.catalog.card import BackboneCard, KeyMapping, TimmWeights, UrlWeights
from backbones.catalog.weights_folder import WeightsFolder
from backbones.checkpoints.haiku_pickle import read_haiku_pickle
from backbones.checkpoints.key_mapping import best_fit, check, mismatch, select, shapes
from backbones.checkpoints.read import read_checkpoint
from backbones.checkpoints.tensorflow_bundle import read_bundle
from backbones.inspection.networks import find_streams, method_of, prefer, stream_at
from backbones.io.card_files import read_cards
from backbones.io.errors import WeightsError
from ssl_console.workspace.events import EventTail, Progress, decode_event, fold
from tasks.catalog.catalog import AnyCard
from tasks.datasets.card import DatasetCard
from tasks.datasets.csv_index import Balance, read_index
from tasks.datasets.download.safe_unpack import ArchiveError, unpack
from tasks.datasets.importing.detect_layout import layout_of, rows_of, with_splits
from tasks.datasets.importing.messages import ImportOptions
from tests.backbones.conftest import bundle_bytes
from tests.faults.inputs import NAMES, damaged, try_inputs, values
from tests.faults.stage import BACKBONE, DATASET
from tests.faults.tally import Tally

GROUP = "fuzzed input"
TREE = {"state_dict": {"conv1.weight": torch.zeros(4, 3, 3, 3), "bn1.bias": torch.zeros(4)}, "epoch": 3}
ARRAYS = {"a": np.arange(3, dtype="f4"), "b": (1, "x"), "c": {"d": [2.5, None]}}
COCO = {
    "images": [{"id": 1, "file_name": "imgs/a.png"}, {"id": 2, "file_name": "imgs/b.png"}],
    "annotations": [{"image_id": 1, "category_id": 3}, {"image_id": 2, "category_id": 4}],
    "categories": [{"id": 3, "name": "x"}, {"id": 4, "name": "y"}],
}
VOC = b"<annotation><object><name>cat</name><difficult>0</difficult></object></annotation>"
TABLE = b'file,label,split\nimgs/a.png,cat,train\nimgs/b.png,dog,test\n"imgs/c.png","do,g",train\n../a.png,cat,train\n'
INDEX = b"split,file,labels,offset,size\ntrain,imgs/a.png,cat,,\ntest,x.tar/b.png,dog,512,10\n"
OUTCOME = "a value or a refusal by name, nothing else"


def saved(content: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.jpg", b"abc" * 50)
        archive.writestr("c.txt", b"x")
    return buffer.getvalue()


def tarred(mode: str = "w", kind: int = tarfile.PAX_FORMAT, members: Mapping[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, content in (members or {"a/b.jpg": b"x" * 300, f"{'c' * 120}ü.txt": b"y"}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


# -- cards ------------------------------------------------------------------------------------------------------


def backbone_tables() -> st.SearchStrategy[bytes]:
    """A card with any value of one key, at the top level or in its weights or input."""
    fields = [*BackboneCard.model_fields, *(f"weights.{name}" for name in ("kind", "url", "filename", "tag", "path"))]
    base = {
        "title": "T",
        "architecture": "a",
        "weights": {"kind": "url", "url": "https://x/y"},
        "facts": {"method": "m"},
    }

    def with_value(field: str, value: object) -> bytes:
        table: dict[str, object] = json.loads(json.dumps(base))
        first, _, second = field.partition(".")
        if second:
            table[first] = {**base["weights"], second: value}  # type: ignore[dict-item]
        else:
            table[first] = value
        try:
            return tomli_w.dumps(cast("dict[str, Any]", _without_none(table))).encode()
        except (TypeError, ValueError, UnicodeEncodeError):
            return b""

    return st.builds(with_value, st.sampled_from(fields), values())


def _without_none(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value if item is not None] if isinstance(value, list) else value


def look_at_backbone(folder: Path, content: bytes) -> None:
    (folder / "good.toml").write_text(BACKBONE)
    (folder / "odd.toml").write_bytes(content)
    found = read_cards(folder, BackboneCard)
    assert "good" in found.cards
    assert "odd" in found.cards or found.problems
    assert all(str(problem) for problem in found.problems)
    if "odd" in found.cards and isinstance(found.cards["odd"].weights, UrlWeights | TimmWeights):
        weights = WeightsFolder(folder / "weights")
        path = weights.path(found.cards["odd"])
        assert path is not None
        assert path.parent == weights.root
        weights.state(found.cards["odd"])


def look_at_dataset(folder: Path, content: bytes) -> None:
    (folder / "good.toml").write_text(DATASET)
    (folder / "odd.toml").write_bytes(content)
    found = read_cards(folder, AnyCard)
    assert "good" in found.cards
    assert "odd" in found.cards or found.problems
    card = found.cards["odd"].root if "odd" in found.cards else None
    if isinstance(card, DatasetCard) and card.folder is not None:
        assert (folder / card.folder).resolve().is_relative_to(folder.resolve())


def test_cards_of_any_content_are_read_or_named_and_stay_in_their_folders(tally: Tally) -> None:
    count = try_inputs(damaged(BACKBONE.encode()), look_at_backbone)
    count += try_inputs(backbone_tables(), look_at_backbone)
    folder = st.tuples(st.just(DATASET), NAMES).map(lambda pair: f"{pair[0]}folder = {json.dumps(pair[1])}\n".encode())
    count += try_inputs(st.one_of(damaged(DATASET.encode()), folder), look_at_dataset)
    tally.add("fuzzed cards of backbones and datasets", count, OUTCOME)


# -- events -----------------------------------------------------------------------------------------------------


def test_events_of_any_content_are_folded_or_passed_over(tally: Tally) -> None:
    fields = (
        "name",
        "done",
        "total",
        "unit",
        "value",
        "step",
        "message",
        "device",
        "images_per_s",
        "memory_mb",
    )
    kinds = st.sampled_from(
        ["started", "phase", "advance", "metric", "warning", "resources", "heartbeat", "ended", "x"]
    )
    one = st.fixed_dictionaries(
        {"kind": kinds, "time": st.one_of(st.floats(), values())}, optional={name: values() for name in fields}
    )
    lines = st.one_of(st.lists(one, max_size=6).map(_as_lines), st.binary(max_size=200))

    def look(folder: Path, content: bytes) -> None:
        path = folder / "events.1.jsonl"
        path.write_bytes(content)
        tail = EventTail.of(path)
        progress = fold(tail.poll(), Progress())
        for line in content.split(b"\n"):
            decode_event(line)
        share, eta = progress.share, progress.eta_s(1e9)
        assert share is None or share <= 1
        assert eta is None or eta >= 0 or math.isnan(eta)

    tally.add("fuzzed events", try_inputs(lines, look), OUTCOME)


def _as_lines(found: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in found).encode(errors="surrogatepass")


# -- checkpoints ------------------------------------------------------------------------------------------------

CHECKPOINTS: Mapping[str, tuple[bytes, Callable[[Path], object], str]] = {
    "torch's zip files": (saved(TREE), read_checkpoint, "x.pth"),
    "torch's old pickles": (saved(TREE, _use_new_zipfile_serialization=False), read_checkpoint, "x.pth"),
    "safetensors": (save({"conv1.weight": torch.zeros(4, 3, 3, 3)}), read_checkpoint, "x.safetensors"),
    "haiku's pickles": (pickle.dumps(ARRAYS, protocol=2), read_haiku_pickle, "x.pkl"),
    "haiku's newer pickles": (pickle.dumps(ARRAYS, protocol=4), read_haiku_pickle, "x.pkl"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", CHECKPOINTS)
def test_checkpoints_with_changed_bytes_are_read_or_refused(form: str, tally: Tally) -> None:
    whole, read, name = CHECKPOINTS[form]

    def look(folder: Path, content: bytes) -> None:
        (folder / name).write_bytes(content)
        with suppress(WeightsError):
            read(folder / name)

    tally.add(f"fuzzed checkpoints: {form}", try_inputs(damaged(whole), look), OUTCOME)


def test_tensorflow_indices_with_changed_bytes_are_read_or_refused(tally: Tally) -> None:
    variables = {"base/conv2d/kernel": np.zeros((3, 3, 3, 4), "f4"), "step": np.array(3, "i8")}
    index, (data,) = bundle_bytes(variables, 1)

    def look(folder: Path, content: bytes) -> None:
        (folder / "model.data-00000-of-00001").write_bytes(data)
        (folder / "model.index").write_bytes(content)
        with suppress(WeightsError):
            read_bundle(folder / "model.index", lambda _name: True)

    tally.add("fuzzed checkpoints: TensorFlow's index", try_inputs(damaged(index), look), OUTCOME)


def checkpoint_trees() -> st.SearchStrategy[dict[object, object]]:
    """Dictionaries whose keys are parts of real names, or anything, and whose tensors have any small shape."""
    parts = ["module", "encoder_q", "backbone", "conv1", "layer1", "0", "bn1", "weight", "bias", "net", "teacher", ""]
    keys = st.one_of(st.lists(st.sampled_from(parts), min_size=1, max_size=5).map(".".join), NAMES, st.integers(0, 5))
    tensors = st.lists(st.integers(0, 4), max_size=4).map(torch.zeros)
    leaves = st.one_of(tensors, st.integers(), st.text(max_size=5), st.none())
    trees = st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=5), max_leaves=12)
    return st.dictionaries(keys, trees, max_size=6)


def test_checkpoint_keys_of_any_form_are_compared_and_told(tally: Tally) -> None:
    expected = {"conv1.weight": (4, 3, 3, 3), "bn1.bias": (4,), "layer1.0.weight": (2, 2)}

    def look(_folder: Path, tree: dict[object, object]) -> None:
        content: dict[str, object] = tree  # type: ignore[assignment]
        streams = find_streams(content)
        prefer([(stream, stream.place) for stream in streams])
        method_of(content)
        stream_at(content, None, "")
        fit = best_fit(content, expected)
        keys = KeyMapping(container=fit.container, prefix=fit.prefix) if fit else KeyMapping()
        with suppress(WeightsError):
            tensors = select(content, keys)
            assert all(isinstance(value, Tensor) for value in tensors.values())
            report = check(expected, shapes(tensors))
            assert report.exact or str(mismatch("x", report, content, expected, keys))

    tally.add("fuzzed keys of checkpoints", try_inputs(checkpoint_trees(), look), OUTCOME)


# -- archives and own data --------------------------------------------------------------------------------------

ARCHIVES = {
    "zip": zipped(),
    "tar": tarred(),
    "gnu tar": tarred(kind=tarfile.GNU_FORMAT),
    "tar.gz": tarred("w:gz"),
    "tar.xz": tarred("w:xz"),
}


@pytest.mark.parametrize("form", ARCHIVES)
def test_archives_with_changed_bytes_write_nothing_outside(form: str, tally: Tally) -> None:
    def look(folder: Path, content: bytes) -> None:
        (folder / "archive").write_bytes(content)
        with suppress(ArchiveError):
            unpack(folder / "archive", folder / "in" / "out", lambda _done, _total: None)
        outside = {path.name for path in (*folder.iterdir(), *(folder / "in").iterdir())} - {"archive", "in", "out"}
        assert not outside
        assert not any(path.is_symlink() for path in (folder / "in").rglob("*"))

    tally.add(f"fuzzed archives: {form}", try_inputs(damaged(ARCHIVES[form]), look), f"{OUTCOME}; nothing outside")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_with_any_names_write_nothing_outside(kind: str, tally: Tally) -> None:
    def look(folder: Path, names: list[str]) -> None:
        with suppress(UnicodeEncodeError, ValueError, struct.error):
            (folder / "archive").write_bytes(
                _zip_of(names) if kind == "zip" else tarred(members=dict.fromkeys(names, b"x"))
            )
        if not (folder / "archive").exists():
            return
        with suppress(ArchiveError):
            unpack(folder / "archive", folder / "in" / "out", lambda _done, _total: None)
        outside = {path.name for path in (*folder.iterdir(), *(folder / "in").iterdir())} - {"archive", "in", "out"}
        assert not outside

    count = try_inputs(st.lists(NAMES, min_size=1, max_size=4), look)
    tally.add(f"fuzzed names in {kind} archives", count, f"{OUTCOME}; nothing outside")


def _zip_of(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in dict.fromkeys(names):
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            archive.writestr(info, b"x")
    return buffer.getvalue()


SAMPLES = {"a.png": b"xx", "a.cls": b"1", "b.png": b"y", "b.json": b'{"label": 2}'}
OWN_DATA: Mapping[str, tuple[str, bytes]] = {
    "CSV tables": ("labels.csv", TABLE),
    "split files": ("train.txt", b"imgs/a.png 0\nimgs/b.png 1\nimgs/c.png\n../a.png 1\n"),
    "COCO files": ("coco.json", json.dumps(COCO).encode()),
    "VOC annotations": ("Annotations/a.xml", VOC),
    "webdataset shards": ("train-0.tar", tarred(members=SAMPLES)),
}


@pytest.mark.parametrize("form", OWN_DATA)
def test_own_datasets_with_changed_bytes_are_read_or_refused_and_stay_in_their_folder(form: str, tally: Tally) -> None:
    name, whole = OWN_DATA[form]

    def look(folder: Path, content: bytes) -> None:
        root = folder / "data"
        images = root / ("JPEGImages" if form == "VOC annotations" else "imgs")
        images.mkdir(parents=True)
        for letter in "abc":
            Image.new("RGB", (2, 2)).save(images / f"{letter}.png")
        Image.new("RGB", (2, 2)).save(folder / "a.png")
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
        with suppress(ValueError, csv.Error):
            wish = ImportOptions()
            kind = layout_of(root, wish)
            rows, _ = with_splits(rows_of(root, kind, wish, Balance()), wish, several=kind in ("coco", "voc"))
            assert all(not row.file.startswith(("/", "..")) and "/../" not in row.file for row in rows)

    tally.add(f"fuzzed datasets of one's own: {form}", try_inputs(damaged(whole), look), f"{OUTCOME}; nothing outside")


def test_an_index_with_changed_bytes_is_read_or_refused(tally: Tally) -> None:
    def look(folder: Path, content: bytes) -> None:
        (folder / "index.csv").write_bytes(content)
        with suppress(ValueError):
            rows = read_index(folder / "index.csv", multi_label=True)
            assert all(".." not in row.file.split("/") and not row.file.startswith("/") for row in rows)

    tally.add("fuzzed indices of datasets", try_inputs(damaged(INDEX), look), OUTCOME)
