"""The restricted unpickler: what it reads, and that everything else is refused."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones.checkpoints.haiku_pickle import TABLE, read_haiku_pickle
from backbones.io.errors import WeightsError


def write(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i4", "u4", "i8", "?", ">f4"])
def test_arrays_of_every_plain_number_come_back_equal(tmp_path: Path, kind: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    read = read_haiku_pickle(write(tmp_path / "x.pkl", {"a": array, "f": np.asfortranarray(array)}))
    for value in read.values():
        assert isinstance(value, np.ndarray)
        assert np.array_equal(value, array)


def test_numbers_texts_lists_and_nesting_come_back_equal(tmp_path: Path) -> None:
    content = {"step": 3, "lr": 0.5, "name": "byol", "none": None, "list": [1, (2, "x")], "deep": {"a": {"b": True}}}
    assert read_haiku_pickle(write(tmp_path / "x.pkl", content)) == content
    assert read_haiku_pickle(write(tmp_path / "y.pkl", {"a": np.float32(0.25)})) == {"a": 0.25}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": Path("x")}, "pathlib"),
        ({"a": np.array(["text"])}, "not a type of plain numbers"),
        ({"a": np.array([object()], dtype=object)}, "not a type of plain numbers"),
        ({"a": np.zeros(2, dtype=[("x", "f4")])}, "not a type of plain numbers"),
        ({"a": print}, "print"),
        ({"a": np.random.default_rng(0)}, "numpy"),
    ],
    ids=["path", "text", "objects", "records", "function", "generator"],
)
def test_anything_but_plain_data_is_refused_by_name(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(WeightsError, match=f"{words}.*refused, and nothing was run"):
        read_haiku_pickle(write(tmp_path / "x.pkl", content))


def test_a_stand_in_cannot_be_changed_by_a_state(tmp_path: Path) -> None:
    """`BUILD` on a function would set its attributes."""
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02c_codecs\nencode\n}U\x01aK\x01sb.")
    with pytest.raises(WeightsError, match="a state for a function"):
        read_haiku_pickle(tmp_path / "x.pkl")


def test_the_table_holds_nothing_of_the_real_modules() -> None:
    for name, stand_in in TABLE.items():
        assert getattr(stand_in, "__module__", None) == "backbones.checkpoints.haiku_pickle", name


def test_a_reference_beyond_memory_is_refused_quickly(tmp_path: Path) -> None:
    """`LONG_BINPUT` with a huge index makes the compiled unpickler reserve tens of gigabytes; this one does not."""
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    assert read_haiku_pickle(tmp_path / "x.pkl") == {}


@pytest.mark.parametrize("size", [0, 1, 10, -1])
def test_a_cut_off_file_is_said_to_be_broken(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "x.pkl", {"a": np.arange(100)})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(WeightsError, match="is it whole"):
        read_haiku_pickle(path)


def test_every_single_changed_byte_gives_a_value_or_a_refusal_and_nothing_else(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.arange(3, dtype="f4"), "b": (1, "x")}, protocol=2)
    path = tmp_path / "x.pkl"
    outcomes: set[Any] = set()
    for position in range(2, len(whole)):
        for change in (0x01, 0x80):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ change]) + whole[position + 1 :])
            try:
                read_haiku_pickle(path)
                outcomes.add("value")
            except WeightsError:
                outcomes.add("refusal")
    assert outcomes == {"value", "refusal"}


def test_another_object_than_a_dictionary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds a list, not a dictionary"):
        read_haiku_pickle(write(tmp_path / "x.pkl", [1]))


def test_the_reader_is_tried_on_the_opcodes_that_protocol_2_writes(tmp_path: Path) -> None:
    """Verifies an assumption of the other tests: protocol 2 writes bytes through `_codecs.encode`, as in the
    published file."""
    content = pickle.dumps({"a": np.arange(3)}, protocol=2)
    names = {argument for opcode, argument, _ in pickletools.genops(content) if opcode.name == "GLOBAL"}
    assert "_codecs encode" in names
