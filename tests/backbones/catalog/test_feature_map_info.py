"""Feature maps of every kind of architecture, described before anything is queued."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.layer_info import FeatureMapInfo, FeatureMapQuery, anatomies
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.architecture import make
from backbones.model.feature_maps import FeatureMaps, NoMaps, dissect
from backbones.model.loading import TrainableBackbone

CARDS = BackboneCatalog.load().cards


def specimen(architecture: str, size: int = 64, **arguments: int | bool) -> FeatureMapQuery:
    return FeatureMapQuery(architecture=architecture, arguments=arguments, size=size)


@pytest.mark.parametrize(
    ("architecture", "size", "arguments", "strides", "any_size", "dilates"),
    [
        ("test_resnet", 64, {}, [4, 8, 16, 32], True, True),
        ("test_vit", 64, {"patch_size": 8, "img_size": 64}, [8, 8, 8, 8], True, False),
        ("test_convnext", 64, {}, [4, 8, 16, 32], True, True),
        ("swin_tiny_patch4_window7_224", 224, {}, [4, 8, 16, 32], True, False),
        ("hiera_tiny_224", 224, {}, [4, 8, 16, 32], False, False),
        ("vit_small_patch14_dinov2", 224, {}, [14, 14, 14, 14], True, False),
    ],
)
def test_what_architectures_can_do(
    architecture: str, size: int, arguments: dict[str, int], strides: list[int], any_size: bool, dilates: bool
) -> None:
    found = dissect(specimen(architecture, size, **arguments))
    assert [one.stride for one in found.maps] == strides
    assert found.plain == (len(set(strides)) == 1)
    assert (found.any_size, found.dilates, found.problem) == (any_size, dilates, None)


def test_an_architecture_that_cannot_be_made_says_so() -> None:
    assert "cannot be made" in (dissect(specimen("test_resnet", no_such_argument=1)).problem or "")


def test_answers_come_from_a_process_once_and_from_the_disk_afterwards(tmp_path: Path) -> None:
    cards = [CARDS["demo/simclr"], CARDS["demo/rotation"]]
    found = anatomies(cards, tmp_path)
    assert found["demo/simclr"] == found["demo/rotation"] == dissect(FeatureMapQuery.of(cards[0]))
    (kept,) = tmp_path.iterdir()
    kept.write_text(FeatureMapInfo(problem="read from the disk").model_dump_json())
    assert anatomies(cards, tmp_path)["demo/simclr"].problem == "read from the disk"


def test_maps_are_as_large_as_their_strides_say() -> None:
    maps = FeatureMaps(make("test_resnet"), 64)
    found = maps(torch.zeros(2, 3, 96, 160))
    assert [tuple(one.shape) for one in found] == [
        (2, channels, 96 // stride, 160 // stride) for channels, stride in zip(maps.channels, maps.strides, strict=True)
    ]


def test_looking_leaves_the_model_in_its_mode_and_its_statistics_alone() -> None:
    model = make("test_resnet").train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    FeatureMaps(model, 64)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(NoMaps, match="no feature maps"):
        FeatureMaps(torch.nn.Linear(3, 3), 64)


def test_fresh_models_are_equal_trainable_and_apart(tmp_path: Path) -> None:
    backbone = TrainableBackbone.verified(CARDS["demo/simclr"], WeightsFolder(tmp_path))
    one, other = backbone.fresh(), backbone.fresh()
    pairs = list(zip(one.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) and a.requires_grad and a is not b for a, b in pairs)
    assert one.training


def test_dilated_model_has_the_same_weights_and_finer_maps(tmp_path: Path) -> None:
    backbone = TrainableBackbone.verified(CARDS["demo/simclr"], WeightsFolder(tmp_path))
    dilated = backbone.fresh(output_stride=8)
    assert FeatureMaps(dilated, 64).strides[-1] == 8
    plain = backbone.fresh().state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in dilated.state_dict().items())
