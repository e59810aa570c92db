"""Creation of architectures: padding, input sizes, seeds, freezing."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights
from backbones.io.errors import WeightsError
from backbones.model.architecture import create, freeze, make, pad


def card(architecture: str, seed: int = 0, **arguments: str | int | float | bool) -> BackboneCard:
    return BackboneCard(
        name="a",
        title="A",
        architecture=architecture,
        architecture_arguments=arguments,
        weights=RandomWeights(seed=seed),
        facts=FactsCard(method="none"),
    )


def strided(model: nn.Module, kind: type) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, kind) and max(m.stride) > 1 and max(m.kernel_size) > 1]  # type: ignore[arg-type]


def test_same_padding_is_tensorflows_on_every_strided_layer() -> None:
    torch.manual_seed(0)
    stem, last = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.Conv2d(4, 4, 3, 1, 1)
    model = nn.Sequential(stem, nn.MaxPool2d(3, 2, 1), last)
    image = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        as_torchvision = model(image)
        same = pad(model, "same")(image)
        x = functional.conv2d(functional.pad(image, (2, 3, 2, 3)), stem.weight, stride=2)
        x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
        expected = functional.conv2d(x, last.weight, last.bias, padding=1)
    assert torch.allclose(same, expected)
    assert same.shape == as_torchvision.shape
    assert not torch.allclose(same, as_torchvision)


def test_same_padding_reaches_all_of_a_resnet_and_keeps_its_weights() -> None:
    model = make("resnet50", base_width=4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    convolutions = strided(model, nn.Conv2d)
    pad(model, "same")
    assert len(convolutions) == len(strided(model, nn.Conv2d)) == 4
    assert {type(layer).__name__ for layer in strided(model, nn.Conv2d)} == {"Conv2dSame"}
    assert {type(layer).__name__ for layer in strided(model, nn.MaxPool2d)} == {"MaxPool2dSame"}
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_same_padding_of_the_pool_alone_leaves_convolutions_as_they_are() -> None:
    model = pad(make("resnet18"), "same-pool")
    assert {type(layer).__name__ for layer in strided(model, nn.Conv2d)} == {"Conv2d"}
    assert {type(layer).__name__ for layer in strided(model, nn.MaxPool2d)} == {"MaxPool2dSame"}


def test_random_weights_depend_on_the_seed_alone_and_leave_the_callers_generator_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = create(card("test_resnet"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = create(card("test_resnet")), create(card("test_resnet", seed=1))
    key = "layer1.0.conv1.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_a_transformer_takes_any_size_that_its_patches_divide_and_its_own_size_unchanged() -> None:
    model = freeze(create(card("test_vit")))
    fixed = freeze(make("test_vit"))
    fixed.load_state_dict(model.state_dict())
    image = torch.rand(1, 3, 160, 160)
    assert torch.equal(model(image), fixed(image))
    assert model(torch.rand(1, 3, 96, 96)).shape == (1, 64)


def test_frozen_means_evaluation_mode_and_no_gradients() -> None:
    model = freeze(create(card("test_resnet")))
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("wrong", [card("resnet5000"), card("resnet18", colour="red")])
def test_an_architecture_that_timm_cannot_make_is_one_sentence(wrong: BackboneCard) -> None:
    with pytest.raises(WeightsError, match=rf"a: timm cannot make {wrong.architecture}\("):
        create(wrong)
