"""Backbones by name: built-in cards, user cards, and names that describe themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backbones.catalog import timm_info
from backbones.catalog.card import FileWeights, TimmWeights
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.timm_info import Description, Resolver
from backbones.catalog.timm_info_main import describe, main
from backbones.io.card_files import CardProblem, MalformedName, UnknownName

CARD = 'title = "{title}"\narchitecture = "resnet18"\n[weights]\nkind = "random"\n[facts]\nmethod = "none"\n'


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> BackboneCatalog:
    """A catalogue whose queries of timm are cached for all tests of this file."""
    return BackboneCatalog.load([], tmp_path_factory.mktemp("answers"))


@pytest.fixture
def asked_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask timm in this process, which has it already."""
    monkeypatch.setattr(timm_info, "_run", describe)


def test_the_built_in_cards_are_all_good(catalog: BackboneCatalog) -> None:
    assert catalog.problems == ()
    assert len([name for name in catalog.cards if name.startswith("paper/")]) == 14
    assert len([name for name in catalog.cards if name.startswith("timm/")]) >= 24
    assert {"barlow-twins", "vicreg", "dino-resnet50", "moco-v3"} <= {
        n[4:] for n in catalog.cards if n.startswith("ssl/")
    }
    assert {"random", "supervised", "simclr", "simclr-nocolour", "rotation", "mae"} == {
        name[5:] for name in catalog.cards if name.startswith("demo/")
    }


