"""The reader that replaces objects by inert stubs: nothing in a file is run, and no file exhausts the memory."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import functools
import io
import pickle
import pickletools
import struct
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backbones.checkpoints.inert_pickle import InertObject
from backbones.checkpoints.read import read_checkpoint, read_content
from backbones.inspection.evidence import evidence_of
from backbones.io.errors import WeightsError

Ran = list[str]


@pytest.fixture
def trap() -> Iterator[tuple[types.ModuleType, Ran]]:
    """A module that can be imported, whose every use is recorded: a class, a function, a state setter."""
    ran: Ran = []
    module = types.ModuleType("trapped_module")

    class Trapped:
        def __init__(self, *_: object) -> None:
            ran.append("init")

        def __setstate__(self, state: object) -> None:
            ran.append("setstate")

        def append(self, _: object) -> None:
            ran.append("append")

        def __setitem__(self, *_: object) -> None:
            ran.append("setitem")

    def call(*_: object) -> None:
        ran.append("call")

    for name, thing in (("Trapped", Trapped), ("call", call)):
        thing.__module__, thing.__qualname__ = module.__name__, name
        setattr(module, name, thing)
    sys.modules[module.__name__] = module
    yield module, ran
    del sys.modules[module.__name__]


class Reduced:
    """Pickled as the callable that `__reduce__` names."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


class Global:
    """Pickled as a name only."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        """Makes it possible to write a call of it."""


class NamePickler(pickle._Pickler):
    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())  # type: ignore[attr-defined]
        else:
            super().save(obj, save_persistent_id)  # type: ignore[misc]


def torch_file(path: Path, description: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """A torch archive around a pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", description)
        archive.writestr("archive/version", "3\n")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def described(content: object) -> bytes:
    """A pickle of protocol 2 in which `Reduced` and `Global` represent calls and names."""
    file = io.BytesIO()
    NamePickler(file, 2).dump(content)
    return file.getvalue()


def test_a_class_of_another_library_becomes_a_stub_and_the_tensors_beside_it_load(
    tmp_path: Path, trap: tuple[types.ModuleType, Ran]
) -> None:
    module, ran = trap
    trapped = module.Trapped.__new__(module.Trapped)
    trapped.__dict__["weight"] = 3
    torch.save({"state_dict": {"fc.weight": torch.arange(6.0).view(2, 3)}, "history": trapped}, tmp_path / "a.pth")
    content = read_content(tmp_path / "a.pth")
    assert content.stubs == ("trapped_module.Trapped",)
    assert ran == []
    assert torch.equal(content.tensors["state_dict"]["fc.weight"], torch.arange(6.0).view(2, 3))  # type: ignore[index]
    stub = content.tensors["history"]
    assert isinstance(stub, InertObject)
    assert stub.attributes == {"weight": 3}


CALLS: dict[str, Callable[[types.ModuleType], object]] = {
    "reduce": lambda module: Reduced(module.call, ("now",)),
    "class": lambda module: Reduced(module.Trapped, (1,)),
    "state": lambda module: Reduced(module.Trapped, (1,), {"a": 1}),
    "list items": lambda module: Reduced(module.Trapped, (), None, iter([1, 2])),
    "dictionary items": lambda module: Reduced(module.Trapped, (), None, None, iter([(1, 2)])),
    "a stub that a stub makes": lambda module: Reduced(functools.partial, (module.call,), (module.call, (), {}, None)),
    "a call inside a call": lambda module: Reduced(
        module.call, (Reduced(module.Trapped, (Reduced(module.call, ()),)),)
    ),
    "a call as a key": lambda module: {"key": {Reduced(module.Trapped, ()): 1}},
    "a call inside a tensor's rebuilding": lambda module: Reduced(
        torch._tensor._rebuild_from_type_v2, (module.call, torch.Tensor, (1,), {})
    ),
}


