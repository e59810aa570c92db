"""Files of public boards: the attentive board's rules of comparability, timm's test images, wrong files."""

from __future__ import annotations

import json
from pathlib import Path, PurePath

import pytest

from ssl_console.analysis.published import references
from ssl_console.analysis.published.board_files import BoardFileError, read_board
from ssl_console.analysis.published.tables import PublishedTable
from ssl_console.workspace.badges import CHOSEN_ON_TEST
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave

BOARD = """\
family,method,arch,pretrain,eval,image_size,lp,lp_gap,ep,ep_queries,ep_variant,model,loader,pretrain_tag,finetune,\
lp_variant,lp_log,ep_log,notes,verified,amp,waiting,gap_reason,knn,knn_k,knn_T,knn_log,extra_flags
MIM,MAE,ViT-B/16,IN-1K,IN-1K,224,67.78,no,75.46,32,ep,vit_base_patch16,,,\
vit_base_patch16_224.mae,cls,l,e,,yes,,,,35.57,20,0.07,k,
Hybrid,DINOv2,ViT-L/14,LVD-142M,IN-1K,224,85.25,no,85.56,32,ep_all,dinov2_vitl14,hub,,,\
cls,l,e,"Q=32, not 64",yes,,,,81.02,15,0.07,k,
VLM,CLIP,ViT-L/14,WIT-400M,IN-1K,224,82.51,no,83.22,32,ep,ViT-L-14,openclip,openai,,cls,l,e,,yes,,,,73.53,15,0.1,k,
VLM,SigLIP2,ViT-L/16,"WebLI (10B imgs, 109 langs)",IN-1K,256,85.32,yes,87.11,32,ep,V,\
openclip,webli,,pos,l,e,,yes,,,attn_pool,76.21,15,0.07,k,
GEN,DiT,DiT-XL/2,IN-1K,IN-1K,256,32.70,yes,57.00,128,ep,DiT-XL/2,dit,,,pos,l,e,\
Both arms manually stopped,yes,,,no_cls,5.25,50,0.07,k,
"""
"""The board's own header, and five of its rows with shorter notes."""
TIMM = """\
model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation,top1_diff,top5_diff,rank_diff
eva02_large_patch14_448.mim_m38m_ft_in22k_in1k,88.227,11.773,97.093,2.907,305.08,448,1.000,bicubic,-10.623,-2.787,+1
vit_base_patch16_224.augreg2_in21k_ft_in1k,43.200,56.800,72.720,27.280,86.57,224,0.900,bicubic,-54.1,-26.5,-40
eva_giant_patch14_560.m30m_ft_in22k_in1k,87.573,12.427,96.893,3.107,"1,014.45",560,1.000,bicubic,-11.257,-3.007,+1
"""
CARDS = {"vit_base_patch16_224.augreg2_in21k_ft_in1k": "timm/augreg-vit-b16"}


def board(text: str = BOARD, name: str = "results.csv") -> PublishedTable:
    return read_board(PurePath(name), text, CARDS)


def scores(table: PublishedTable, backbone: str) -> dict[str, float]:
    return {f"{one.task} {one.variant}": one.value for one in table.results() if one.backbone == backbone}


def test_rows_of_other_sizes_tokens_and_queries_are_in_columns_of_their_own() -> None:
    table = board()
    assert scores(table, "timm/mae-vit-b16") == {
        "knn/imagenet ep": 35.57,
        "linear-heads/imagenet ep": 67.78,
        "attentive/imagenet ep": 75.46,
    }
    assert "attentive/imagenet ep-all" in scores(table, "timm/dinov2-vit-l14")
    assert scores(table, "timm/siglip2-vit-l16")["linear-heads/imagenet ep-mean-256"] == 85.32
    assert scores(table, "board/dit-dit-xl-2")["attentive/imagenet ep-q128-256"] == 57.0


def test_every_number_of_the_board_is_marked_as_chosen_on_test_images() -> None:
    assert {one.badges for one in board().results()} == {(CHOSEN_ON_TEST,)}


