"""Similarity of backbones from what is stored: features of the same images, test before train, nothing encoded."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_console.workspace.paths import Workspace
from tasks.features.manifest import ARRAY, MANIFEST, FeatureKey, FeatureManifest
from tests.ssl_console.cli.shell import Shell

ROWS = 40


def store(
    workspace: Workspace, backbone: str, split: str = "test", images: str = "1", seed: int = 0, dataset: str = "cars"
) -> None:
    """A complete entry of random features that share half of their variation."""
    key = FeatureKey({"weights": backbone}, images, "float32", {})
    folder = workspace.features / key.digest
    folder.mkdir(parents=True)
    common, own = (np.random.default_rng(one).standard_normal((ROWS, 6)) for one in (99, seed))
    np.save(folder / ARRAY, (common + own).astype(np.float32))
    manifest = FeatureManifest(
        key=key.digest,
        parts=key.parts,
        backbone=backbone,
        dataset=dataset,
        split=split,
        rows=ROWS,
        dimension=6,
        shards=(),
        images_per_s=None,
        array_bytes=(folder / ARRAY).stat().st_size,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())


def test_every_pair_of_stored_backbones_is_compared(shell: Shell, workspace: Workspace) -> None:
    for number, name in enumerate(("own/a", "own/b", "own/c")):
        store(workspace, name, seed=number)
        store(workspace, name, "train", images="2", seed=10 + number)
    store(workspace, "own/d", images="3", seed=4)
    found = shell("similarity", "cars", "--json").document
    assert (found["split"], found["images"], found["backbones"]) == ("test", ROWS, ["own/a", "own/b", "own/c"])
    assert [(one["first"], one["second"]) for one in found["pairs"]] == [
        ("own/a", "own/b"),
        ("own/a", "own/c"),
        ("own/b", "own/c"),
    ]
    for one in found["pairs"]:
        assert 0.1 < one["cka"] < 0.9
        assert one["cka_low"] < one["cka"] < one["cka_high"]
        assert one["mutual_knn"] > 10 / (ROWS - 1)
    for measure, matrix in found["matrices"].items():
        values = {(one["first"], one["second"]): one[measure] for one in found["pairs"]}
        assert matrix[0][1:] == [values["own/a", "own/b"], values["own/a", "own/c"]]
        assert [row[number] for number, row in enumerate(matrix)] == [1.0, 1.0, 1.0]
        assert [list(column) for column in zip(*matrix, strict=True)] == matrix
    assert set(found["matrices"]) == {"cka", "mutual_knn"}
    printed = shell("similarity", "cars", "-b", "own/a", "-b", "own/c")
    assert printed.out.count("own/") == 2
    assert "chance of mutual k-NN: 0.256" in printed.err


def test_a_backbone_without_stored_features_is_named_with_the_way_to_store_them(
    shell: Shell, workspace: Workspace
) -> None:
    store(workspace, "own/a")
    failed = shell("similarity", "cars", "-b", "own/a", "-b", "own/x")
    assert failed.code != 0
    assert "own/x has no stored features on cars to compare: `ssl-console run -b BACKBONE -t knn/cars`" in failed.err


@pytest.mark.parametrize("name", ["pets"])
def test_a_dataset_without_stored_features_is_named(shell: Shell, name: str) -> None:
    assert f"{name} has no stored features on {name}" in shell("similarity", name).err
