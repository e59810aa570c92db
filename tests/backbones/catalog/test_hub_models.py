"""Models of a hub by name, against a server with the real hub's addresses: commits, digests, logins, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from timm.models import list_pretrained

from backbones.catalog.catalog import ENTRIES, BackboneCatalog
from backbones.catalog.hub_fetch import bring, look_up
from backbones.catalog.hub_models import HubReference, HubStore, UnfetchedModel, hub_reference
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.card_files import MalformedName, UnknownName
from backbones.io.errors import WeightsError
from tests.hub_stand_in import Hub, serving

REFERENCE = HubReference("org/net")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder: weights, configuration, and files that a backbone does not need."""
    folder = tmp_path_factory.mktemp("model")
    save_file({"w": torch.arange(1000.0)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "vit"}')
    (folder / "preprocessor_config.json").write_text("{}")
    (folder / "README.md").write_text("words")
    (folder / "optimizer.pt").write_bytes(b"0" * 10)
    return folder


@pytest.fixture
def hub(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nonexistent")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with serving() as hub:
        hub.publish("org/net", model)
        yield hub


@pytest.fixture
def weights(hub: Hub, tmp_path: Path) -> WeightsFolder:
    return WeightsFolder(tmp_path / "weights", hub=hub.url)


def fetched(weights: WeightsFolder, reference: HubReference = REFERENCE) -> Path:
    return bring(look_up(reference, weights.hub), weights, lambda *_: None)[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:org/net", HubReference("org/net")),
        ("hf:org/net@v1.0", HubReference("org/net", "v1.0")),
        ("hf:org/net/deep/a.pth@refs/pr/3", HubReference("org/net", "refs/pr/3", "deep/a.pth")),
        ("timm:hf-hub:org/net", HubReference("org/net")),
        ("hf-hub:org/net", HubReference("org/net")),
        ("https://huggingface.co/org/net", HubReference("org/net")),
        ("https://huggingface.co/org/net/blob/main/a.pth", HubReference("org/net", "main", "a.pth")),
    ],
)
def test_a_name_means_a_model_a_revision_and_a_file(name: str, expected: HubReference) -> None:
    assert hub_reference(name) == expected
    assert hub_reference(expected.name) == expected


@pytest.mark.parametrize("name", ["hf:net", "hf:org/net@", "hf:org/../net", "hf:org/net@../x", "hf:", "hf:org/n et"])
def test_a_name_that_is_none_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(MalformedName, match="expected hf:ORG/MODEL"):
        hub_reference(name)


def test_the_stand_in_answers_the_hubs_own_library_as_the_hub_does(hub: Hub, tmp_path: Path, model: Path) -> None:
    api = huggingface_hub.HfApi(endpoint=hub.url)
    info = api.model_info("org/net", files_metadata=True)
    assert info.sha == hub.branches["org/net", "main"]
    large = next(file for file in info.siblings or () if file.rfilename == "model.safetensors")
    path = huggingface_hub.hf_hub_download("org/net", "config.json", endpoint=hub.url, cache_dir=tmp_path)
    assert Path(path).read_bytes() == (model / "config.json").read_bytes()
    assert large.lfs is not None
    with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
        api.model_info("org/none")


def test_a_model_is_fetched_at_its_commit_with_what_states_its_preprocessing(hub: Hub, weights: WeightsFolder) -> None:
    snapshot = look_up(REFERENCE, hub.url)
    path, card_weights = bring(snapshot, weights, lambda *_: None)
    assert path.parent.name == card_weights.revision == hub.branches["org/net", "main"]
    assert {file.name for file in path.parent.iterdir()} == {
        "model.safetensors", "config.json", "preprocessor_config.json",
    }  # fmt: skip
    asked = len(hub.requests)
    bring(snapshot, weights, lambda *_: None)
    assert len(hub.requests) == asked


def test_a_broken_transfer_carries_on_where_it_broke(hub: Hub, weights: WeightsFolder, model: Path) -> None:
    hub.cuts = [1000]
    path = fetched(weights)
    assert path.read_bytes() == (model / "model.safetensors").read_bytes()
    ranges = [headers.get("Range") for place, headers in hub.requests if place.startswith("/cdn/")]
    assert ranges == [None, "bytes=1000-"]


def test_a_file_with_another_digest_than_the_hub_states_is_refused_and_not_kept(
    hub: Hub, weights: WeightsFolder
) -> None:
    hub.spoilt = True
    with pytest.raises(WeightsError, match="a different digest than the hub states"):
        fetched(weights)
    folder = weights.hub_models.folder("org/net", hub.branches["org/net", "main"])
    assert not (folder / "model.safetensors").exists()


def test_a_gated_model_is_one_sentence_with_its_page_and_comes_after_the_librarys_login(
    hub: Hub, weights: WeightsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated = {"org/net"}
    with pytest.raises(WeightsError, match=rf"is gated: accept its terms on {hub.url}/org/net, log in") as refused:
        fetched(weights)
    assert "\n" not in str(refused.value)
    (tmp_path / "token").write_text("hf_right\n")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert fetched(weights).is_file()
    kept = b"".join(path.read_bytes() for path in weights.root.rglob("*") if path.is_file())
    assert b"hf_right" not in kept
    other_hosts = [headers for place, headers in hub.requests if place.startswith("/cdn/")]
    assert other_hosts
    assert all("Authorization" not in headers for headers in other_hosts)
    (tmp_path / "token").write_text("hf_wrong")
    with pytest.raises(WeightsError, match="is gated"):
        bring(look_up(REFERENCE, hub.url), WeightsFolder(tmp_path / "others", hub=hub.url), lambda *_: None)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (HubReference("org/none"), "no such model, or it is private"),
        (HubReference("org/net", "v9"), "the model has no revision 'v9'"),
        (HubReference("org/net", "main", "x.pth"), "the model has no file x.pth"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence_with_its_page(
    hub: Hub, weights: WeightsFolder, reference: HubReference, words: str
) -> None:
    with pytest.raises(WeightsError, match=words) as refused:
        fetched(weights, reference)
    assert "\n" not in str(refused.value)
    assert reference.file is not None or f"{hub.url}/{reference.repository}" in str(refused.value)


def test_a_private_model_comes_with_a_login(hub: Hub, weights: WeightsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.private = {"org/net"}
    with pytest.raises(WeightsError, match="it is private and requires `hf auth login`"):
        fetched(weights)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert fetched(weights).is_file()


def test_of_several_checkpoints_one_has_to_be_named(hub: Hub, weights: WeightsFolder, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for name in ("r50.pth", "r101.pth"):
        torch.save({"w": torch.ones(1)}, tmp_path / "two" / name)
    hub.publish("org/two", tmp_path / "two")
    with pytest.raises(WeightsError, match=r"name one, e.g. hf:org/two/r101\.pth"):
        fetched(weights, HubReference("org/two"))
    assert fetched(weights, HubReference("org/two", "main", "r50.pth")).name == "r50.pth"


def test_shards_come_with_their_index(hub: Hub, weights: WeightsFolder, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for number, name in enumerate(names):
        save_file({f"w{number}": torch.ones(2)}, tmp_path / "parts" / name)
    index = {"weight_map": {f"w{number}": name for number, name in enumerate(names)}}
    (tmp_path / "parts/model.safetensors.index.json").write_text(json.dumps(index))
    hub.publish("org/parts", tmp_path / "parts")
    path, card_weights = bring(look_up(HubReference("org/parts"), hub.url), weights, lambda *_: None)
    assert [file.name for file in card_weights.files] == [path.name, *names]
    assert all((path.parent / name).is_file() for name in names)


def test_nothing_is_asked_where_the_library_is_set_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        look_up(REFERENCE, hub.url)
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(WeightsError, match=r"cannot be looked up at http://127\.0\.0\.1:1: .*refused"):
        look_up(REFERENCE, "http://127.0.0.1:1")


def test_a_model_that_was_not_fetched_names_the_command(tmp_path: Path) -> None:
    catalog = BackboneCatalog.load([], tmp_path, HubStore(tmp_path))
    with pytest.raises(UnfetchedModel, match="run `ssl-console weights fetch hf:org/net@v1`"):
        catalog.select(["timm:hf-hub:org/net@v1"])


def test_the_names_of_torch_hub_lead_to_cards_of_the_same_weights(catalog: BackboneCatalog) -> None:
    names = {name for entries in ENTRIES.values() for name in entries.values()}
    assert {name for name in names if not name.startswith("timm:")} <= catalog.cards.keys()
    assert catalog.get("facebookresearch/swav:main/resnet50") is catalog.cards["paper/swav"]
    assert catalog.get("torch.hub:facebookresearch/vicreg:resnet50") is catalog.cards["ssl/vicreg"]
    assert catalog.select(["facebookresearch/barlowtwins:resnet50"]) == [catalog.cards["ssl/barlow-twins"]]
    with pytest.raises(UnknownName, match="facebookresearch/swav:resnet50"):
        catalog.get("facebookresearch/swav:resnet50w2")


def test_every_tag_behind_a_name_of_torch_hub_is_timms() -> None:
    tags = {name[5:] for entries in ENTRIES.values() for name in entries.values() if name.startswith("timm:")}
    assert tags <= set(list_pretrained())
