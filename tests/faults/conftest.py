"""Sizes, figures, and stages that are cleared after every test."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tasks.card import DatasetCard
from tasks.datasets.manifest import Manifest, manifests
from tests.faults.scale import Scale, chosen
from tests.faults.stage import DATASET, Stage, set_stage
from tests.faults.tally import Tally

TALLY = Tally()

settings.register_profile(
    "faults", deadline=None, max_examples=chosen().inputs, suppress_health_check=list(HealthCheck), database=None
)

MakeStage = Callable[..., Stage]


@pytest.fixture
def scale() -> Scale:
    """How much is wanted."""
    return chosen()


@pytest.fixture
def tally() -> Tally:
    """Where figures go."""
    return TALLY


def pytest_sessionfinish() -> None:
    """The figures of this run, if they are wanted."""
    TALLY.write()


@pytest.fixture(scope="session")
def known_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that knows the digits, so that not every stage has to look at them."""
    folder = tmp_path_factory.mktemp("known")
    card = DatasetCard.model_validate({"name": "things", **tomllib.loads(DATASET)})
    assert isinstance(manifests([card], folder / "data", folder / "cache")["things"], Manifest)
    return folder / "cache"


@pytest.fixture
def make_stage(tmp_path: Path, known_data: Path) -> Iterator[MakeStage]:
    """Sets stages; their processes are ended with the test."""
    stages: list[Stage] = []

    def make(root: Path | None = None, slots: int = 2, **environment: str) -> Stage:
        stage = set_stage(root or tmp_path / "a wörkspace", slots, **environment)
        shutil.copytree(known_data, stage.workspace.cache, dirs_exist_ok=True)
        stages.append(stage)
        return stage

    yield make
    for stage in stages:
        stage.clean_up()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """One stage, on a path with a space and an umlaut."""
    return make_stage()
