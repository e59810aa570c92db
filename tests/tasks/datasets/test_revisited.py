"""rOxford5k and rParis6k on a miniature of the real layout: cropped queries, pickles read as data, published scores."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.retrieval_parameters import InstanceRetrievalParameters
from tasks.datasets.dataset import DataError, Dataset, Relevance
from tasks.datasets.images import pixels_of
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices
from tasks.evaluation.inputs import BankInputs
from tasks.evaluation.splits import SplitFeatures
from tasks.metrics.rescore import rescore
from tasks.metrics.retrieval import buildings
from tasks.protocols.instance_retrieval import evaluate
from tasks.reporter import SilentReporter

CARD = TaskCatalog.load().dataset("roxford5k")
DATABASE = [f"all_souls_{number:06d}" for number in range(30)]
QUERIES = [f"christ_church_{number:06d}" for number in range(6)]


def ground_truth() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    entries = []
    for query in range(len(QUERIES)):
        rows = 10 * (query // 2) + generator.permutation(10)
        easy, hard, junk = rows[:3].tolist(), rows[3:5], rows[5:7].tolist()
        entries.append({"bbx": [2.2, 4.6, 20.0, 14.0], "easy": easy, "hard": hard, "junk": junk})
    entries[5] |= {"hard": [], "easy": [], "junk": []}
    return {"imlist": DATABASE, "qimlist": QUERIES, "gnd": entries}


def tree(root: Path, content: object, dataset: str = "roxford5k") -> Path:
    folder = root / dataset / "jpg"
    folder.mkdir(parents=True)
    for number, name in enumerate([*DATABASE, *QUERIES]):
        Image.new("RGB", (24, 16), (7 * number, 0, 0)).save(folder / f"{name}.jpg")
    (folder.parent / f"gnd_{dataset}.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(CARD, tree(tmp_path_factory.mktemp("data"), ground_truth()))


def test_the_database_and_cropped_queries_are_read_from_the_published_layout(dataset: Dataset) -> None:
    assert len(dataset.splits["train"].images) == 30
    queries = dataset.splits["test"]
    assert queries.images[0].size == (18, 9)
    assert np.asarray(pixels_of(queries.images, 0)).shape == (9, 18, 3)
    assert queries.images_digest != dataset.splits["train"].images_digest
    truth = queries.targets["relevance"][0]
    assert truth.easy.tolist() == sorted(ground_truth()["gnd"][0]["easy"])


def test_another_box_is_another_dataset(tmp_path: Path, dataset: Dataset) -> None:
    other = ground_truth()
    other["gnd"][0]["bbx"] = [0.0, 0.0, 20.0, 14.0]
    found = open_dataset(CARD, tree(tmp_path, other))
    assert found.splits["test"].images_digest != dataset.splits["test"].images_digest
    assert found.manifest_digest != dataset.manifest_digest


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch /tmp/never",)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ground_truth().items() if key != name}


def with_entry(**changed: object) -> dict[str, Any]:
    content = ground_truth()
    content["gnd"][0] |= changed
    return content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({**ground_truth(), "gnd": Attack()}, "it requires the name posix.system, and nothing was run"),
        (without("qimlist"), "qimlist"),
        ({**ground_truth(), "imlist": ["../../etc/passwd"]}, "outside of its folder"),
        ({**ground_truth(), "gnd": []}, "6 queries have 0 entries"),
        (with_entry(easy=[30]), "not among the 30"),
        (with_entry(easy=[1], junk=[1]), "names an image twice"),
        (with_entry(bbx=[5, 5, 5, 9]), "the box of the query christ_church_000000"),
        ([1, 2], "not a dictionary"),
    ],
)
def test_a_ground_truth_that_says_something_else_is_refused(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(DataError, match=r"gnd_roxford5k\.pkl") as error:
        open_dataset(CARD, tree(tmp_path, content))
    assert words in str(error.value)


def test_bytes_that_are_no_pickle_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, ground_truth())
    (root / "roxford5k" / "gnd_roxford5k.pkl").write_bytes(b"\x80\x02}q")
    with pytest.raises(DataError, match=r"gnd_roxford5k\.pkl has unexpected content"):
        open_dataset(CARD, root)


def inputs_of(dataset: Dataset) -> BankInputs:
    generator = np.random.default_rng(3)
    features = {name: generator.standard_normal((len(one.images), 8)) for name, one in dataset.splits.items()}
    stored = {name: rows.astype(np.float32) for name, rows in features.items()}
    return SplitFeatures(dataset, "accuracy", stored).bank(many_shot_indices(dataset))


def published(ranks: npt.NDArray[np.int64], truth: list[Relevance], setup: str) -> tuple[float, float]:
    """compute_map of revisitop's evaluate.py, with its loops, on ranks [images, queries]; mAP and mP@10 in percent."""
    total, precision, empty = 0.0, 0.0, 0
    for query, one in enumerate(truth):
        ok, junk = {
            "easy": ([*one.easy], [*one.junk, *one.hard]),
            "medium": ([*one.easy, *one.hard], [*one.junk]),
            "hard": ([*one.hard], [*one.junk, *one.easy]),
        }[setup]
        if not ok:
            empty += 1
            continue
        pos = np.arange(len(ranks))[np.isin(ranks[:, query], ok)]
        skipped = np.arange(len(ranks))[np.isin(ranks[:, query], junk)]
        pos = np.array([place - (skipped < place).sum() for place in pos])
        step = 1.0 / len(ok)
        for number, rank in enumerate(pos):
            before = 1.0 if rank == 0 else number / rank
            total += (before + (number + 1) / (rank + 1)) * step / 2
        depth = min(max(pos + 1), 10)
        precision += (pos + 1 <= depth).sum() / depth
    return 100 * total / (len(truth) - empty), 100 * precision / (len(truth) - empty)


