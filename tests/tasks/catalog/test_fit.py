"""The protocols offered for a dataset follow from the needs of protocols and the targets of the dataset."""

from __future__ import annotations

from typing import Any

import pytest

from backbones.io.card_files import MalformedName, UnknownName
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS, suitable_protocols
from tasks.catalog.spec import parse_overrides
from tasks.datasets.card import DatasetCard
from tasks.datasets.layouts import LAYOUTS, targets_of
from tasks.datasets.registry import open_dataset

BUILT_IN = TaskCatalog.load()
ON_LABELS = {name for name, spec in PROTOCOLS.items() if spec.needs == ("labels",)}


def card(**changed: Any) -> DatasetCard:
    return DatasetCard.model_validate({"name": "own", "title": "Own", "reader": "listed", **changed})


def offered(**changed: Any) -> set[str]:
    return set(suitable_protocols(card(**changed)))


def test_labels_alone_are_offered_for_every_protocol_on_labels() -> None:
    assert offered(classes=10) == ON_LABELS


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["boxes"], {"detection-frozen", "detection-finetune"}),
        (["masks"], {"segmentation", "linear-segmentation", "knn-segmentation", "knn-segmentation-capi"}),
        (["normals"], {"normals"}),
        (["depth"], {"depth"}),
        (["keypoint-pairs"], {"correspondence"}),
    ],
)
def test_dense_targets_are_offered_for_the_protocols_that_need_them(targets: list[str], expected: set[str]) -> None:
    assert offered(targets=targets) == expected


ONE_LABEL = {"linear-heads", "layers", "k-shot", "transferability", "attentive", "retrieval", "clustering"}
ONE_LABEL |= {"finetune-vit", "robustness", "transferability-sample"}
"""Protocols on single labels with a separate test split."""


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"metric": "map11"}, {"few-shot-5", "few-shot-20", "few-shot-50", *ONE_LABEL}),
        ({"classes": 4}, {"few-shot-5", "few-shot-20", "few-shot-50"}),
        ({"most_shots": 20}, {"few-shot-50"}),
        ({"splits": "all"}, {"linear", "knn", "finetune", "colour", "label-free", *ONE_LABEL}),
        ({"images": {"train": 1_200_000, "val": 50_000}}, {"finetune", "few-shot-5", "few-shot-20", "few-shot-50"}),
    ],
)
def test_a_limit_of_the_dataset_excludes_what_it_does_not_suit(changed: dict[str, Any], missing: set[str]) -> None:
    assert ON_LABELS - offered(**changed) == missing


def test_a_limit_depends_on_the_parameters_that_are_chosen() -> None:
    three = TaskCatalog({"own": card(classes=3)}, {}, {})
    with pytest.raises(MalformedName, match="few-shot-5: it has 3 classes, and an episode has 5"):
        three.resolve("few-shot-5/own")
    assert three.resolve("few-shot-5/own", overrides=parse_overrides(["few-shot.ways=3"])).dataset == "own"


def test_an_older_card_is_restricted_to_the_protocols_that_it_lists() -> None:
    assert offered(protocols=["linear", "few-shot-*"]) == {"linear", "few-shot-5", "few-shot-20", "few-shot-50"}
    assert offered(protocols=["few-shot-*"], most_shots=5) == {"few-shot-5"}
    own = TaskCatalog({"own": card(protocols=["linear"])}, {}, {})
    with pytest.raises(MalformedName, match="knn: its card names other protocols; its protocols are linear"):
        own.resolve("knn/own")


def test_an_older_card_that_names_a_protocol_in_full_is_offered_it_without_a_check() -> None:
    assert offered(protocols=["linear", "finetune"], splits="all", images={"all": 2_000_000}) == {"linear", "finetune"}


def test_an_older_card_of_a_reader_with_dense_targets_needs_not_list_them() -> None:
    scenes = card(reader="shapes", reader_arguments={"dense": True}, protocols=["detection-*"])
    assert set(suitable_protocols(scenes)) == {"detection-frozen", "detection-finetune"}


def test_a_name_or_glob_that_fits_no_protocol_is_an_error() -> None:
    with pytest.raises(UnknownName, match="no protocol is named 'liner'"):
        suitable_protocols(card(protocols=["liner"]))


@pytest.mark.parametrize("name", BUILT_IN.datasets)
def test_the_targets_on_a_built_in_card_are_among_those_of_its_reader(name: str) -> None:
    found = BUILT_IN.dataset(name)
    assert found.targets is not None
    assert set(found.targets) <= set(LAYOUTS[found.reader].targets_for(found.reader_arguments))


@pytest.mark.parametrize("name", [name for name, one in BUILT_IN.datasets.items() if LAYOUTS[one.reader].embedded])
def test_an_embedded_dataset_has_the_targets_that_it_declares(name: str, tmp_path: Any) -> None:
    found = BUILT_IN.dataset(name).model_copy(update={"images": {}})
    fewer = {"shapes": {"train": 2, "test": 2}, "shapes-pairs": {"pairs": 1}}
    if found.reader in fewer:
        arguments = {**found.reader_arguments, **fewer[found.reader]}
        found = found.model_copy(update={"reader_arguments": arguments})
    for split in open_dataset(found, tmp_path).splits.values():
        assert set(targets_of(found)) <= {"labels", *split.targets}


def test_a_task_whose_dataset_does_not_fit_is_refused_with_the_reason() -> None:
    card = DatasetCard(
        name="pairs", title="", reader="listed", classes=2, reader_arguments={"path": "/x", "index": "/y"}
    )
    catalog = TaskCatalog({"pairs": card}, {}, {})
    with pytest.raises(MalformedName, match="few-shot-5: it has 2 classes, and an episode has 5"):
        catalog.select(["few-shot-5/pairs"])
