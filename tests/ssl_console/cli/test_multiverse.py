"""`multiverse`: from stored features to a table, a curve and a sentence; whatever is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell

VIT = """
title = "A tiny ViT"
architecture = "test_vit"
architecture_arguments = { img_size = 32, patch_size = PATCH }
weights = { kind = "random" }
input = { size = 32 }
facts = { method = "none" }
"""
SCENES = """
title = "A few scenes"
reader = "shapes"
classes = 8
images = { train = 60, test = 40 }
reader_arguments = { kind = "object", factor = "hue", train = 60, test = 40, size = 32, seed = 5 }
"""
CARD = 'title = "small"\npoolings = ["cls", "mean"]\nblocks = ["last"]\nheads = ["knn", "centroid"]\nseeds = [0]\n'


@pytest.mark.slow
def test_stored_features_give_a_table_a_curve_and_a_sentence(
    shell: Shell, workspace: Workspace, tmp_path: Path
) -> None:
    for patch in (8, 16):
        path = workspace.backbones / "tiny" / f"patch-{patch}.toml"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(VIT.replace("PATCH", str(patch)))
    (workspace.tasks / "few.toml").write_text(SCENES)
    assert shell("run", "-b", "tiny/*", "-t", "layers/few", "--override").code == 0
    card, figure = tmp_path / "small.toml", tmp_path / "curve.svg"
    card.write_text(CARD)
    printed = shell("multiverse", "--data", "few", "--card", str(card), "--figure", str(figure))
    assert printed.code == 0, printed.err
    assert "of 4 protocols" in printed.out or "equally often over 4" in printed.out or "all 4" in printed.out
    assert "40 test images of few" in printed.err
    assert figure.read_text().startswith("<?xml")
    document = shell("multiverse", "--data", "few", "-b", "tiny/*", "--card", str(card), "--json").document
    assert [len(one["scores"]) for one in document["scores"]] == [4, 4]


def test_without_stored_features_the_command_that_stores_them_is_named(shell: Shell) -> None:
    finished = shell("multiverse", "--data", "digits")
    assert finished.code == 2
    assert "`ssl-console run -b BACKBONE -t layers/digits`" in finished.err


def test_a_card_with_an_unknown_key_or_no_choices_is_refused(shell: Shell, tmp_path: Path) -> None:
    for text, word in (("pooling = []", "poolings"), ("heads = []", "at least one"), ('heads = ["svm"]', "svm")):
        card = tmp_path / "card.toml"
        card.write_text(text)
        finished = shell("multiverse", "--data", "digits", "--card", str(card))
        assert finished.code == 2
        assert word in finished.err