def test_a_users_card_joins_the_built_in_ones(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(CARD.format(title="Mine"))
    catalog = BackboneCatalog.load([tmp_path])
    assert catalog.get("mine").title == "Mine"
    assert catalog.overrides == ()


def test_a_users_card_of_a_built_in_name_wins_and_is_reported(tmp_path: Path) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper/byol.toml").write_text(CARD.format(title="My BYOL"))
    catalog = BackboneCatalog.load([tmp_path])
    assert catalog.get("paper/byol").title == "My BYOL"
    (override,) = catalog.overrides
    assert override.name == "paper/byol"
    assert str(tmp_path / "paper/byol.toml") in str(override)


def test_a_users_broken_card_leaves_the_built_in_one_in_place(tmp_path: Path) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper/byol.toml").write_text("title = 3")
    catalog = BackboneCatalog.load([tmp_path])
    assert catalog.get("paper/byol").title == "BYOL"
    assert {problem.path.name for problem in catalog.problems if isinstance(problem, CardProblem)} == {"byol.toml"}


def test_patterns_choose_cards(catalog: BackboneCatalog) -> None:
    assert [card.name for card in catalog.select(["*moco*", "paper/moco-v1"])] == [
        "paper/moco-v1",
        "paper/moco-v2",
        "ssl/moco-v3",
    ]
    with pytest.raises(UnknownName, match="did you mean 'paper/swav'"):
        catalog.select(["swaw"])


def test_a_built_in_tag_is_found_under_its_timm_name_without_asking_timm(catalog: BackboneCatalog) -> None:
    assert catalog.get("timm:vit_small_patch14_dinov2.lvd142m").name == "timm/dinov2-vit-s14"


@pytest.mark.slow
def test_any_timm_tag_is_a_backbone(cached: BackboneCatalog) -> None:
    card = cached.get("timm:vit_tiny_patch16_224.augreg_in21k")
    assert card.weights == TimmWeights(
        tag="vit_tiny_patch16_224.augreg_in21k", hub_repository="timm/vit_tiny_patch16_224.augreg_in21k"
    )
    assert (card.input.size, card.input.mean, card.input.crop) == (224, (0.5, 0.5, 0.5), 0.9)
    assert (card.facts.feature_dimension, card.facts.license) == (192, "apache-2.0")
    assert card.keys.drop == ("head.",)


@pytest.mark.usefixtures("asked_here")
def test_an_architecture_without_a_tag_means_its_default_tag(cached: BackboneCatalog) -> None:
    assert cached.get("timm:resnet18").name.startswith("timm:resnet18.")


@pytest.mark.usefixtures("asked_here")
def test_an_unknown_timm_name_is_an_error_that_suggests_names(cached: BackboneCatalog) -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'timm:resnet50\.a1_in1k'"):
        cached.get("timm:resnet50.a1")


@pytest.mark.usefixtures("asked_here")
def test_what_timm_said_is_kept_and_not_asked_again(tmp_path: Path, cached: BackboneCatalog) -> None:
    folder = cached.resolver.cache_folder
    assert folder is not None
    cached.get("timm:resnet18")
    (kept,) = folder.glob("resnet18.*.json")
    answer = Description.model_validate_json(kept.read_bytes()).model_copy(update={"feature_dimension": 123})
    (tmp_path / kept.name).write_text(answer.model_dump_json())
    assert Resolver(tmp_path).describe("resnet18").feature_dimension == 123


@pytest.mark.usefixtures("asked_here")
def test_a_broken_kept_answer_is_asked_anew(tmp_path: Path, cached: BackboneCatalog) -> None:
    folder = cached.resolver.cache_folder
    assert folder is not None
    cached.get("timm:resnet18")
    (kept,) = folder.glob("resnet18.*.json")
    (tmp_path / kept.name).write_text("{")
    assert Resolver(tmp_path).describe("resnet18").feature_dimension == 512


@pytest.mark.usefixtures("asked_here")
def test_a_checkpoint_file_is_a_backbone_by_its_name_alone(cached: BackboneCatalog) -> None:
    name = (
        "file:/data/my%20net.pth?arch=resnet18&container=state_dict&prefix=module."
        "&norm=none&pooling=avg&size=96&drop=proj."
    )
    card = cached.get(name)
    assert card.name == name
    assert card.weights == FileWeights(path="/data/my net.pth")
    assert (card.keys.container, card.keys.prefix, card.keys.drop) == ("state_dict", "module.", ("proj.", "fc."))
    assert (card.input.size, card.input.mean, card.input.std) == (96, (0, 0, 0), (1, 1, 1))
    assert card.pooling == "avg"
    assert [chosen.name for chosen in cached.select([name, "demo/random"])] == [name, "demo/random"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file:/x.pth", "arch"),
        ("file:?arch=resnet18", "PATH"),
        ("file:/x.pth?arch=resnet18&nrom=none", "unknown option 'nrom'; expected norm"),
        ("file:/x.pth?arch=resnet18&norm=minus", "'minus' is not one of imagenet, half, none"),
        ("file:/x.pth?arch=resnet18&size=big", "size='big'"),
        ("file:/x.pth?arch=resnet18&arch=resnet34", "once"),
        ("timm:../../etc/passwd", "not a timm name"),
    ],
)
def test_a_malformed_name_says_what_is_wrong_with_it(cached: BackboneCatalog, name: str, words: str) -> None:
    with pytest.raises(MalformedName, match=words):
        cached.get(name)


@pytest.mark.usefixtures("asked_here")
def test_a_checkpoint_of_an_unknown_architecture_is_an_error_that_suggests_one(cached: BackboneCatalog) -> None:
    with pytest.raises(UnknownName, match="resnet18"):
        cached.get("file:/x.pth?arch=resnet_18")


@pytest.mark.slow
def test_describe_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    """As a process, `test_any_timm_tag_is_a_backbone` runs it."""
    assert main(["test_resnet.r160_in1k"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["architecture"], answer["tag"], answer["size"]) == ("test_resnet", "r160_in1k", 160)
    assert main([]) == 2


def test_everything_that_lists_backbones_works_without_torch_timm_and_numpy() -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "import backbones.catalog.card, backbones.io.card_files, backbones.catalog.card, backbones.catalog.card\n"
        "from backbones.catalog.catalog import BackboneCatalog\n"
        "from backbones.catalog.weights_folder import WeightsFolder\n"
        "catalog = BackboneCatalog.load(); folder = WeightsFolder(Path('nowhere'))\n"
        "[folder.state(card) for card in catalog.cards.values()]\n"
        "print([name for name in ('torch', 'timm', 'numpy', 'torchvision', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