def test_scores_are_those_of_the_published_loops(dataset: Dataset) -> None:
    inputs = inputs_of(dataset)
    outcome = evaluate(inputs, InstanceRetrievalParameters(), 0, SilentReporter())
    bank, queries = (one.features[:] for one in (inputs.bank, inputs.test))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (bank, queries)]
    ranks = np.argsort(-(unit[0] @ unit[1].T), axis=0)
    given = dataset.splits["test"].targets["relevance"]
    truth = [given[query] for query in range(len(given))]
    for setup in ("easy", "medium", "hard"):
        expected = published(ranks, truth, setup)
        assert (outcome.metrics[f"map-{setup}"], outcome.metrics[f"mp@10-{setup}"]) == pytest.approx(expected)
    assert outcome.headline == "map-medium"
    assert outcome.interval.low < outcome.value < outcome.interval.high


def test_stored_scores_give_means_and_interval_again(dataset: Dataset) -> None:
    outcome = evaluate(inputs_of(dataset), InstanceRetrievalParameters(), 0, SilentReporter())
    rescorer = rescore("instance-retrieval", outcome.predictions)
    assert rescorer is not None
    assert rescorer.metrics(outcome.predictions) == outcome.metrics
    assert rescorer.interval(outcome.predictions, "map-medium") == outcome.interval


def test_queries_that_share_an_image_are_of_one_building() -> None:
    def query(*images: int) -> Relevance:
        return Relevance(np.array(images[:1]), np.array(images[1:], np.int64), np.array([], np.int64))

    found = buildings([query(1, 2), query(5, 6), query(2, 3), query(9), query(3, 5)])
    assert len(set(found[[0, 1, 2, 4]].tolist())) == 1
    assert found[3] != found[0]


def test_the_protocol_is_offered_for_databases_with_queries_alone() -> None:
    catalog = TaskCatalog.load()
    names = [name for name in catalog.task_names if name.startswith("instance-retrieval/")]
    assert names == ["instance-retrieval/roxford5k", "instance-retrieval/rparis6k"]
    assert [name for name in catalog.task_names if name.endswith("/roxford5k")] == names[:1]
    assert PROTOCOLS["instance-retrieval"].needs == ("relevance",)
