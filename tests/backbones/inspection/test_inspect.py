"""Inspection of checkpoints: layouts are detected without options, and wrong files are identified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights
from backbones.checkpoints.key_mapping import check, shapes
from backbones.inspection.inspect_main import propose
from backbones.inspection.proposal import InspectionHints
from backbones.io.errors import WeightsError
from backbones.model.architecture import make
from backbones.model.loading import expected_shapes, load_model, read_tensors
from tests.backbones.layouts import LAYOUTS, lightly_names, mlp, spread, tensors_of, under


def saved(folder: Path, content: object, name: str = "checkpoint.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognised_without_flags_and_every_tensor_matches(tmp_path: Path, layout: str) -> None:
    write, architecture, container, prefix = LAYOUTS[layout]
    path = saved(tmp_path, write())
    found = propose(path)
    chosen = found.chosen
    assert chosen is not None, found
    assert (chosen.architecture, chosen.keys.container, chosen.keys.prefix) == (architecture, container, prefix)
    assert (chosen.share, chosen.exact) == (1.0, True)
    with torch.device("meta"):
        model = make(chosen.architecture, **chosen.arguments)
    tensors, _ = read_tensors(chosen.keys, path)
    assert check(expected_shapes(model), shapes(tensors)).exact


def test_what_is_dropped_is_named_with_its_size(tmp_path: Path) -> None:
    chosen = propose(saved(tmp_path, LAYOUTS["MAE"][0]())).chosen
    assert chosen is not None
    assert [item.prefix for item in chosen.dropped] == [
        "decoder_blocks.", "decoder_embed.", "decoder_norm.", "decoder_pos_embed", "decoder_pred.", "mask_token",
    ]  # fmt: skip
    assert next(item.parameters for item in chosen.dropped if item.prefix == "mask_token") == 512


def test_the_choice_between_two_copies_of_a_network_is_explained_and_the_other_one_offered(tmp_path: Path) -> None:
    found = propose(saved(tmp_path, LAYOUTS["MoCo"][0]()))
    assert found.reason == "MoCo is evaluated by its query encoder"
    assert [other.keys.prefix for other in found.others] == ["module.encoder_k."]
    assert found.method == "moco"
    assert found.progress == {"epoch": 200}


def test_two_networks_that_no_convention_tells_apart_are_asked_about(tmp_path: Path) -> None:
    net = tensors_of("resnet18")
    path = saved(tmp_path, {**under("first.", net), **under("second.", tensors_of("resnet18", 0.25))})
    found = propose(path)
    assert found.chosen is None
    assert found.question is not None
    assert "--prefix 'first.'" in found.question
    assert "--prefix 'second.'" in found.question
    chosen = propose(path, InspectionHints(prefix="second.")).chosen
    assert chosen is not None
    assert chosen.keys.prefix == "second."


def test_a_safetensors_file_is_recognised(tmp_path: Path) -> None:
    net = {key: value.clone() for key, value in make("test_resnet").state_dict().items()}
    save_file(net, tmp_path / "model.safetensors")
    chosen = propose(tmp_path / "model.safetensors").chosen
    assert chosen is not None
    assert chosen.architecture == "test_resnet"


def test_a_proposal_that_is_taken_loads(tmp_path: Path) -> None:
    net = make("resnet18")
    tensors = under("backbone.", dict(lightly_names(dict(net.state_dict()))))
    path = saved(tmp_path, {"state_dict": {**tensors, **mlp("projection_head.layers", 512, 512)}})
    chosen = propose(path).chosen
    assert chosen is not None
    card = BackboneCard(
        name="own/net", title="net", architecture=chosen.architecture, weights=FileWeights(path=str(path)),
        keys=chosen.keys, facts=FactsCard(method="own"),
    )  # fmt: skip
    loaded = load_model(card, path)
    assert torch.equal(loaded.state_dict()["layer4.1.bn2.bias"], net.state_dict()["layer4.1.bn2.bias"])


def test_a_wider_group_of_a_resnet_is_told_by_its_arguments(tmp_path: Path) -> None:
    chosen = propose(saved(tmp_path, tensors_of("resnet50", base_width=4))).chosen
    assert chosen is not None
    assert (chosen.architecture, chosen.arguments) == ("resnet50", {"base_width": 4})


def test_an_architecture_that_is_only_the_beginning_of_the_network_is_not_taken_for_it(tmp_path: Path) -> None:
    found = propose(saved(tmp_path, tensors_of("resnet101")), InspectionHints(architecture="resnet50"))
    assert found.chosen is None
    assert found.problem is not None
    assert "more of the network than this architecture: layer3.10." in found.problem


class Net(nn.Module):
    pass


def whole_module(folder: Path) -> Path:
    return saved(folder, Net())


def truncated(folder: Path) -> Path:
    path = saved(folder, LAYOUTS["SwAV"][0]())
    path.write_bytes(path.read_bytes()[:-200])
    return path


def web_page(folder: Path) -> Path:
    (folder / "model.pth").write_text("<!DOCTYPE html><html><title>Sign in</title></html>")
    return folder / "model.pth"


def lfs_pointer(folder: Path) -> Path:
    (folder / "model.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 94\n")
    return folder / "model.pth"


def empty(folder: Path) -> Path:
    (folder / "model.pth").touch()
    return folder / "model.pth"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (whole_module, "which is code and not data: refused, and nothing was run"),
        (truncated, "is not a whole torch checkpoint"),
        (web_page, "is a web page, not a checkpoint"),
        (lfs_pointer, "is a Git LFS pointer"),
        (empty, "is empty"),
    ],
)
def test_a_file_that_is_no_checkpoint_says_what_it_is_instead(
    tmp_path: Path, write: Callable[[Path], Path], words: str
) -> None:
    with pytest.raises(WeightsError, match=words):
        propose(write(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"fc.weight": spread((10, 512)), "fc.bias": spread((10,))}, "a head without its network"),
        ({"bert.embeddings.word_embeddings.weight": spread((30, 8))}, "a language model"),
        ({"epoch": 3, "optimizer": {"param_groups": []}}, "no tensors"),
        (dict(list(tensors_of("resnet18").items())[:90]), "is the file incomplete?"),
        ({**tensors_of("resnet18"), "conv1.weight": spread((64, 3, 3, 3))}, "variant for CIFAR"),
        ({f"blocks.0.attn.lora_{ab}.weight": spread((8, 8)) for ab in "AB"}, "an adapter"),
    ],
)
def test_a_checkpoint_of_something_else_says_why_not(tmp_path: Path, content: object, words: str) -> None:
    found = propose(saved(tmp_path, content))
    assert found.chosen is None
    assert found.problem is not None
    assert words in found.problem


def test_one_network_under_two_names_is_one(tmp_path: Path) -> None:
    net = tensors_of("resnet18")
    torch.save({**under("first.", net), **under("second.", net)}, tmp_path / "two.pth")
    assert propose(tmp_path / "two.pth").chosen is not None
    copies = {**under("net.", net), **under("online_encoder.net.", net)}
    torch.save({**copies, **under("target_encoder.net.", tensors_of("resnet18", 0.25))}, tmp_path / "byol.pth")
    chosen = propose(tmp_path / "byol.pth").chosen
    assert chosen is not None
    assert chosen.keys.prefix == "online_encoder.net."
