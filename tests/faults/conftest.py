"""Sizes, figures, and stages that are cleared after every test."""

from __future__ import annotations

import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ssl_console.workspace.config import DATA_VARIABLE
from tasks.datasets.card import DatasetCard
from tasks.datasets.manifest import Manifest, manifests
from tests.faults.scale import Scale, chosen
from tests.faults.stage import CPU, DATASET, Stage, set_stage
from tests.faults.tally import Figures, Tally

FIGURES = Figures()
BEGUN = time.monotonic()

settings.register_profile(
    "faults", deadline=None, max_examples=chosen().inputs, suppress_health_check=list(HealthCheck), database=None
)

MakeStage = Callable[..., Stage]


@pytest.fixture
def scale() -> Scale:
    """Size of the suite."""
    return chosen()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Collector of a test's figures, under the title of its file (`GROUP`)."""
    return Tally(request.module.GROUP, request.node.user_properties)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect figures; with several processes, in the controlling one."""
    FIGURES.take(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the figures of this run, if requested."""
    if not hasattr(session.config, "workerinput"):
        FIGURES.write(time.monotonic() - BEGUN)


@pytest.fixture(scope="session")
def known_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root and a cache folder with the manifest of its digits, so that not every stage has to read them."""
    folder = tmp_path_factory.mktemp("known")
    card = DatasetCard.model_validate({"name": "things", **tomllib.loads(DATASET)})
    assert isinstance(manifests([card], folder / "data", folder / "cache")["things"], Manifest)
    return folder


@pytest.fixture
def make_stage(tmp_path: Path, known_data: Path) -> Iterator[MakeStage]:
    """Creates stages; their processes are ended with the test."""
    stages: list[Stage] = []

    def make(root: Path | None = None, slots: int = 2, devices: tuple[str, ...] = CPU, **environment: str) -> Stage:
        environment = {DATA_VARIABLE: str(known_data / "data"), **environment}
        stage = set_stage(root or tmp_path / "a wörkspace", slots, devices, **environment)
        shutil.copytree(known_data / "cache", stage.workspace.cache, dirs_exist_ok=True)
        stages.append(stage)
        return stage

    yield make
    for stage in stages:
        stage.clean_up()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """One stage, on a path with a space and an umlaut."""
    return make_stage()
