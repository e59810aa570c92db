"""Image preprocessing, compared with the transforms of the paper and of timm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torchvision import transforms
from torchvision.transforms.v2 import functional as transform

from backbones.catalog.card import (
    BackboneCard,
    FactsCard,
    InputCard,
    PreprocessingSpec,
    RandomWeights,
    ResizeMode,
    identity,
    preprocessing_for,
)
from backbones.model.preprocessing import normalise, prepare, stack


def card(**values: object) -> BackboneCard:
    given = InputCard.model_validate({"size": 64, **values})
    return BackboneCard(
        name="a",
        title="A",
        architecture="test_resnet",
        weights=RandomWeights(),
        input=given,
        facts=FactsCard(method="m"),
    )


@pytest.fixture(scope="module", params=[(90, 160), (160, 90), (64, 64), (40, 30), (301, 299)], ids=str)
def image(request: pytest.FixtureRequest) -> Image.Image:
    height, width = request.param
    ramps = (
        np.linspace(0, 1, height)[:, None, None] * np.linspace(0.2, 1, width)[None, :, None] * np.array([1, 0.7, 0.3])
    )
    noise = np.random.default_rng(0).random((height, width, 3)) * 0.3
    return Image.fromarray(((ramps * 0.7 + noise) * 255).astype(np.uint8))


def reference_paper() -> transforms.Compose:
    resize = transforms.Resize(64, interpolation=transforms.InterpolationMode.BICUBIC)
    return transforms.Compose([resize, transforms.CenterCrop(64), transforms.PILToTensor()])


def reference_squash() -> transforms.Compose:
    resize = transforms.Resize([73, 73], interpolation=transforms.InterpolationMode.BILINEAR)
    return transforms.Compose([resize, transforms.CenterCrop(64), transforms.PILToTensor()])


@pytest.mark.parametrize(("name", "reference"), [("paper", reference_paper()), ("squash", reference_squash())])
def test_pixels_differ_from_the_papers_chain_by_one_grey_level_at_most(
    image: Image.Image, name: str, reference: transforms.Compose
) -> None:
    ours = prepare(image, preprocessing_for(card(), name))
    assert (ours.dtype, tuple(ours.shape)) == (torch.uint8, (3, 64, 64))
    difference = (ours.int() - reference(image).int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.3


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_own_is_timms_evaluation_transform(image: Image.Image, mode: str, interpolation: str) -> None:
    spec = preprocessing_for(card(crop=0.9, crop_mode=mode, interpolation=interpolation), "own")
    ours = normalise(prepare(image, spec)[None], spec)[0]
    timms = create_transform(
        (3, 64, 64), crop_pct=0.9, crop_mode=mode, interpolation=interpolation, mean=spec.mean, std=spec.std
    )(image)
    levels = (ours - timms).abs() * torch.tensor(spec.std).view(3, 1, 1) * 255
    assert levels.max() < 1.01


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("count", [1, 2])
def test_normalising_a_batch_is_normalising_floats_and_keeps_its_layout(
    count: int, layout: torch.memory_format
) -> None:
    spec = preprocessing_for(card(), "paper")
    batch = torch.randint(0, 256, (count, 3, 8, 9), dtype=torch.uint8).contiguous(memory_format=layout)
    expected = transforms.Normalize(spec.mean, spec.std)(batch / 255)
    found = normalise(batch, spec)
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.is_contiguous(memory_format=layout)


def test_layouts_differ_in_nothing_but_speed() -> None:
    spec = preprocessing_for(card(), "paper")
    batch = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    assert torch.equal(normalise(batch, spec), normalise(batch.contiguous(memory_format=torch.channels_last), spec))


def test_a_batch_has_the_images_in_order_with_channels_last_whatever_layout_they_have() -> None:
    spec = preprocessing_for(card(), "paper")
    prepared = prepare(Image.effect_noise((70, 80), 90), spec)
    other = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    batch = stack([prepared, other])
    assert torch.equal(batch, torch.stack([prepared, other]))
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "size",
    [
        (500, 375),
        (375, 500),
        (1024, 683),
        (64, 64),
        (65, 66),
        (141, 641),
        (64, 63),
        (63, 64),
        (68, 69),
        (40, 30),
        (1, 9),
    ],
    ids=str,
)
@pytest.mark.parametrize(("mode", "resize"), [("shorter", 64), ("shorter", 73), ("squash", 73)])
def test_what_is_cut_off_is_not_computed_and_what_stays_is_the_same(
    size: tuple[int, int], mode: ResizeMode, resize: int
) -> None:
    """Bit-exact: equal to resizing the whole image by torchvision, then cropping."""
    spec = PreprocessingSpec("own", resize, 64, mode, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    whole = transform.resize(
        torch.from_numpy(pixels).permute(2, 0, 1),
        [resize] if mode == "shorter" else [resize, resize],
        interpolation=transform.InterpolationMode.BICUBIC,
        antialias=True,
    )
    assert torch.equal(prepare(pixels, spec), transform.center_crop(whole, [64, 64]))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "YCbCr"])
def test_images_of_every_mode_become_three_channels(mode: str) -> None:
    plain = Image.new("RGB", (70, 80), (200, 100, 50))
    image = Image.new("I;16", (70, 80), 7) if mode == "I;16" else plain.convert(mode)
    assert prepare(image, preprocessing_for(card(), "paper")).shape == (3, 64, 64)


def test_dinov2_is_measured_at_its_input_size_and_its_own_transform_uses_its_own() -> None:
    dinov2 = card(size=224, own_size=518, crop=1.0)
    assert (preprocessing_for(dinov2, "paper").crop, preprocessing_for(dinov2, "own").crop) == (224, 518)


def test_squash_is_the_published_257_pixels() -> None:
    assert preprocessing_for(card(size=224), "squash").resize == 257


def test_an_unknown_preprocessing_is_an_error_that_lists_them() -> None:
    with pytest.raises(ValueError, match="'papper': expected one of paper, own, squash"):
        preprocessing_for(card(), "papper")


# identity


def key(spec: PreprocessingSpec, backbone: BackboneCard, digest: str = "d") -> dict[str, object]:
    return identity(backbone, digest, spec)


def test_names_titles_and_facts_do_not_change_an_identity() -> None:
    one = card()
    other = one.model_copy(update={"name": "b", "title": "B", "facts": FactsCard(method="other", epochs=3)})
    spec = preprocessing_for(one, "paper")
    assert key(spec, one) == key(spec, other)


def test_everything_that_changes_a_feature_changes_the_identity() -> None:
    one = card()
    spec = preprocessing_for(one, "paper")
    others = [
        key(preprocessing_for(one, "squash"), one),
        key(spec, one, "other digest"),
        key(spec, one.model_copy(update={"pooling": "avg"})),
        key(spec, one.model_copy(update={"padding": "same"})),
        key(spec, one.model_copy(update={"architecture": "resnet18"})),
        key(spec, one.model_copy(update={"architecture_arguments": {"base_width": 4}})),
        key(preprocessing_for(card(mean=(0, 0, 0)), "paper"), one),
    ]
    seen = [key(spec, one), *others]
    assert all(a != b for i, a in enumerate(seen) for b in seen[i + 1 :])


def test_preprocessings_that_do_the_same_share_an_identity() -> None:
    same = card(crop=1.0, interpolation="bicubic")
    assert key(preprocessing_for(same, "paper"), same) == key(preprocessing_for(same, "own"), same)
