"""`hf:` names from a hub to features: fetched, inspected once, pinned, and used without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch

from backbones.catalog.card import HubWeights
from backbones.catalog.hub_models import UnfetchedModel
from backbones.inspection.inspect_main import propose
from backbones.model.encoder import pool
from backbones.model.loading import load_model
from backbones.model.open_backbone import open_backbone
from ssl_console.cli.handlers.add import add_backbone
from ssl_console.cli.handlers.backbones import fetch_weights
from ssl_console.operations import add_backbone as add_backbone_module
from ssl_console.operations.add_backbone import BackboneOptions
from ssl_console.operations.session import Session
from ssl_console.system.errors import ExitCode
from ssl_console.workspace.paths import Workspace
from tests.backbones.inspection.test_transformers_files import FILES
from tests.hub_stand_in import Hub, serving

NAME = "hf:org/dinov2-registers"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nonexistent")
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for name in ("dinov2-registers", "vit"):
            hub.publish(f"org/{name}", FILES / name)
        yield hub


@pytest.fixture
def session(workspace: Workspace, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(add_backbone_module, "inspect", propose)  # in this process, which has torch already
    return Session(workspace.root, notify=lambda _: None)


def test_a_model_of_the_hub_is_a_backbone_by_its_name(
    session: Session, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnfetchedModel):
        session.backbones.get(NAME)
    assert fetch_weights(session, (NAME,)) is ExitCode.DONE
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(hub.requests)
    card = session.backbones.select([NAME])[0]
    assert (card.name, card.input.size, card.input.mean) == (NAME, 32, (0.5, 0.5, 0.5))
    state = session.weights.verified(card)
    model = load_model(card, state.path)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = pool(model, model.forward_features(images), card.pooling)  # type: ignore[operator]
    expected = np.load(FILES / "dinov2-registers" / "features.npy")
    np.testing.assert_allclose(features.numpy(), expected, rtol=1e-3, atol=1e-4)
    assert len(hub.requests) == asked


def test_a_fetched_model_is_opened_in_a_notebook_by_its_name(session: Session) -> None:
    fetch_weights(session, (NAME,))
    image = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3).astype(np.uint8)
    backbone = open_backbone(NAME, workspace=session.workspace.root)
    assert backbone.features(image).shape == (1, 16)
    assert backbone.card.name == NAME


def test_a_branch_stays_at_its_commit_until_it_is_fetched_again(session: Session, hub: Hub) -> None:
    fetch_weights(session, (NAME,))
    first = session.backbones.get(NAME).weights
    assert isinstance(first, HubWeights)
    hub.publish("org/dinov2-registers", FILES / "dinov2")
    assert session.backbones.get(NAME).weights == first
    fetch_weights(session, (NAME,))
    second = session.backbones.get(NAME).weights
    assert isinstance(second, HubWeights)
    assert second.revision == hub.branches["org/dinov2-registers", "main"] != first.revision
    assert session.backbones.get(f"{NAME}@{first.revision}").weights == first


def test_a_card_that_was_added_from_the_hub_is_fetched_by_its_commit_and_digest(session: Session, hub: Hub) -> None:
    options = BackboneOptions(path=Path("hf:org/vit"), hub_name="hf:org/vit")
    assert add_backbone(session, options, dry_run=False, as_json=True) is ExitCode.DONE
    session.reload_backbones()
    card = session.backbones.get("own/vit")
    assert isinstance(card.weights, HubWeights)
    assert card.weights.revision == hub.branches["org/vit", "main"]
    path = session.weights.path(card)
    assert path is not None
    path.unlink()
    hub.publish("org/vit", FILES / "dinov2")
    assert session.weights.state(card).status == "missing"
    assert session.weights.fetch(card).status == "present"
    hub.spoilt = True
    path.unlink()
    assert fetch_weights(session, ("own/vit",)) is ExitCode.MISSING
    assert not path.exists()


def test_one_model_that_fails_does_not_keep_another_from_being_fetched(
    session: Session, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch_weights(session, ("hf:org/none", NAME)) is ExitCode.MISSING
    assert session.backbones.get(NAME).name == NAME
    assert f"{hub.url}/org/none" in capsys.readouterr().err