def test_reasons_not_to_compare_a_row_are_remarked() -> None:
    remarks = board().remarks
    assert remarks["timm/clip-vit-l14"] == "linear and attentive probe read different widths"
    assert remarks["board/dit-dit-xl-2"] == "stopped early"
    assert "timm/mae-vit-b16" not in remarks


def test_the_whole_attentive_board_is_shipped() -> None:
    (shipped,) = [table for table in references() if "attentive board" in table.title]
    assert len(shipped.rows) == 37
    read = board()
    for name in read.rows:
        expected = scores(read, name)
        assert scores(shipped, name) == expected, name


def test_timm_results_have_the_test_images_of_the_file_and_the_names_of_cards() -> None:
    table = board(TIMM, "results-imagenet-a.csv")
    assert scores(table, "timm/augreg-vit-b16") == {"classifier/imagenet-a timm": 43.2}
    assert (table.columns[0].chosen_on, table.columns[0].n) == ("fixed", 7_500)
    assert board(TIMM, "results-imagenet.csv").columns[0].chosen_on == "test"
    assert table.remarks["timm-results/eva_giant_patch14_560.m30m_ft_in22k_in1k"] == "560 px, crop 1.000, bicubic"


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("a,b\n1,2\n", "x.csv", "its columns are a, b"),
        ("", "x.csv", "columns are none"),
        (TIMM, "x.csv", "recognised by their names"),
        (TIMM.replace("88.227", "nan"), "results-imagenet-a.csv", "line 2, eva02_large.*top1 is 'nan'"),
        (BOARD.replace("67.78", "678"), "results.csv", "line 2, MAE ViT-B/16: lp is '678'"),
        (BOARD.replace(",IN-1K,224,67", ",IN-1K,,67"), "results.csv", "image_size is ''"),
        (
            TIMM.replace('"1,014.45"', "1,014.45"),
            "results-imagenet.csv",
            "line 4 has more cells than there are columns",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(text: str, name: str, words: str) -> None:
    with pytest.raises(BoardFileError, match=words):
        board(text, name)


def test_a_board_that_was_added_is_listed_compared_and_replaces_shipped_columns(
    shell: Shell, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "results.csv"
    path.write_text(BOARD.replace("35.57", "36.57"))
    added = shell("ledger", "add", str(path))
    assert added.code == 0, added.err
    assert "5 backbones, 4 of them with a card" in added.out
    listed = shell("ledger", "list", "-b", "timm/mae-vit-b16", "-t", "knn/*", "--json").document["published"]
    assert [(one["value"], one["chosen_on"], one["provenance"]) for one in listed] == [(36.57, "test", "read")]
    leave(workspace, "timm/mae-vit-b16", "knn/imagenet", 0.36, variant="ep", protocol="knn", dataset="imagenet")
    document = json.loads(shell("compare", "timm/mae-vit-b16", "--published", "--json").out)
    others = {(one["key"], one["published"]) for one in document["other_protocols"]}
    compared = {(one["key"], entry["published"]) for one in document["columns"] for entry in one["backbones"]}
    assert ("published|knn/imagenet|accuracy|ep", 36.57) in compared | others


def test_a_damaged_board_is_named(shell: Shell, workspace: Workspace, tmp_path: Path) -> None:
    wrong = tmp_path / "mine.json"
    wrong.write_text('{"title": "x", "source": "y", "columns": [], "rows": {"own/a": [1.0]}}')
    refused = shell("ledger", "add", str(wrong))
    assert refused.code == 2
    assert "row own/a has 1 numbers for 0 columns" in refused.err
    (workspace.root / "ledger").mkdir()
    (workspace.root / "ledger" / "torn.json").write_text("{")
    assert "torn.json is not a table of published scores" in shell("ledger", "list").err


def test_marks_of_numbers_that_were_not_read_at_their_source_are_shown(shell: Shell) -> None:
    listed = shell("ledger", "list", "-t", "depth/nyuv2-depth", "-t", "depth/kitti")
    assert listed.code == 0
    assert "from memory, not checked" in listed.out
    assert "cited by a third party" in listed.out
