"""Robustness: corruptions of this project, class maps of further test sets, one probe for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.retrieval_parameters import KINDS
from tasks.catalog.spec import TaskSpec, parse_overrides
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.datasets.presence import presence, signature
from tasks.datasets.registry import open_dataset
from tasks.datasets.shifts import CORRUPTIONS, corrupted, corrupted_split, shifts_of, without_shifts
from tasks.evaluation.features import evaluate_task
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths
from tasks.evaluation.splits import test_split as images_for_testing
from tasks.metrics.rescore import rescore
from tests.tasks.workspace_fixture import Listener, demo, shapes

TASKS = TaskCatalog.load()
NAMES = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041", "n01514668")
MORE = (*NAMES, "n01514859", "n01518878", "n01530575", "n01531178")


def picture() -> Image.Image:
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
    return small.resize((64, 48), Image.Resampling.BICUBIC)


# --- Corruptions


@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_changes_more_at_each_severity_and_repeats(kind: str) -> None:
    image = picture()
    changes = []
    for severity in range(1, 6):
        found = corrupted(image, kind, severity, 3)
        assert (found.size, found.mode) == (image.size, "RGB")
        assert found.tobytes() == corrupted(image, kind, severity, 3).tobytes()
        changes.append(np.abs(np.asarray(found, float) - np.asarray(image, float)).mean())
    assert changes == sorted(changes)
    assert changes[0] > 0


def test_random_corruptions_differ_from_image_to_image() -> None:
    assert set(CORRUPTIONS) == set(KINDS)
    for kind in ("noise", "occlusion"):
        assert corrupted(picture(), kind, 3, 0).tobytes() != corrupted(picture(), kind, 3, 1).tobytes()


def test_a_corrupted_split_has_a_digest_of_its_own_and_the_labels_of_the_images() -> None:
    split = open_dataset(shapes(6), Path("/nowhere")).splits["test"]
    one, other = (corrupted_split(split, "blur", severity) for severity in (1, 2))
    assert len({split.images_digest, one.images_digest, other.images_digest}) == 3
    assert np.array_equal(one.labels, split.labels)
    assert one.name == "console-blur-1"
    assert one.images[2].tobytes() == corrupted(split.images[2], "blur", 1, 2).tobytes()


def test_of_a_dataset_without_a_test_split_only_test_images_are_corrupted(tmp_path: Path) -> None:
    tree(tmp_path, dict.fromkeys(NAMES[:2], 10))
    dataset = open_dataset(TASKS.dataset(f"imagefolder:{tmp_path}"), tmp_path)
    found = images_for_testing(dataset)
    assert (len(dataset.splits["all"].images), len(found.images), len(found.labels)) == (20, 4, 4)


# --- Further test sets


def tree(root: Path, counts: dict[str, int], seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(0, 256, (20, 24, 3), np.uint8)).save(root / name / f"{number}.png")


def imagenet(root: Path) -> None:
    """A few images of twelve classes, with further sets in the layouts of their archives."""
    tree(root / "ImageNet" / "train", dict.fromkeys(MORE, 3))
    tree(root / "ImageNet" / "val", dict.fromkeys(MORE, 1), 1)
    numbers = {str(number): 1 for number in range(12)}
    tree(root / "ImageNetV2" / "imagenetv2-matched-frequency-format-val", numbers, 2)
    tree(root / "ImageNet-R" / "imagenet-r", {MORE[1]: 2, MORE[10]: 1}, 3)
    tree(root / "ImageNet-A" / "imagenet-a", {MORE[2]: 1, MORE[3]: 1, "n99999999": 2}, 4)
    tree(root / "ImageNet-Sketch" / "sketch", dict.fromkeys(MORE, 1), 5)


def task(also: str) -> TaskSpec:
    return TASKS.resolve("robustness/imagenet", None, parse_overrides([f"robustness.also={also}"]))


def card(also: str) -> DatasetCard:
    return TASKS.card_of(task(also))


def test_the_sets_of_imagenet_are_read_in_their_own_layouts_with_imagenets_classes(tmp_path: Path) -> None:
    imagenet(tmp_path)
    composite = card("imagenet-v2,imagenet-r,imagenet-a,imagenet-sketch")
    assert composite.name == "imagenet+imagenet-v2+imagenet-r+imagenet-a+imagenet-sketch"
    dataset = open_dataset(composite, tmp_path)
    found = shifts_of(dataset)
    by_file = dict(zip(found["imagenet-v2"].identifiers, found["imagenet-v2"].labels.tolist(), strict=True))
    assert by_file == {f"{number}/0.png": number for number in range(12)}  # 10 is not the third
    assert found["imagenet-r"].labels.tolist() == [1, 1, 10]
    assert found["imagenet-a"].labels.tolist() == [2, 3, -1, -1]
    assert found["imagenet-sketch"].labels.tolist() == list(range(12))
    assert any("2 images of imagenet-a are left out: imagenet+" in note for note in dataset.notes)
    assert set(without_shifts(dataset).splits) == {"train", "val"}


def test_the_identity_of_the_data_includes_the_further_sets_and_leaves_the_dataset_alone(tmp_path: Path) -> None:
    imagenet(tmp_path)
    before, alone = (open_dataset(one, tmp_path) for one in (card("imagenet-r"), TASKS.dataset("imagenet")))
    assert without_shifts(before).manifest_digest == alone.manifest_digest != before.manifest_digest
    mark = signature(card("imagenet-r"), tmp_path)
    tree(tmp_path / "ImageNet-R" / "imagenet-r", {MORE[4]: 1})
    assert open_dataset(card("imagenet-r"), tmp_path).manifest_digest != before.manifest_digest
    assert signature(card("imagenet-r"), tmp_path) != mark
    assert open_dataset(TASKS.dataset("imagenet"), tmp_path).manifest_digest == alone.manifest_digest


def test_a_set_that_is_missing_or_has_other_classes_is_refused_in_words(tmp_path: Path) -> None:
    tree(tmp_path / "ImageNet" / "train", dict.fromkeys(MORE, 2))
    tree(tmp_path / "ImageNet" / "val", dict.fromkeys(MORE, 1))
    found = presence(card("imagenet-v2"), tmp_path)
    assert found.status != "present"
    assert "imagenetv2-matched-frequency" in found.advice
    tree(tmp_path / "ImageNet-R" / "imagenet-r", {"dogs": 1, "cats": 1})
    with pytest.raises(DataError, match="imagenet-r has no class of imagenet"):
        open_dataset(card("imagenet-r"), tmp_path)


# --- The protocol


CHANGES = ["robustness.strengths=5", "robustness.corruptions=blur,noise", "robustness.severities=2,4"]


def run(root: Path, dataset: DatasetCard, listener: Listener, name: str = "robustness/shapes") -> Evaluation:
    changes = CHANGES if name.startswith("robustness") else ["linear.strengths=5"]
    return evaluate_task(
        demo("supervised"),
        TASKS.resolve(name, None, parse_overrides(changes)),
        dataset,
        seed=0,
        paths=EvaluationPaths(weights=root / "weights", data=root, features=root / "features"),
        device="cpu",
        reporter=listener,
        encoder_cache=EncoderCache(),
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetCard, Evaluation]:
    """Shapes with a further set of three of their classes and one that they do not have."""
    root = tmp_path_factory.mktemp("robust")
    base = shapes(40)
    split = open_dataset(base, root).splits["test"]
    classes = open_dataset(base, root).classes
    for number in np.flatnonzero(split.labels < 3):
        folder = root / "other" / classes[split.labels[number]]
        folder.mkdir(parents=True, exist_ok=True)
        split.images[int(number)].save(folder / f"{number}.png")
    (root / "other" / "zebra").mkdir()
    split.images[0].save(root / "other" / "zebra" / "0.png")
    other = TASKS.dataset(f"imagefolder:{root / 'other'}").model_copy(update={"name": "other"})
    with_other = base.model_copy(update={"shifts": (other,)})
    return root, with_other, run(root, with_other, Listener())


def test_the_probe_is_that_of_linear_and_each_image_is_encoded_once(
    measured: tuple[Path, DatasetCard, Evaluation],
) -> None:
    root, card, found = measured
    assert found.provenance.encoded == 40 + 40 + 4 * 40 + len(list((root / "other").rglob("*.png")))
    linear = run(root, shapes(40), Listener(), "linear/shapes")
    assert linear.provenance.encoded == 0
    assert linear.outcome.metrics["accuracy"] == found.outcome.metrics["accuracy"]
    again = run(root, card, Listener())
    assert again.provenance.encoded == 0
    assert again.outcome.metrics == found.outcome.metrics


def test_scores_are_those_of_a_plain_count_and_follow_from_stored_predictions(
    measured: tuple[Path, DatasetCard, Evaluation],
) -> None:
    outcome = measured[2].outcome
    arrays, metrics = outcome.predictions, outcome.metrics
    label = arrays["label"]
    blur = [float(100 * np.mean(arrays[f"predicted@console-blur-{severity}"] == label)) for severity in (2, 4)]
    assert metrics["accuracy@console-blur"] == pytest.approx(sum(blur) / 2)
    assert metrics["drop@console-blur"] == pytest.approx(metrics["accuracy"] - sum(blur) / 2)
    other = 100 * np.mean(arrays["predicted@other"] == arrays["label@other"])
    assert metrics["accuracy@other"] == pytest.approx(other)
    assert metrics["shifted"] == pytest.approx((metrics["accuracy@corruptions"] + other) / 2)
    rescorer = rescore("robustness", arrays)
    assert rescorer is not None
    assert rescorer.metrics(arrays) == pytest.approx(dict(metrics))
    assert rescorer.interval(arrays, "shifted") == outcome.interval
    assert outcome.interval.low < outcome.value < outcome.interval.high


def test_a_set_of_fewer_classes_is_scored_and_compared_among_these_alone(
    measured: tuple[Path, DatasetCard, Evaluation],
) -> None:
    """The further set is made of the test images of three classes, so nothing is lost on it."""
    outcome = measured[2].outcome
    arrays = outcome.predictions
    assert set(np.unique(arrays["predicted@other"])) <= {0, 1, 2}
    assert set(np.unique(arrays["clean@other"])) <= {0, 1, 2}
    few = np.isin(arrays["label"], [0, 1, 2])
    assert len(arrays["label@other"]) == int(few.sum())
    assert outcome.metrics["drop@other"] == pytest.approx(0)
    assert outcome.metrics["accuracy@other"] >= 100 * np.mean((arrays["predicted"] == arrays["label"])[few])
