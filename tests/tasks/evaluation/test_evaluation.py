"""A task from cards to outcome, with a real (tiny, randomly initialised) backbone on real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights, InputCard, Precision, RandomWeights, Weights
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.errors import WeightsError
from backbones.model.encoder import Encoder
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.spec import result_key
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.evaluation.features import assist_task, evaluate_task
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths
from tasks.features.cache_report import entries
from tasks.features.manifest import NotFiniteError
from tasks.reporter import SilentReporter

CATALOG = TaskCatalog.load()
DIGITS = 1797


def backbone(weights: Weights | None = None, **changed: Any) -> BackboneCard:
    card = BackboneCard(
        name="tiny",
        title="A tiny ResNet",
        architecture="test_resnet",
        weights=weights or RandomWeights(),
        input=InputCard(size=16),
        facts=FactsCard(method="none"),
    )
    return card.model_copy(update=changed)


@dataclass
class CountingCache(EncoderCache):
    """Counts the images of every forward pass inside the network."""

    batches: list[int] = field(default_factory=list)

    def get(
        self, card: BackboneCard, digest: str, weights: WeightsFolder, device: str, precision: Precision
    ) -> Encoder:
        before = self.held
        encoder = super().get(card, digest, weights, device, precision)
        if encoder is not before:
            encoder.network.conv1.register_forward_pre_hook(  # type: ignore[union-attr]
                lambda _module, given: self.batches.append(len(given[0]))
            )
        return encoder


@dataclass
class Listener(SilentReporter):
    phases: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.phases.append(name)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass
class Bench:
    """Paths of an evaluation, with features and the encoder kept between evaluations."""

    paths: EvaluationPaths
    cache: CountingCache = field(default_factory=CountingCache)
    listener: Listener = field(default_factory=Listener)

    def run(
        self, task: str, card: BackboneCard | None = None, *, preset: str | None = None, **options: Any
    ) -> Evaluation:
        spec = CATALOG.resolve(task, preset, options.pop("overrides", None))
        dataset = CATALOG.dataset(spec.dataset)
        options = {"seed": 0, "device": "cpu", **options}
        return evaluate_task(
            card or backbone(),
            spec,
            dataset,
            paths=self.paths,
            reporter=self.listener,
            encoder_cache=self.cache,
            **options,
        )


@pytest.fixture(autouse=True)
def few_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of the random halves of few-shot pools: no test asserts their interval."""
    monkeypatch.setattr("tasks.protocols.few_shot.HALVINGS", 20)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(EvaluationPaths(tmp_path / "weights", tmp_path / "data", tmp_path / "features"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 30 small coloured noise images each."""
    generator = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / "photos" / ("dark", "light")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 128, (12, 12, 3)) + 127 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
    return tmp_path / "photos"


def test_linear_knn_and_three_few_shot_tasks_encode_each_image_once(bench: Bench) -> None:
    tasks = ["linear", "knn", "few-shot-5", "few-shot-20", "few-shot-50"]
    quick = {"linear": {"strengths": 3, "extend_grid": False}}
    encoded = [
        bench.run(f"{name}/digits", overrides={name: quick[name]} if name in quick else None).provenance.encoded
        for name in tasks
    ]
    assert encoded == [DIGITS, 0, 0, 0, 0]
    assert sum(bench.cache.batches) == DIGITS


def test_warm_features_need_no_backbone_in_memory(bench: Bench) -> None:
    cold = bench.run("knn/digits")
    bench.cache = CountingCache()
    warm = bench.run("knn/digits")
    assert bench.cache.held is None
    assert (warm.provenance.encoded, warm.provenance.images_per_s) == (0, None)
    assert dict(warm.provenance.hits) == {"train": True, "test": True}
    assert warm.outcome.metrics == cold.outcome.metrics


def test_facts_say_what_was_evaluated(bench: Bench) -> None:
    provenance = bench.run("knn/digits").provenance
    assert provenance.weights_digest == "random-0"
    assert provenance.dimension == 96
    assert provenance.backbone_identity["architecture"] == "test_resnet"
    assert provenance.images_per_s is not None
    assert provenance.images_per_s > 0


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": RandomWeights(seed=1)},
        {"input": InputCard(size=16, mean=(0.5, 0.5, 0.5))},
        {"architecture": "test_resnet", "pooling": "default", "input": InputCard(size=24)},
    ],
    ids=["weights", "normalisation", "size"],
)
def test_another_backbone_never_meets_the_same_entry(bench: Bench, photos: Path, changed: dict[str, Any]) -> None:
    bench.run(f"knn/imagefolder:{photos}")
    assert bench.run(f"knn/imagefolder:{photos}", backbone(**changed)).provenance.encoded == 60


def test_another_preprocessing_never_meets_the_same_entry(bench: Bench) -> None:
    bench.run("few-shot-5/digits")
    assert bench.run("few-shot-5/digits", preset="published").provenance.encoded == DIGITS


def test_a_changed_image_is_another_entry(bench: Bench, photos: Path) -> None:
    bench.run(f"knn/imagefolder:{photos}")
    Image.new("RGB", (12, 12), "red").save(photos / "dark" / "000.png")
    assert bench.run(f"knn/imagefolder:{photos}").provenance.encoded == 60


def test_another_name_for_the_same_backbone_meets_the_same_entry(bench: Bench, photos: Path) -> None:
    bench.run(f"knn/imagefolder:{photos}")
    assert bench.run(f"knn/imagefolder:{photos}", backbone(name="my-own")).provenance.encoded == 0


def test_the_last_backbone_stays_in_memory_and_only_that(bench: Bench, photos: Path) -> None:
    bench.run("knn/digits")
    first = bench.cache.held
    bench.run(f"knn/imagefolder:{photos}")
    assert bench.cache.held is first
    bench.run("knn/digits", backbone(weights=RandomWeights(seed=1)))
    assert bench.cache.held is not first


def test_the_extraction_batch_does_not_change_the_outcome(bench: Bench, tmp_path: Path, photos: Path) -> None:
    whole = bench.run(f"knn/imagefolder:{photos}", batch_size=60).outcome
    bench.paths = EvaluationPaths(tmp_path / "weights", tmp_path / "data", tmp_path / "other")
    pieces = bench.run(f"knn/imagefolder:{photos}", batch_size=7).outcome
    assert whole.metrics == pieces.metrics
    assert np.allclose(whole.predictions["scores"], pieces.predictions["scores"], atol=1e-3)


def test_phases_follow_one_another(bench: Bench) -> None:
    bench.run("few-shot-5/digits")
    before = ["opening", "encoding train", "encoding test", "checking features"]
    assert bench.listener.phases == [*before, "episodes", "halves of the pool"]


def test_feature_checks_are_part_of_the_diagnostics_and_told(bench: Bench, photos: Path) -> None:
    for number in range(0, 60, 2):
        Image.new("RGB", (12, 12), "black").save(photos / "dark" / f"{number:03d}.png")
    outcome = bench.run(f"knn/imagefolder:{photos}").outcome
    checks = outcome.diagnostics["features"]
    assert checks["all"]["duplicate_rows"] == 29  # type: ignore[index, call-overload]
    assert any("29 of 60 feature rows repeat" in warning for warning in bench.listener.warnings)


def test_weights_with_nan_end_in_an_error_that_names_backbone_and_image(
    bench: Bench, tmp_path: Path, photos: Path
) -> None:
    model = Encoder.load(backbone(), WeightsFolder(tmp_path)).model
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    state["conv1.0.weight"][:] = float("nan")
    torch.save(state, tmp_path / "broken.pth")
    broken = backbone(FileWeights(path=str(tmp_path / "broken.pth")), name="broken")
    with pytest.raises(NotFiniteError, match=r"^broken gives NaN .* first .*dark/000\.png"):
        bench.run(f"knn/imagefolder:{photos}", broken)


def test_absent_weights_are_a_weights_error_with_the_path(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=str(tmp_path / "no.pth")):
        bench.run("knn/digits", backbone(FileWeights(path=str(tmp_path / "no.pth"))))


def test_absent_data_are_a_data_error_with_the_path(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path / "data")):
        bench.run("knn/cifar10")


def test_an_unreadable_image_is_a_data_error_with_its_path(bench: Bench, photos: Path) -> None:
    (photos / "light" / "001.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"light/001\.png"):
        bench.run(f"knn/imagefolder:{photos}")
    assert [entry.state for entry in entries(bench.paths.features)] == ["partial"]


def test_a_metric_that_the_labels_cannot_have_is_a_data_error(bench: Bench, photos: Path) -> None:
    spec = CATALOG.resolve(f"knn/imagefolder:{photos}")
    wrong: DatasetCard = CATALOG.dataset(spec.dataset).model_copy(update={"metric": "map11"})
    with pytest.raises(DataError, match="does not fit the metric"):
        evaluate_task(
            backbone(),
            spec,
            wrong,
            seed=0,
            paths=bench.paths,
            device="cpu",
            reporter=bench.listener,
            encoder_cache=bench.cache,
        )


IDENTITY = {"weights": "a" * 64, "preprocessing": {"size": 224}}


def key(**changed: Any) -> str:
    given = {
        "identity": IDENTITY,
        "manifest": "b" * 64,
        "task": "linear/digits",
        "preset": "default",
        "seed": 0,
        "precision": "float32",
        "metric": "accuracy",
        "overrides": None,
        **changed,
    }
    spec = CATALOG.resolve(given["task"], given["preset"], given["overrides"])
    named = {"precision": given["precision"], "metric": given["metric"]}
    return result_key(given["identity"], given["manifest"], spec, given["seed"], **named)


@pytest.mark.parametrize(
    "changed",
    [
        {"identity": {**IDENTITY, "weights": "c" * 64}},
        {"identity": {**IDENTITY, "preprocessing": {"size": 256}}},
        {"manifest": "c" * 64},
        {"task": "knn/digits"},
        {"preset": "paper"},
        {"overrides": {"linear": {"max_iter": 500}}},
        {"seed": 1},
        {"precision": "bfloat16"},
        {"metric": "mean-per-class"},
    ],
    ids=["weights", "preprocessing", "data", "protocol", "preset", "parameter", "seed", "precision", "metric"],
)
def test_whatever_changes_the_number_changes_the_results_key(changed: dict[str, Any]) -> None:
    assert key(**changed) != key()


def test_names_alone_do_not_change_the_results_key() -> None:
    assert key(task="few-shot-5/digits", preset="paper") == key(task="few-shot-5/digits", preset="default")


class NothingLeft(Exception):  # noqa: N818 - no error
    """Raised by a helper when it has nothing to compute."""


@dataclass
class HelpedCache(CountingCache):
    """Has another process's part of the features computed during the first forward pass."""

    help: Callable[[], None] | None = None

    def get(
        self, card: BackboneCard, digest: str, weights: WeightsFolder, device: str, precision: Precision
    ) -> Encoder:
        encoder = super().get(card, digest, weights, device, precision)
        encoder.network.conv1.register_forward_pre_hook(lambda _module, _given: self._once())  # type: ignore[union-attr]
        return encoder

    def _once(self) -> None:
        help_now, self.help = self.help, None
        if help_now is not None:
            help_now()


def test_a_helper_computes_features_of_a_task_whose_score_and_speed_are_those_of_one_process(
    bench: Bench, tmp_path: Path
) -> None:
    alone = Bench(EvaluationPaths(tmp_path / "weights", tmp_path / "data", tmp_path / "alone")).run("knn/digits")
    task, helper = CATALOG.resolve("knn/digits", None, None), CountingCache()

    def over() -> None:
        raise NothingLeft

    def assist() -> None:
        with pytest.raises(NothingLeft):
            assist_task(
                backbone(),
                task,
                CATALOG.dataset(task.dataset),
                paths=bench.paths,
                device="cpu",
                reporter=SilentReporter(),
                encoder_cache=helper,
                while_waiting=over,
            )

    bench.cache = HelpedCache(help=assist)
    shared = bench.run("knn/digits")
    assert (shared.outcome.value, shared.provenance.encoded) == (alone.outcome.value, DIGITS)
    assert (alone.provenance.assisted, shared.provenance.assisted) == (0, sum(helper.batches))
    assert 0 < sum(helper.batches) < DIGITS == sum(helper.batches) + sum(bench.cache.batches)
    assert shared.provenance.images_per_s
