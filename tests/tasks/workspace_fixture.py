"""Real tasks on real (tiny, randomly initialised, or demo) backbones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backbones.catalog.card import BackboneCard, FactsCard, InputCard, RandomWeights, Scalar, preprocessing_for
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.loading import TrainableBackbone
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.reporter import SilentReporter

CATALOG = TaskCatalog.load()


@dataclass
class Listener(SilentReporter):
    warnings: list[str] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    advanced: int = 0

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.phases.append(name)
        self.advanced = 0

    def advance(self, count: int = 1) -> None:
        self.advanced += count


def network(architecture: str, size: int = 64, **arguments: Scalar) -> BackboneCard:
    return BackboneCard(
        name=architecture,
        title="",
        architecture=architecture,
        architecture_arguments=arguments,
        weights=RandomWeights(),
        input=InputCard(size=size),
        facts=FactsCard(method="none"),
    )


def demo(name: str) -> BackboneCard:
    return BackboneCatalog.load([], Path("/nonexistent")).cards[f"demo/{name}"]


def shapes(test_images: int, name: str = "shapes") -> DatasetCard:
    card = CATALOG.dataset(name)
    arguments = {**card.reader_arguments, "train": 40, "test": test_images}
    return card.model_copy(update={"reader_arguments": arguments, "images": {}})


def image_inputs(
    backbone: BackboneCard, root: Path, dataset: DatasetCard, *, kept: bool = False, size: int | None = None
) -> ImageInputs:
    """Paths with a checkpoint folder if `kept`, and with a folder for images."""
    if size is not None:
        backbone = backbone.model_copy(update={"input": backbone.input.model_copy(update={"size": size})})
    return ImageInputs(
        dataset=open_dataset(dataset, root),
        metric="accuracy",
        backbone=TrainableBackbone.verified(backbone, WeightsFolder(root / "weights")),
        spec=preprocessing_for(backbone, "paper"),
        key="of this result",
        checkpoint=root / "checkpoint" if kept else None,
        pictures=root / "pictures",
    )