@pytest.mark.parametrize("attack", CALLS)
def test_no_call_in_a_pickle_is_made(tmp_path: Path, trap: tuple[types.ModuleType, Ran], attack: str) -> None:
    module, ran = trap
    for name, content in (("a.pth", torch_file), ("b.pkl", None)):
        description = described({"x": CALLS[attack](module)})
        path = tmp_path / name
        if content is None:
            path.write_bytes(description)
        else:
            content(path, description)
        ran.clear()
        with contextlib.suppress(WeightsError):
            read_checkpoint(path)
        assert ran == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "__import__"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("importlib", "import_module"),
        ("sys", "modules"),
        ("shutil", "rmtree"),
    ],
)
def test_a_name_that_only_an_attack_uses_refuses_the_file_and_is_named(tmp_path: Path, module: str, name: str) -> None:
    inside = Reduced(Global("functools", "partial"), (Global(module, name), "true"))
    path = torch_file(tmp_path / "a.pth", described({"state_dict": {}, "callbacks": [inside]}))
    with pytest.raises(WeightsError, match=rf"{module}\.{name}.*nothing was run"):
        read_checkpoint(path)


def test_a_state_is_not_set_on_a_function_or_a_constructor(tmp_path: Path) -> None:
    rebuild = torch._utils._rebuild_tensor_v2
    before = dict(vars(rebuild))
    body = (
        pickle.PROTO + b"\x02" + b"}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sbs."
    )
    pickletools.dis(body, io.StringIO())
    torch_file(tmp_path / "a.pth", body)
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "a.pth")
    assert vars(rebuild) == before


@pytest.mark.parametrize("pid", [("storage", Global("os", "system"), "0", "cpu", 1), ("module", "x"), "elsewhere", 7])
def test_a_persistent_id_that_is_no_storage_of_the_file_is_refused(tmp_path: Path, pid: object) -> None:
    stub = b"cother.library\nThing\n)\x81"
    body = pickle.PROTO + b"\x02}X\x01\x00\x00\x00a" + stub + b"sX\x01\x00\x00\x00x" + described(pid)[2:-1] + b"Qs."
    torch_file(tmp_path / "a.pth", body, {"0": b"\0" * 4})
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "a.pth")


def stubbed(body: bytes) -> bytes:
    """A dictionary with an object of another library, so that the file is read by the stub reader, and `body`."""
    return pickle.PROTO + b"\x02}X\x01\x00\x00\x00acother.library\nThing\n)\x81sX\x01\x00\x00\x00x" + body + b"s."


def storage(count: int, key: str = "0") -> bytes:
    pid = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00" + key.encode() + b"X\x03\x00\x00\x00cpu"
    return pid + b"\x8a\x08" + struct.pack("<q", count) + b"tQ"


def rebuilt(count: int, offset: int, size: int, stride: int, key: str = "0") -> bytes:
    numbers = [b"\x8a\x08" + struct.pack("<q", number) for number in (offset, size, stride)]
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(count, key) + numbers[0]
    return call + b"(" + numbers[1] + b"t(" + numbers[2] + b"t\x89}tR"


@pytest.mark.parametrize(
    "body",
    [
        rebuilt(10**12, 0, 10**12, 1),
        rebuilt(4, 0, 400, 1),
        rebuilt(4, 3, 4, 1),
        rebuilt(4, -1, 1, 1),
        rebuilt(4, 0, 4, -1),
        rebuilt(-4, 0, 4, 1),
        rebuilt(4, 0, 4, 1, "9"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path: Path, body: bytes) -> None:
    path = torch_file(tmp_path / "a.pth", stubbed(body), {"0": bytes(16)})
    with pytest.raises(WeightsError):
        read_checkpoint(path)


def test_a_tensor_inside_its_storage_is_read(tmp_path: Path) -> None:
    path = torch_file(tmp_path / "a.pth", stubbed(rebuilt(4, 1, 2, 2)), {"0": np.arange(4, dtype="<f4").tobytes()})
    tensor = read_checkpoint(path)["x"]
    assert torch.equal(tensor, torch.tensor([1.0, 3.0]))  # type: ignore[arg-type]


def doubled(levels: int) -> bytes:
    """A list that contains another twice, and so on: exponentially many values in a few bytes."""
    body = b"]q\x01"
    for level in range(levels):
        body += b"(" + (b"h" + bytes([level + 1])) * 2 + b"lq" + bytes([level + 2])
    return body


def test_lists_that_hold_each_other_are_refused_before_they_are_walked(tmp_path: Path) -> None:
    path = torch_file(tmp_path / "a.pth", stubbed(doubled(60)))
    with pytest.raises(WeightsError):
        read_checkpoint(path)


def test_a_byte_array_that_is_longer_than_the_file_takes_no_memory(tmp_path: Path) -> None:
    path = torch_file(tmp_path / "a.pth", stubbed(pickle.BYTEARRAY8 + struct.pack("<Q", 2**40)))
    with pytest.raises(WeightsError):
        read_checkpoint(path)


def test_a_compressed_storage_is_refused(tmp_path: Path) -> None:
    """A few bytes of an archive can unpack to terabytes."""
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", stubbed(rebuilt(2**20, 0, 2**20, 1)))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(2**22))
    with pytest.raises(WeightsError):
        read_checkpoint(path)


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": np.array([object()], dtype=object)}, protocol=2))
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "a.pkl")
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "a.npz")


