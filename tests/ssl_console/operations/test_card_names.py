from __future__ import annotations

from pathlib import Path

import pytest

from ssl_console.operations.card_names import NAME, name_of_checkpoint

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/w/dino_resnet50_pretrain.pth", "dino_resnet50_pretrain"),
        ("/w/vit_b16.v2.pth.tar", "vit_b16.v2"),
        ("/exp/simclr r50/model.safetensors", "simclr-r50"),
        ("/exp/my.run.v2/model-00001-of-00003.safetensors", "my.run.v2"),
        (f"/c/models--facebook--dinov2-base/snapshots/{COMMIT}/model.safetensors", "dinov2-base"),
        (f"/c/models--facebook--dinov2-base/snapshots/{COMMIT}", "dinov2-base"),
        ("/exp/dinov2-base/pytorch_model.bin", "dinov2-base"),
        ("/exp/moco/checkpoint_0199.pth.tar", "moco-checkpoint_0199"),
        ("/exp/moco/checkpoints/last.ckpt", "moco-last"),
        ("/exp/byol/lightning_logs/version_3/checkpoints/epoch=9-step=100.ckpt", "byol-epoch-9-step-100"),
        ("/exp/ibot/teacher_checkpoint.pth", "ibot"),
        ("/runs/last.pth", "last"),
        ("/ckpts/model.pth", "model"),
        ("/ckpts/.pth", "pth"),
    ],
)
def test_a_checkpoint_is_named_by_its_file_or_the_folder_that_tells_it_apart(path: str, name: str) -> None:
    assert name_of_checkpoint(Path(path)) == name


@pytest.mark.parametrize("name", ["../up", "a/../b", ".hidden", "a//b", "", "a b", "own/.x"])
def test_names_that_would_leave_the_folder_of_cards_are_no_names(name: str) -> None:
    assert NAME.fullmatch(name) is None
