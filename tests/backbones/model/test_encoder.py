"""Images in, features out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from backbones.catalog.card import (
    BackboneCard,
    FactsCard,
    FileWeights,
    Precision,
    RandomWeights,
    TimmWeights,
    preprocessing_for,
)
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.errors import WeightsError
from backbones.model.architecture import make
from backbones.model.encoder import Encoder
from backbones.model.loading import load_model
from backbones.model.precision import training_arithmetic
from backbones.model.preprocessing import normalise
from tests.tasks.dispatch_counts import counted

DEMO = ("random", "supervised", "simclr", "simclr-nocolour", "rotation", "mae")


@pytest.fixture
def folder(tmp_path: Path) -> WeightsFolder:
    return WeightsFolder(tmp_path / "weights")


def images(count: int, seed: int = 0) -> list[Image.Image]:
    generator = np.random.default_rng(seed)
    return [Image.fromarray(generator.integers(0, 256, (70, 80, 3), dtype=np.uint8)) for _ in range(count)]


def encode(encoder: Encoder, pictures: list[Image.Image]) -> Tensor:
    spec = preprocessing_for(encoder.card, "paper")
    return encoder.encode(torch.stack([encoder.prepare(picture, spec) for picture in pictures]), spec)


@pytest.mark.parametrize("name", DEMO)
def test_a_demo_backbone_encodes_images_as_its_card_says(
    catalog: BackboneCatalog, folder: WeightsFolder, name: str
) -> None:
    encoder = Encoder.load(catalog.get(f"demo/{name}"), folder)
    features = encode(encoder, images(3))
    assert features.shape == (3, encoder.dimension)
    assert encoder.dimension == encoder.card.facts.feature_dimension
    assert (features.dtype, features.device.type, features.requires_grad) == (torch.float32, "cpu", False)
    assert features.isfinite().all()
    assert not torch.allclose(features[0], features[1])


def test_features_do_not_depend_on_the_batch_that_an_image_is_in(
    catalog: BackboneCatalog, folder: WeightsFolder
) -> None:
    encoder = Encoder.load(catalog.get("demo/simclr"), folder)
    pictures = images(5)
    together = encode(encoder, pictures)
    alone = torch.cat([encode(encoder, [picture]) for picture in pictures])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_large_batch_goes_through_in_parts_that_give_the_same(
    catalog: BackboneCatalog, folder: WeightsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, pictures = Encoder.load(catalog.get("demo/simclr"), folder), images(5)
    seen: list[int] = []
    encoder.network.conv1.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))  # type: ignore[union-attr]
    whole = encode(encoder, pictures)
    monkeypatch.setattr("backbones.model.encoder.CPU_PIXELS", 2 * encoder.card.input.size**2)
    assert torch.allclose(encode(encoder, pictures), whole, atol=1e-5)
    assert seen == [5, 2, 2, 1]


@pytest.mark.parametrize("architecture", ["resnet18", "test_convnext", "test_vit"])
def test_layout_and_other_ways_to_be_fast_move_features_by_rounding_only(
    folder: WeightsFolder, architecture: str
) -> None:
    card = BackboneCard(
        name="r", title="R", architecture=architecture, weights=RandomWeights(seed=1), facts=FactsCard(method="none")
    )
    encoder, pictures, spec = Encoder.load(card, folder), images(3), preprocessing_for(card, "paper")
    plain = load_model(card, None)
    batch = normalise(torch.stack([encoder.prepare(picture, spec) for picture in pictures]), spec)
    with torch.no_grad():
        expected: Tensor = plain(batch)
    assert (encode(encoder, pictures) - expected).norm() <= 1e-5 * expected.norm(), "or the feature key must know of it"


def test_encoding_changes_nothing_in_the_backbone(catalog: BackboneCatalog, folder: WeightsFolder) -> None:
    encoder = Encoder.load(catalog.get("demo/supervised"), folder)
    before = {key: value.clone() for key, value in encoder.model.state_dict().items()}
    first, second = encode(encoder, images(2)), encode(encoder, images(2))
    assert torch.equal(first, second)
    assert all(torch.equal(before[key], value) for key, value in encoder.model.state_dict().items())


def test_encoded_images_are_counted(catalog: BackboneCatalog, folder: WeightsFolder) -> None:
    encoder = Encoder.load(catalog.get("demo/random"), folder)
    assert encoder.images_encoded == 0
    encode(encoder, images(3))
    encode(encoder, images(2))
    assert encoder.images_encoded == 5


def test_a_backbone_put_back_into_training_mode_refuses_to_run(catalog: BackboneCatalog, folder: WeightsFolder) -> None:
    encoder = Encoder.load(catalog.get("demo/random"), folder)
    encoder.model.train()
    with pytest.raises(AssertionError, match="evaluation mode"):
        encode(encoder, images(1))


@pytest.mark.parametrize(("precision", "near"), [("bfloat16", 0.05), ("float16", 0.005)])
def test_half_precision_is_near_full_precision_and_still_gives_float32(
    catalog: BackboneCatalog, folder: WeightsFolder, precision: Precision, near: float
) -> None:
    full = encode(Encoder.load(catalog.get("demo/simclr"), folder), images(4))
    half = encode(Encoder.load(catalog.get("demo/simclr"), folder, precision=precision), images(4))
    assert half.dtype == torch.float32
    assert 0 < (full - half).norm() / full.norm() < near


@pytest.mark.parametrize("precision", get_args(Precision))
def test_encoding_a_batch_reads_no_number_of_the_device(
    catalog: BackboneCatalog, folder: WeightsFolder, precision: Precision
) -> None:
    encoder = Encoder.load(catalog.get("demo/simclr"), folder, precision=precision)
    encode(encoder, images(4))
    with counted() as counts:
        encode(encoder, images(4))
    assert counts.host_reads == 0
    assert counts.launches > 0


def test_float16_is_refused_for_training() -> None:
    with pytest.raises(ValueError, match="small gradients are zero"), training_arithmetic("cpu", "float16"):
        pass


def test_another_input_size_than_the_weights_were_made_for_works(
    catalog: BackboneCatalog, folder: WeightsFolder
) -> None:
    card = catalog.get("demo/mae")
    bigger = card.model_copy(update={"input": card.input.model_copy(update={"size": 96})})
    assert encode(Encoder.load(bigger, folder), images(2)).shape == (2, 64)


def test_random_weights_need_no_file(folder: WeightsFolder) -> None:
    card = BackboneCard(
        name="r", title="R", architecture="test_resnet", weights=RandomWeights(seed=3), facts=FactsCard(method="none")
    )
    first, second = Encoder.load(card, folder), Encoder.load(card, folder)
    assert torch.equal(encode(first, images(1)), encode(second, images(1)))
    assert first.weights_digest == "random-3"


def test_a_checkpoint_file_of_a_users_own_loads_and_its_digest_is_kept(
    tmp_path: Path, folder: WeightsFolder, catalog: BackboneCatalog
) -> None:
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in make("test_resnet").state_dict().items()}}, path)
    card = catalog.get("demo/random").model_copy(
        update={
            "weights": FileWeights(path=str(path)),
            "keys": catalog.get("demo/random").keys.model_copy(update={"container": "state_dict", "prefix": "module."}),
        }
    )
    assert Encoder.load(card, folder).weights_digest == folder.state(card).digest


def test_missing_weights_are_one_sentence_with_the_way_out(catalog: BackboneCatalog, folder: WeightsFolder) -> None:
    with pytest.raises(
        WeightsError, match=r"paper/byol: the weights are missing: not downloaded yet: fetch them, or save"
    ):
        Encoder.load(catalog.get("paper/byol"), folder)


def put_timm_weights(folder: WeightsFolder, tag: str, tensors: dict[str, Tensor]) -> None:
    folder.root.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder.root / f"{tag}.safetensors")


def timm_card(catalog: BackboneCatalog, name: str) -> BackboneCard:
    card = catalog.get(name)
    assert isinstance(card.weights, TimmWeights)
    return card


@pytest.mark.parametrize("name", ["timm/test-vit", "timm/test-resnet"])
def test_a_timm_file_with_its_classifier_loads_without_it(
    catalog: BackboneCatalog, folder: WeightsFolder, name: str
) -> None:
    card = timm_card(catalog, name)
    torch.manual_seed(3)
    whole = make(card.architecture, num_classes=1000).eval()
    assert isinstance(card.weights, TimmWeights)
    put_timm_weights(folder, card.weights.tag, whole.state_dict())
    encoder = Encoder.load(card, folder)
    spec = preprocessing_for(card, "own")
    batch = torch.stack([encoder.prepare(picture, spec) for picture in images(2)])
    whole.reset_classifier(0)  # type: ignore[operator]
    from backbones.model.preprocessing import normalise  # noqa: PLC0415 - only here

    with torch.inference_mode():
        assert torch.allclose(encoder.encode(batch, spec), whole(normalise(batch, spec)), atol=1e-6)


def test_a_file_in_the_original_projects_layout_loads_through_timms_own_filter(
    catalog: BackboneCatalog, folder: WeightsFolder
) -> None:
    """As in the I-JEPA files: the network inside `encoder`, under `module.`."""
    card = timm_card(catalog, "timm/test-vit").model_copy(
        update={"weights": TimmWeights(tag="test_vit.r160_in1k", url="https://example.org/test.pth.tar")}
    )
    folder.root.mkdir(parents=True)
    whole = make("test_vit", num_classes=1000)
    encoder = {f"module.{key}": value for key, value in whole.state_dict().items()}
    torch.save({"encoder": encoder, "epoch": 3}, folder.root / "test_vit.r160_in1k.pth.tar")
    loaded = Encoder.load(card, folder).model.state_dict()
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in loaded.items())


def test_a_timm_file_with_a_tensor_missing_is_an_error(catalog: BackboneCatalog, folder: WeightsFolder) -> None:
    card = timm_card(catalog, "timm/test-resnet")
    tensors = dict(make("test_resnet", num_classes=1000).state_dict())
    del tensors["layer2.0.conv1.weight"]
    put_timm_weights(folder, "test_resnet.r160_in1k", tensors)
    with pytest.raises(WeightsError, match=r"layer2\.0\.conv1\.weight"):
        Encoder.load(card, folder)


@pytest.mark.slow
def test_loading_touches_no_network_even_where_the_environment_allows_it() -> None:
    script = "import backbones.model.architecture, huggingface_hub.constants as c; print(c.HF_HUB_OFFLINE)"
    clean = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, env=clean)
    assert done.stdout.strip() == "True"
