"""Backbone checks distinguish backbones with wrong numbers from sound ones, on the demo data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights, InputCard, RandomWeights, Triple
from backbones.catalog.catalog import NORMALISATIONS, BackboneCatalog
from backbones.catalog.trusted_code import code_digest, trust
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.architecture import make
from backbones.model.encoder import Encoder
from tasks.backbone_checks.check import examination, findings_of
from tasks.backbone_checks.finding import CheckRequest, Finding, Findings, examine, keep_findings, kept_findings
from tasks.backbone_checks.probe import linear_cka
from tasks.backbone_checks.weights import judge

TRAINED = ["demo/simclr", "demo/supervised", "demo/rotation", "demo/simclr-nocolour"]
HALF: tuple[Triple, Triple] = NORMALISATIONS["half"]


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe on a third of its images: a standard error of at most three percentage points."""
    monkeypatch.setattr("tasks.backbone_checks.probe.MOST", 300)


@pytest.fixture(scope="session")
def catalog() -> BackboneCatalog:
    return BackboneCatalog.load()


def found(card: BackboneCard, folder: Path, *, thorough: bool = False) -> dict[str, Finding]:
    request = CheckRequest(backbone=card, weights=str(folder), thorough=thorough)
    return {finding.name: finding for finding in examination(request)}


def bad(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.verdict == "bad"}


@pytest.mark.parametrize("name", [*TRAINED, "demo/mae", "demo/random"])
def test_a_demo_backbone_is_fit(catalog: BackboneCatalog, tmp_path: Path, name: str) -> None:
    findings = found(catalog.get(name), tmp_path)
    assert not bad(findings)
    assert findings["weights"].verdict == "good"


