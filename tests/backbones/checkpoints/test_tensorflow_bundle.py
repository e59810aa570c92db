"""Reading TensorFlow checkpoints, against files written in TensorFlow's format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backbones.catalog.weights_folder import checkpoint_files
from backbones.checkpoints.tensorflow_bundle import read_bundle
from backbones.io.errors import WeightsError

WriteBundle = Callable[..., Path]


def everything(name: str) -> bool:
    return True


@pytest.fixture
def variables() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    many = {f"base_model/layer_{i}/kernel": generator.normal(size=(i % 5 + 1, 3)).astype("f4") for i in range(300)}
    return {
        **many,
        "global_step": np.array(2**40, dtype="i8"),
        "double": generator.normal(size=(2, 2)),
        "int": np.arange(5, dtype="i4"),
        "empty": np.zeros((0, 3), dtype="f4"),
    }


@pytest.mark.parametrize("shards", [1, 3])
def test_every_variable_comes_back_bit_for_bit(
    tmp_path: Path, variables: dict[str, np.ndarray], write_bundle: WriteBundle, shards: int
) -> None:
    read = read_bundle(write_bundle(tmp_path, variables, shards), everything)
    assert read.keys() == variables.keys()
    for name, value in variables.items():
        assert read[name].dtype == value.dtype
        assert np.array_equal(read[name], value), name


def test_only_wanted_variables_are_read(
    tmp_path: Path, variables: dict[str, np.ndarray], write_bundle: WriteBundle
) -> None:
    assert list(read_bundle(write_bundle(tmp_path, variables), lambda name: name == "int")) == ["int"]


def test_a_folder_with_one_index_is_the_same_checkpoint(
    tmp_path: Path, variables: dict[str, np.ndarray], write_bundle: WriteBundle
) -> None:
    index = write_bundle(tmp_path, variables)
    assert read_bundle(tmp_path, everything).keys() == variables.keys()
    assert checkpoint_files(tmp_path) == checkpoint_files(index) == sorted(tmp_path.iterdir(), reverse=True)


def test_a_folder_with_two_indices_is_refused(
    tmp_path: Path, variables: dict[str, np.ndarray], write_bundle: WriteBundle
) -> None:
    write_bundle(tmp_path, variables)
    write_bundle(tmp_path, variables, stem="model.ckpt-8")
    with pytest.raises(WeightsError, match="2 index files"):
        read_bundle(tmp_path, everything)


def test_missing_data_is_an_error_with_the_path(
    tmp_path: Path, variables: dict[str, np.ndarray], write_bundle: WriteBundle
) -> None:
    index = write_bundle(tmp_path, variables)
    data = index.with_name("model.ckpt-7.data-00000-of-00001")
    data.unlink()
    with pytest.raises(WeightsError, match=f"{data} cannot be read: No such file"):
        read_bundle(index, everything)


def test_cut_off_data_is_an_error_that_names_the_variable(
    tmp_path: Path, variables: dict[str, np.ndarray], write_bundle: WriteBundle
) -> None:
    index = write_bundle(tmp_path, variables)
    data = index.with_name("model.ckpt-7.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="int is beyond the end of the data"):
        read_bundle(index, everything)


@pytest.mark.parametrize("keep", [0, 10, 60, -1])
def test_a_cut_off_index_is_an_error(
    tmp_path: Path, variables: dict[str, np.ndarray], write_bundle: WriteBundle, keep: int
) -> None:
    index = write_bundle(tmp_path, variables)
    index.write_bytes(index.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="not a whole TensorFlow checkpoint"):
        read_bundle(index, everything)


def test_every_single_changed_byte_of_the_index_gives_a_value_or_an_error_and_nothing_else(
    tmp_path: Path, write_bundle: WriteBundle
) -> None:
    index = write_bundle(tmp_path, {"a/b": np.arange(6, dtype="f4").reshape(2, 3), "a/c": np.arange(2, dtype="i8")})
    whole = index.read_bytes()
    for position in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            index.write_bytes(whole[:position] + bytes([whole[position] ^ change]) + whole[position + 1 :])
            try:
                read_bundle(index, everything)
            except WeightsError as error:
                assert str(tmp_path) in str(error)  # noqa: PT017 - both outcomes are right
