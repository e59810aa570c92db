"""Every published checkpoint format loads: files with exactly those containers, prefixes and extra keys.

The tensors are random; names, nesting, pickling and dropped heads are those of the published files.
"""

from __future__ import annotations

import argparse
import io
import pickle
import sys
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backbones.catalog.card import BackboneCard, KeyMapping
from backbones.catalog.catalog import BackboneCatalog
from backbones.checkpoints.haiku_pickle import read_haiku_pickle
from backbones.checkpoints.key_mapping import KeyMismatch
from backbones.io.errors import WeightsError
from backbones.model.encoder import pool
from backbones.model.loading import load_model
from tests.faults.scale import full

Tensors = dict[str, Tensor]
Narrow = Callable[[BackboneCard], BackboneCard]


def under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}{key}": value for key, value in tensors.items()}


def linear(name: str) -> Tensors:
    return {f"{name}.weight": torch.ones(4, 4), f"{name}.bias": torch.ones(4)}


def without_counters(tensors: Mapping[str, Tensor]) -> Tensors:
    return {key: value for key, value in tensors.items() if "num_batches" not in key}


def moco(tensors: Tensors, others: Tensors) -> object:
    queries = {
        **under("module.encoder_q.", tensors),
        **linear("module.encoder_q.fc.0"),
        **linear("module.encoder_q.fc.2"),
    }
    keys = {**under("module.encoder_k.", others), **linear("module.encoder_k.fc.0")}
    queue = {"module.queue": torch.ones(4, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    return {"epoch": 800, "arch": "resnet50", "state_dict": {**queries, **keys, **queue}, "optimizer": {"state": {}}}


def swav(tensors: Tensors, others: Tensors) -> object:
    heads = {**linear("module.projection_head.0"), **linear("module.projection_head.3")}
    return {**under("module.", tensors), **heads, "module.prototypes.weight": torch.ones(3, 4)}


def deepcluster(tensors: Tensors, others: Tensors) -> object:
    return {
        **under("module.", tensors),
        **linear("module.projection_head.0"),
        "module.prototypes.prototypes0.weight": torch.ones(3, 4),
    }


def pycontrast(tensors: Tensors, others: Tensors) -> object:
    heads = {**linear("module.head.0"), **linear("module.head_jig.fc1"), **linear("module.encoder.fc")}
    jigsaw = linear("module.jigsaw.fc")
    return {
        "opt": argparse.Namespace(learning_rate=np.float64(0.03), epochs=800, jigsaw=True),
        "model": {**under("module.encoder.", tensors), **heads, **jigsaw},
        "contrast": {"memory_1": torch.ones(3, 4)},
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 800,
    }


def moco_v3(tensors: Tensors, others: Tensors) -> object:
    base = {**under("module.base_encoder.", tensors), **linear("module.base_encoder.fc.0")}
    momentum = {**under("module.momentum_encoder.", others), **linear("module.predictor.0")}
    return {"epoch": 1000, "state_dict": {**base, **momentum}, "args": argparse.Namespace(arch="resnet50")}


def plain(tensors: Tensors, others: Tensors) -> object:
    return without_counters(tensors)


def torchvision(tensors: Tensors, others: Tensors) -> object:
    return {**without_counters(tensors), **linear("fc")}


FORMATS: dict[str, Callable[[Tensors, Tensors], object]] = {
    "paper/supervised": torchvision,
    "paper/moco-v1": moco,
    "paper/moco-v2": moco,
    "paper/pcl-v1": moco,
    "paper/pcl-v2": moco,
    "paper/swav": swav,
    "paper/deepcluster-v2": deepcluster,
    "paper/sela-v2": deepcluster,
    "paper/infomin": pycontrast,
    "paper/insdis": pycontrast,
    "paper/pirl": pycontrast,
    "ssl/barlow-twins": plain,
    "ssl/vicreg": plain,
    "ssl/dino-resnet50": plain,
    "ssl/moco-v3": moco_v3,
}


def assert_same(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Equal tensors (except counters) and equal features, frozen in evaluation mode."""
    loaded = model.state_dict()
    for key, value in without_counters(tensors).items():
        assert torch.equal(loaded[key], value), key
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


ONE_OF_EACH = {save: name for name, save in FORMATS.items()}.values()
"""A backbone for each format: saved in torch's old container as well, and all of them in `make faults`."""
CASES = [(name, True) for name in FORMATS] + [(name, False) for name in (FORMATS if full() else ONE_OF_EACH)]


@pytest.mark.parametrize(("name", "zipped"), CASES, ids=lambda value: {True: "zip", False: "legacy"}.get(value, value))
def test_a_published_torch_checkpoint_loads_whole_and_nothing_else(
    tmp_path: Path,
    catalog: BackboneCatalog,
    narrow_card: Narrow,
    resnet_tensors: Tensors,
    other_tensors: Tensors,
    name: str,
    zipped: bool,
) -> None:
    path = tmp_path / "published.pth.tar"
    torch.save(FORMATS[name](resnet_tensors, other_tensors), path, _use_new_zipfile_serialization=zipped)
    assert_same(load_model(narrow_card(catalog.get(name)), path), resnet_tensors)


def test_every_backbone_of_the_paper_has_a_format_that_is_tested(catalog: BackboneCatalog) -> None:
    others = {"paper/byol", "paper/simclr-v1", "paper/simclr-v2"}
    assert {name for name in catalog.cards if name.startswith("paper/")} <= FORMATS.keys() | others


# BYOL: a pickle of haiku objects, written through modules that exist only during writing.


class _ByolExperimentState(NamedTuple):
    online_params: Any
    target_params: Any
    online_state: Any
    target_state: Any
    opt_state: Any


class FlatMapping:
    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return type(self), (self.content,)


def _create_namedtuple(name: str, fields: tuple[str, ...], module: str) -> type:
    raise NotImplementedError


class DillPickler(pickle._Pickler):
    """As dill does it: NamedTuple classes are written as a call that recreates them."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and issubclass(obj, tuple) and hasattr(obj, "_fields"):
            return _create_namedtuple, (obj.__name__, obj._fields, "byol.byol_experiment")
        return NotImplemented


@pytest.fixture
def haiku_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """`haiku._src.data_structures.FlatMapping` and `dill._dill._create_namedtuple`, as far as pickle reads them."""
    for module, item in (("haiku._src.data_structures", FlatMapping), ("dill._dill", _create_namedtuple)):
        fake = types.ModuleType(module)
        setattr(fake, item.__name__, item)
        monkeypatch.setattr(item, "__module__", module)
        parts = module.split(".")
        for end in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(parts[0]))
        monkeypatch.setitem(sys.modules, module, fake)


def haiku_name(layer: str) -> str:
    """`layer1.0.conv2` as haiku's ResNet calls it."""
    if layer in ("conv1", "bn1"):
        return f"res_net50/~/initial_{'conv' if layer == 'conv1' else 'batchnorm'}"
    group, block, *rest = layer.split(".")
    last = {"downsample.0": "shortcut_conv", "downsample.1": "shortcut_batchnorm"}.get(".".join(rest))
    if last is None:
        kind, number = ("conv", rest[0][4:]) if rest[0].startswith("conv") else ("batchnorm", rest[0][2:])
        last = f"{kind}_{int(number) - 1}"
    return f"res_net50/~/block_group_{int(group[5:]) - 1}/~/block_{block}/~/{last}"


def haiku_network(tensors: Mapping[str, Tensor]) -> tuple[FlatMapping, FlatMapping]:
    """Parameters and state as stored by haiku, in its alphabetical order, with BYOL's heads next to the encoder."""
    parameters: dict[str, dict[str, Any]] = {}
    state: dict[str, dict[str, Any]] = {}
    for key, value in without_counters(tensors).items():
        layer, part = key.rsplit(".", 1)
        name, array = haiku_name(layer), value.numpy()
        if value.ndim == 4:
            parameters[name] = {"w": array.transpose(2, 3, 1, 0)}
        elif part in ("weight", "bias"):
            parameters.setdefault(name, {})["scale" if part == "weight" else "offset"] = array.reshape(1, 1, 1, -1)
        else:
            ema = f"{name}/~/{'mean' if part == 'running_mean' else 'var'}_ema"
            counter = np.array(7, dtype=np.int32)
            state[ema] = {
                "counter": counter,
                "hidden": -array.reshape(1, 1, 1, -1),
                "average": array.reshape(1, 1, 1, -1),
            }
    for head in ("projector/linear", "predictor/linear_1", "classifier"):
        parameters[head] = {"w": np.ones((4, 4), dtype=np.float32), "b": np.ones(4, dtype=np.float32)}
    parameters["projector/batch_norm"] = {"scale": np.ones((1, 4)), "offset": np.ones((1, 4))}
    return _mapping(parameters), _mapping(state)


def _mapping(content: Mapping[str, Mapping[str, Any]]) -> FlatMapping:
    return FlatMapping({name: FlatMapping(content[name]) for name in sorted(content)})


def byol_pickle(tensors: Tensors, others: Tensors) -> bytes:
    online, target = haiku_network(tensors), haiku_network(others)
    state = _ByolExperimentState(online[0], target[0], online[1], target[1], opt_state=(np.zeros(3),))
    file = io.BytesIO()
    DillPickler(file, protocol=2).dump({"experiment_state": state, "step": 300_000, "rng": np.array([0, 1], np.uint32)})
    return file.getvalue()


@pytest.mark.usefixtures("haiku_modules")
@pytest.mark.parametrize("numpy_module", [b"numpy._core.multiarray", b"numpy.core.multiarray"], ids=["new", "old"])
def test_byols_haiku_pickle_loads_its_online_network_without_haiku(
    tmp_path: Path,
    catalog: BackboneCatalog,
    narrow_card: Narrow,
    resnet_tensors: Tensors,
    other_tensors: Tensors,
    numpy_module: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "pretrain_res50x1.pkl"
    content = byol_pickle(resnet_tensors, other_tensors)
    path.write_bytes(content.replace(b"numpy._core.multiarray", numpy_module))
    for name in ("haiku", "haiku._src", "haiku._src.data_structures", "dill", "dill._dill"):
        monkeypatch.delitem(sys.modules, name)
    assert b"haiku._src.data_structures\nFlatMapping" in content
    assert b"dill._dill\n_create_namedtuple" in content
    assert_same(load_model(narrow_card(catalog.get("paper/byol")), path), resnet_tensors)


@pytest.mark.usefixtures("haiku_modules")
def test_byol_as_it_was_trained_pads_otherwise_and_gives_other_features(
    tmp_path: Path, catalog: BackboneCatalog, narrow_card: Narrow, resnet_tensors: Tensors, other_tensors: Tensors
) -> None:
    path = tmp_path / "byol.pkl"
    path.write_bytes(byol_pickle(resnet_tensors, other_tensors))
    image = torch.rand(1, 3, 64, 64)
    features = [
        pool(model := load_model(narrow_card(catalog.get(name)), path), model.forward_features(image), "avg")  # type: ignore[operator]
        for name in ("paper/byol", "ssl/byol-same-padding")
    ]
    assert features[0].shape == features[1].shape
    assert (features[0] - features[1]).norm() / features[0].norm() > 1e-5


# SimCLR: a TensorFlow checkpoint, and its two PyTorch conversions.


@pytest.mark.parametrize("name", ["paper/simclr-v1", "paper/simclr-v2"])
def test_simclrs_tensorflow_checkpoint_loads_without_tensorflow(
    tmp_path: Path,
    catalog: BackboneCatalog,
    narrow_card: Narrow,
    resnet_tensors: Tensors,
    simclr_variables: dict[str, Any],
    write_bundle: Callable[..., Path],
    name: str,
) -> None:
    index = write_bundle(tmp_path, simclr_variables)
    assert_same(load_model(narrow_card(catalog.get(name)), index), resnet_tensors)


def test_simclrs_published_zip_loads_as_it_is(
    tmp_path: Path,
    catalog: BackboneCatalog,
    narrow_card: Narrow,
    resnet_tensors: Tensors,
    simclr_variables: dict[str, Any],
    write_bundle: Callable[..., Path],
) -> None:
    index = write_bundle(tmp_path / "ResNet50_1x", simclr_variables)
    with zipfile.ZipFile(tmp_path / "ResNet50_1x.zip", "w") as archive:
        for path in index.parent.iterdir():
            archive.write(path, f"ResNet50_1x/{path.name}")
        archive.writestr("ResNet50_1x/checkpoint", 'model_checkpoint_path: "model.ckpt-7"')
    assert_same(load_model(narrow_card(catalog.get("paper/simclr-v1")), tmp_path / "ResNet50_1x.zip"), resnet_tensors)


def separius_name(key: str) -> str:
    """torchvision's name as in Separius/SimCLRv2-Pytorch (the 265 pairs of ssl-transfer's simclr_keys.pkl)."""
    layer, part = key.rsplit(".", 1)
    if layer in ("conv1", "bn1"):
        return f"net.0.{'0' if layer == 'conv1' else '1.0'}.{part}"
    stage, block, *rest = layer.split(".")
    start = f"net.{stage[5:]}.blocks.{block}"
    if rest[0] == "downsample":
        return f"{start}.projection.{'shortcut' if rest[1] == '0' else 'bn.0'}.{part}"
    number = int(rest[0][-1])
    return f"{start}.net.{2 * number - 2}.{part}" if "conv" in rest[0] else f"{start}.net.{2 * number - 1}.0.{part}"


def conversion_of(card: BackboneCard, **keys: object) -> BackboneCard:
    return card.model_copy(update={"keys": KeyMapping.model_validate(keys)})


def test_the_pytorch_conversion_of_simclr_v2_loads(
    tmp_path: Path, catalog: BackboneCatalog, narrow_card: Narrow, resnet_tensors: Tensors
) -> None:
    encoder = {separius_name(key): value for key, value in without_counters(resnet_tensors).items()}
    torch.save({"resnet": {**encoder, **linear("fc")}, "head": linear("layers.0")}, tmp_path / "r50_1x_sk0.pth")
    card = conversion_of(
        catalog.get("paper/simclr-v2"), container="resnet", conversion="simclr-separius", drop=("fc.",)
    )
    assert_same(load_model(narrow_card(card), tmp_path / "r50_1x_sk0.pth"), resnet_tensors)


def test_the_pytorch_conversion_of_simclr_v1_loads(
    tmp_path: Path, catalog: BackboneCatalog, narrow_card: Narrow, resnet_tensors: Tensors
) -> None:
    torch.save({"state_dict": {**resnet_tensors, **linear("fc")}}, tmp_path / "resnet50-1x.pth")
    card = conversion_of(catalog.get("paper/simclr-v1"), container="state_dict", drop=("fc.",))
    assert_same(load_model(narrow_card(card), tmp_path / "resnet50-1x.pth"), resnet_tensors)


def test_a_lightly_checkpoint_with_numbered_children_loads(
    tmp_path: Path, catalog: BackboneCatalog, narrow_card: Narrow, resnet_tensors: Tensors
) -> None:
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    tensors = {f"backbone.{numbers[key.split('.')[0]]}.{key.split('.', 1)[1]}": v for key, v in resnet_tensors.items()}
    torch.save({"state_dict": {**tensors, **linear("projection_head.0")}, "epoch": 3}, tmp_path / "lightly.ckpt")
    card = conversion_of(
        catalog.get("ssl/vicreg"), container="state_dict", prefix="backbone.", conversion="lightly-sequential"
    )
    assert_same(load_model(narrow_card(card), tmp_path / "lightly.ckpt"), resnet_tensors)


def test_a_checkpoint_of_selective_kernels_is_refused_with_the_reason(
    tmp_path: Path,
    catalog: BackboneCatalog,
    simclr_variables: dict[str, Any],
    write_bundle: Callable[..., Path],
) -> None:
    variables = {**simclr_variables, "base_model/conv2d_53/kernel": np.ones((1, 1, 2, 2), dtype=np.float32)}
    with pytest.raises(WeightsError, match="paper/simclr-v2: the checkpoint has 54 convolutions"):
        load_model(catalog.get("paper/simclr-v2"), write_bundle(tmp_path, variables))


# Files that do not match are never evaluated.


def test_a_wrong_prefix_is_an_error_that_says_which_would_fit(
    tmp_path: Path, catalog: BackboneCatalog, narrow_card: Narrow, resnet_tensors: Tensors, other_tensors: Tensors
) -> None:
    torch.save(moco(resnet_tensors, {}), tmp_path / "moco.pth")
    card = conversion_of(catalog.get("ssl/vicreg"), drop=("fc.",))
    with pytest.raises(KeyMismatch) as caught:
        load_model(narrow_card(card), tmp_path / "moco.pth")
    message = str(caught.value)
    assert "container='state_dict' prefix='module.encoder_q.' would fit 318 of 318" in message
    assert "265 missing: conv1.weight" in message
    assert str(tmp_path / "moco.pth") in message


def break_one(change: Callable[[Tensors], object]) -> Callable[[Tensors], Tensors]:
    def broken(tensors: Tensors) -> Tensors:
        copy = dict(tensors)
        change(copy)
        return copy

    return broken


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (break_one(lambda t: t.pop("layer3.2.bn2.running_var")), "1 missing: layer3.2.bn2.running_var"),
        (break_one(lambda t: t.update(linear("head"))), "2 not expected: head.weight, head.bias"),
        (
            break_one(lambda t: t.update({"conv1.weight": torch.ones(64, 3, 3, 3)})),
            r"1 of another shape: conv1.weight is \(64, 3, 3, 3\) and should be \(64, 3, 7, 7\)",
        ),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_a_single_tensor_that_does_not_fit_is_an_error(
    tmp_path: Path,
    catalog: BackboneCatalog,
    narrow_card: Narrow,
    resnet_tensors: Tensors,
    change: Callable[[Tensors], Tensors],
    words: str,
) -> None:
    torch.save(change(resnet_tensors), tmp_path / "x.pth")
    with pytest.raises(KeyMismatch, match=words):
        load_model(narrow_card(catalog.get("ssl/vicreg")), tmp_path / "x.pth")


def test_an_absent_container_is_an_error_that_lists_those_there_are(
    tmp_path: Path, catalog: BackboneCatalog, narrow_card: Narrow, resnet_tensors: Tensors
) -> None:
    torch.save({"model": resnet_tensors, "epoch": 1}, tmp_path / "x.pth")
    with pytest.raises(KeyMismatch, match=r"paper/moco-v2: .*no container 'state_dict'; available dictionaries: model"):
        load_model(narrow_card(catalog.get("paper/moco-v2")), tmp_path / "x.pth")


@pytest.mark.slow
def test_a_full_resnet_50_gives_the_very_features_of_torchvision(tmp_path: Path, catalog: BackboneCatalog) -> None:
    from torchvision.models import resnet50  # noqa: PLC0415 - only here

    reference = resnet50(weights=None).eval()
    torch.save(moco(dict(reference.state_dict()), {}), tmp_path / "moco.pth")
    model = load_model(catalog.get("paper/moco-v2"), tmp_path / "moco.pth")
    image = torch.rand(1, 3, 96, 96)
    reference.fc = nn.Identity()
    with torch.inference_mode():
        features = pool(model, model.forward_features(image), "avg")  # type: ignore[operator]
        assert torch.equal(features, reference(image))


# Hostile pickles.


class Exploit:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        import os  # noqa: PLC0415 - as an exploit does

        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A folder that a hostile file would create; asserts afterwards that it did not."""
    path = tmp_path / "was-run"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_runs_nothing_and_is_refused_by_name(tmp_path: Path, mark: Path, protocol: int) -> None:
    (tmp_path / "byol.pkl").write_bytes(pickle.dumps({"experiment_state": Exploit(mark)}, protocol=protocol))
    with pytest.raises(WeightsError, match=r"uses the name posix\.mkdir: refused, and nothing was run"):
        read_haiku_pickle(tmp_path / "byol.pkl")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_hostile_torch_file_runs_nothing_and_is_refused_by_name(
    tmp_path: Path, mark: Path, catalog: BackboneCatalog, zipped: bool
) -> None:
    torch.save({"state_dict": Exploit(mark)}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        WeightsError, match=r"paper/moco-v2: .*refers to posix\.mkdir, which is code and not data: refused"
    ):
        load_model(catalog.get("paper/moco-v2"), tmp_path / "x.pth")