class Buffer:
    """As stored by a logger."""

    def __init__(self) -> None:
        self.values = np.array([1.0, 2.0])


def test_what_trainers_keep_beside_the_tensors_does_not_stop_them_from_loading(tmp_path: Path) -> None:
    weights = torch.randn(3, 4, dtype=torch.float64).half()
    beside = {
        "args": argparse.Namespace(lr=0.1, path=Path("data")),
        "date": datetime.datetime(2026, 1, 1),
        "factory": functools.partial(torch.optim.AdamW, lr=1e-3),
        "device": torch.device("cpu"),
        "module": torch.nn.Linear(2, 2),
        "set": {1, 2},
        "counter": collections.Counter("aab"),
        "complex": 1j,
        "buffer": Buffer(),
    }
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.ckpt"
        torch.save({"state_dict": {"w": weights}, **beside}, path, _use_new_zipfile_serialization=not legacy)
        content = read_content(path)
        assert torch.equal(content.tensors["state_dict"]["w"], weights)  # type: ignore[index]
        assert "datetime.datetime" in content.stubs


def test_arrays_in_a_pickle_and_in_a_torch_file_become_tensors(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.asfortranarray(np.eye(3)), "c": np.float32(2)}
    for protocol in (2, 4, 5):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": arrays}, protocol=protocol))
        model = read_checkpoint(tmp_path / "a.pkl")["model"]
        assert isinstance(model, dict)
        assert torch.equal(model["a"], torch.arange(6.0).view(2, 3))
        assert torch.equal(model["b"], torch.eye(3, dtype=torch.float64))
    torch.save({"model": arrays}, tmp_path / "a.pth")
    model = read_checkpoint(tmp_path / "a.pth")["model"]
    assert isinstance(model, dict)
    assert torch.equal(model["a"], torch.arange(6.0).view(2, 3))


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="bare state dict"):
        read_checkpoint(tmp_path / "a.pth")


def test_stubs_inside_each_other_without_end_are_read_as_one(tmp_path: Path) -> None:
    deep = 50_000
    body = b"cother.library\nThing\n" * deep + b")" + b"R\x85" * (deep - 1) + b"R"
    path = torch_file(tmp_path / "a.pth", stubbed(body))
    content = read_content(path)
    assert isinstance(content.tensors["x"], InertObject)
    assert evidence_of(content.tensors, path).values == {}


@pytest.mark.parametrize("beside", ["SCB", "weight_scale"])
def test_a_view_that_repeats_one_number_is_not_copied_out(tmp_path: Path, beside: str) -> None:
    """One byte viewed as a matrix of a million times a million, with a scale that requires its copy."""
    huge = torch.zeros(1, dtype=torch.int8).expand(2**20, 2**20)
    torch.save({"fc.weight": huge, f"fc.{beside}": torch.ones(1)}, tmp_path / "a.pth")
    read = read_content(tmp_path / "a.pth")
    assert read.merged == ""
    assert read.tensors["fc.weight"].dtype == torch.int8  # type: ignore[attr-defined]


def test_an_adapter_whose_product_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    one = torch.ones(1)
    torch.save({"a.base_layer.weight": one.expand(2**20, 2**20), "a.lora_A.default.weight": one.expand(1, 2**20),
                "a.lora_B.default.weight": one.expand(2**20, 1)}, tmp_path / "a.pth")  # fmt: skip
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 1}')
    with pytest.raises(WeightsError, match="product"):
        read_content(tmp_path / "a.pth")