@pytest.mark.parametrize("wrong", ["imagenet", "none"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_wrong_normalisation_is_caught_and_the_right_one_named(
    catalog: BackboneCatalog, tmp_path: Path, name: str, wrong: str
) -> None:
    card = catalog.get(name)
    mean, std = NORMALISATIONS[wrong]
    mistaken = card.model_copy(update={"input": card.input.model_copy(update={"mean": mean, "std": std})})
    findings = found(mistaken, tmp_path)
    assert bad(findings) == {"normalisation"}
    assert "--norm half" in findings["normalisation"].words


def test_random_weights_that_call_themselves_trained_are_caught(tmp_path: Path) -> None:
    torch.manual_seed(7)
    path = tmp_path / "last.safetensors"
    save_file({key: value.clone() for key, value in make("test_resnet").state_dict().items()}, path)
    findings = found(own(path, "test_resnet"), tmp_path)
    assert bad(findings) == {"trained"}
    assert "random weights" in findings["trained"].words


def begun_by_torchvision() -> nn.Module:
    """Its norms are initialised with one; timm's, the last of each block, with zero."""
    net: nn.Module = torchvision.models.resnet18()
    net.fc = nn.Identity()
    return net


def begun_otherwise() -> nn.Module:
    net = make("resnet18")
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight, gain=3)
    return net


@pytest.mark.parametrize("begun", [begun_by_torchvision, begun_otherwise])
def test_random_weights_are_caught_whatever_code_made_them(tmp_path: Path, begun: Callable[[], nn.Module]) -> None:
    path = tmp_path / "last.safetensors"
    save_file({key: value.clone() for key, value in begun().state_dict().items()}, path)
    assert bad(found(own(path, "resnet18"), tmp_path)) == {"trained"}


def test_one_step_of_training_is_told_from_random_weights(tmp_path: Path) -> None:
    net = begun_by_torchvision().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    net(torch.rand(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    path = tmp_path / "last.safetensors"
    save_file({key: value.detach().clone() for key, value in net.state_dict().items()}, path)
    assert found(own(path, "resnet18"), tmp_path)["trained"].verdict == "good"


def test_random_weights_that_say_so_are_no_fault(tmp_path: Path) -> None:
    card = own(tmp_path, "test_resnet").model_copy(update={"weights": RandomWeights(seed=3)})
    assert found(card, tmp_path)["trained"].words == "not trained, as declared in its card"


TRAINING_MODE = """
import timm

def make():
    model = timm.create_model("test_resnet", num_classes=0, pretrained=False)
    forward = model.forward_features
    def forward_features(images):
        for module in model.modules():
            if "BatchNorm" in type(module).__name__:
                module.train()
        return forward(images)
    model.forward_features = forward_features
    return model
"""
BATCH_STATISTICS = """
import timm

def make():
    model = timm.create_model("test_resnet", num_classes=0, pretrained=False)
    for module in model.modules():
        if "BatchNorm" in type(module).__name__:
            module.forward = lambda x, m=module: __import__("torch").nn.functional.batch_norm(
                x, None, None, m.weight, m.bias, True)
    return model
"""


@pytest.mark.parametrize("code", [TRAINING_MODE, BATCH_STATISTICS], ids=["training mode", "batch statistics"])
def test_batch_norm_that_normalises_over_the_batch_is_caught(
    catalog: BackboneCatalog, tmp_path: Path, code: str
) -> None:
    (tmp_path / "net.py").write_text(code)
    architecture = f"{tmp_path / 'net.py'}:make"
    trust(architecture)
    card = catalog.get("demo/simclr").model_copy(
        update={"architecture": architecture, "code_sha256": code_digest(architecture)}
    )
    findings = found(card, tmp_path)
    assert "batch norm" in bad(findings)
    assert "with the other images in its batch" in findings["batch norm"].words


def test_a_network_left_in_training_mode_is_caught(catalog: BackboneCatalog, tmp_path: Path) -> None:
    encoder = Encoder.load(catalog.get("demo/rotation"), WeightsFolder(tmp_path))
    encoder.model.layer1.train()  # type: ignore[union-attr]
    findings = {finding.name: finding for finding in findings_of(encoder, thorough=False)}
    assert bad(findings) == {"batch norm"}


def test_weights_that_do_not_fit_are_the_only_finding(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_file({"fc.weight": torch.ones(2, 2)}, path)
    findings = found(own(path, "test_resnet"), tmp_path)
    assert list(findings) == ["weights"]
    assert bad(findings) == {"weights"}


def test_features_that_are_not_numbers_are_caught(catalog: BackboneCatalog, tmp_path: Path) -> None:
    encoder = Encoder.load(catalog.get("demo/simclr"), WeightsFolder(tmp_path))
    next(encoder.network.parameters()).data.fill_(float("nan"))
    findings = {finding.name: finding for finding in findings_of(encoder, thorough=False)}
    assert "features" in bad(findings)
    assert "NaN" in findings["features"].words


def test_an_input_that_patches_do_not_divide_is_caught(catalog: BackboneCatalog, tmp_path: Path) -> None:
    card = catalog.get("demo/mae")
    odd = card.model_copy(update={"input": card.input.model_copy(update={"size": 68})})
    findings = found(odd, tmp_path)
    assert bad(findings) == {"resolution"}
    assert "68" in findings["resolution"].words


@pytest.mark.usefixtures("quick_probe")
def test_the_probe_tells_a_trained_backbone_from_its_random_twin(catalog: BackboneCatalog, tmp_path: Path) -> None:
    findings = found(catalog.get("demo/supervised"), tmp_path, thorough=True)
    values = findings["probe"].values
    assert values["accuracy"] > values["twin_accuracy"] + 10
    assert 0 <= findings["twin"].values["cka"] < 0.5
    assert findings["features"].values["effective_rank"] > 5


@pytest.mark.usefixtures("quick_probe")
def test_without_batch_norms_three_normalisations_are_compared_by_the_probe(
    catalog: BackboneCatalog, tmp_path: Path
) -> None:
    finding = found(catalog.get("demo/mae"), tmp_path, thorough=True)["normalisation"]
    assert set(finding.values) == {"half", "imagenet", "none"}
    assert finding.verdict == "good"


def test_what_was_found_is_kept_for_these_weights_under_this_card(catalog: BackboneCatalog, tmp_path: Path) -> None:
    card = catalog.get("demo/simclr")
    kept = Findings(backbone=card.name, thorough=True, findings=(Finding(name="weights", verdict="good", words="x"),))
    keep_findings(tmp_path, card, "a" * 64, kept)
    other = card.model_copy(update={"input": card.input.model_copy(update={"mean": (0.0, 0.0, 0.0)})})
    assert kept_findings(tmp_path, card, "a" * 64) == kept
    assert kept_findings(tmp_path, card, "b" * 64) is None
    assert kept_findings(tmp_path, other, "a" * 64) is None


def test_a_process_that_fails_is_a_finding_too(tmp_path: Path) -> None:
    card = own(tmp_path, "no_such_network").model_copy(update={"weights": RandomWeights()})
    findings = list(examine(CheckRequest(backbone=card, weights=str(tmp_path))))
    assert findings[-1].verdict == "bad"
    assert "no_such_network" in findings[-1].words


def test_a_normalisation_a_little_worse_than_the_best_is_not_called_wrong() -> None:
    assert judge("imagenet", {"imagenet": 0.5, "half": 0.4, "none": 2.0}).verdict == "good"
    assert judge("imagenet", {"imagenet": 1.5, "half": 0.4, "none": 2.0}).verdict == "bad"


def test_linear_cka_is_one_for_rotated_features_and_near_zero_for_unrelated_ones() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(500, 6)).astype(np.float32)
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0].astype(np.float32)
    assert linear_cka(features, 3 * features @ rotation) == pytest.approx(1, abs=1e-5)
    assert linear_cka(features, random.normal(size=(500, 6)).astype(np.float32)) < 0.05


def own(path: Path, architecture: str) -> BackboneCard:
    mean, std = HALF
    return BackboneCard(
        name="own/last",
        title="last",
        architecture=architecture,
        weights=FileWeights(path=str(path)),
        input=InputCard(size=64, mean=mean, std=std),
        facts=FactsCard(method="simclr"),
    )
