"""Finetuning by AdamW: layer decay, low-rank additions, mixtures and averages as published, resumed bit for bit."""

from __future__ import annotations

import random as python_random
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data.auto_augment import LEVEL_TO_ARG, NAME_TO_OP
from timm.data.mixup import mixup_target
from torch import nn
from torch.nn import functional

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import FeatureMapQuery
from backbones.io.errors import WeightsError
from backbones.model.feature_maps import dissect
from tasks.catalog.finetune_parameters import (
    DEIT3,
    MAE,
    SMALL_VIT,
    FinetuneVitParameters,
    without_layers,
)
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.outcome import Outcome
from tasks.metrics.rescore import rescore
from tasks.protocols.finetune.augmentation import (
    NAMES,
    POLICY,
    SIGNED,
    auto_augmented,
    erased,
    mixed,
    operation,
)
from tasks.protocols.finetune.vit_protocol import evaluate
from tasks.protocols.finetune.vit_training import (
    AveragedClassifier,
    LowRankLinear,
    TokenClassifier,
    add_low_rank,
    layer_of,
    parameter_groups,
)
from tasks.reporter import SilentReporter
from tests.tasks.workspace_fixture import demo, image_inputs, network, shapes

FEW = replace(SMALL_VIT, steps=3, batch_size=8, head_steps=2, rates=(1e-3, 3e-3))
EVERYTHING = replace(
    FEW,
    drop_path=0.2,
    rand_augment=9.0,
    erase=0.5,
    mixup=0.8,
    cutmix=1.0,
    smoothing=0.1,
    average=0.9,
    clip=1.0,
    pooling="mean",
)
KINDS = {
    "all": FEW,
    "everything": EVERYTHING,
    "lora": replace(FEW, trained="lora", targets=("q", "v", "fc1"), rates=(1e-2,), head_steps=0),
    "bias": replace(FEW, trained="bias", rates=(1e-2,), epochs=1.0),
    "head": replace(FEW, trained="head", rates=(1e-2,)),
}


class Interrupted(SilentReporter):
    """Ends the process at a step; None: never."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.steps = at, 0

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        self.steps += name == "loss"
        if self.steps == self.at:
            raise ConnectionAbortedError("the process ends here")


def inputs_for(folder: Path, card: BackboneCard) -> ImageInputs:
    return replace(image_inputs(card, folder, shapes(16, "shapes-hue"), kept=True), checkpoint_s=0.0)


def tiny() -> BackboneCard:
    return network("test_vit", img_size=64, patch_size=8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_interrupted_at_any_step_ends_at_the_same_numbers(tmp_path: Path, kind: str) -> None:
    parameters = KINDS[kind]
    listener = Interrupted()
    whole = evaluate(inputs_for(tmp_path / "whole", tiny()), parameters, 0, listener)
    at = int(np.random.default_rng().integers(2, listener.steps))
    with pytest.raises(ConnectionAbortedError):
        evaluate(inputs_for(tmp_path / "cut", tiny()), parameters, 0, Interrupted(at))
    again = evaluate(inputs_for(tmp_path / "cut", tiny()), parameters, 0, SilentReporter())
    assert again.metrics == whole.metrics
    assert again.diagnostics == whole.diagnostics
    assert all(np.array_equal(values, again.predictions[name]) for name, values in whole.predictions.items())
    check(whole, several=len(parameters.grid) > 1)


def check(outcome: Outcome, *, several: bool) -> None:
    counted = rescore("finetune-vit", outcome.predictions)
    assert counted is not None
    assert counted.metrics(outcome.predictions) == pytest.approx(dict(outcome.metrics))
    assert ("validation_score" in outcome.diagnostics) == several
    assert ("ece_scaled" in outcome.metrics) == several


def test_a_convnet_is_finetuned_and_refused_what_only_transformers_have(tmp_path: Path) -> None:
    card = demo("simclr")
    found = evaluate(inputs_for(tmp_path, card), replace(FEW, rates=(1e-3,), head_steps=0), 0, SilentReporter())
    assert np.isfinite(found.value)
    info = dissect(FeatureMapQuery.of(card))
    assert without_layers(card, info, FEW) is None
    for changed in ({"trained": "lora"}, {"pooling": "mean"}):
        reason = without_layers(card, info, replace(FEW, **changed))  # type: ignore[arg-type]
        assert reason is not None
        assert "is not a plain transformer" in reason


def test_an_architecture_that_cannot_drop_branches_is_refused_with_the_way_out(tmp_path: Path) -> None:
    inputs = inputs_for(tmp_path, network("vgg11", 64))
    with pytest.raises(WeightsError, match=r"finetune-vit\.drop_path=0"):
        TokenClassifier(inputs, replace(FEW, drop_path=0.1), 0)


# --- Layer decay


def test_layers_of_a_transformer_are_maes() -> None:
    model: Any = timm.create_model("test_vit", num_classes=0)
    layers, last = layer_of(model)

    def published(name: str) -> int:
        if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
            return 0
        return int(name.split(".")[1]) + 1 if name.startswith("blocks") else len(model.blocks) + 1

    assert last == len(model.blocks) + 1
    assert layers == {name: published(name) for name, _ in model.named_parameters()}


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "vgg11"])
def test_layers_of_other_architectures_rise_and_the_head_is_last(name: str) -> None:
    layers, last = layer_of(timm.create_model(name, num_classes=0))
    assert min(layers.values()) == 0
    assert last >= 1
    assert max(layers.values()) <= last


def test_vectors_and_tokens_do_not_decay_and_the_head_has_the_full_rate() -> None:
    backbone: Any = timm.create_model("test_vit", num_classes=0)
    model = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(64, 3)})
    groups = parameter_groups(model, backbone, 1.0, 0.5, 0.05, 1.0)
    by_parameter = {id(one): (group["lr"], group["weight_decay"]) for group in groups for one in group["params"]}
    assert len(by_parameter) == len(list(model.parameters()))
    head = model["head"]
    assert by_parameter[id(head.weight)] == (1.0, 0.05)
    assert by_parameter[id(head.bias)] == (1.0, 0.0)
    assert by_parameter[id(backbone.norm.weight)] == (1.0, 0.0)
    assert by_parameter[id(backbone.pos_embed)] == (0.5 ** (len(backbone.blocks) + 1), 0.0)
    assert by_parameter[id(backbone.blocks[0].attn.qkv.weight)] == (0.5 ** len(backbone.blocks), 0.05)


# --- LoRA


def test_low_rank_additions_are_two_products_on_queries_and_values_and_nothing_at_first() -> None:
    linear = nn.Linear(6, 12)
    layer = LowRankLinear(linear, [0, 2], 3, rank=2, scale=4.0)
    given = torch.randn(5, 6)
    assert torch.equal(layer(given), linear(given))
    for up in layer.up:
        nn.init.normal_(up)
    expected = linear(given).detach().clone()
    weight = linear.weight.detach().clone()
    weight[0:4] += 2.0 * layer.up[0] @ layer.down[0]
    weight[8:12] += 2.0 * layer.up[1] @ layer.down[1]
    assert torch.allclose(layer(given), functional.linear(given, weight, linear.bias), atol=1e-5)
    assert torch.allclose(layer(given)[:, 4:8], expected[:, 4:8])


def test_additions_are_all_that_is_trained_and_unknown_layers_are_refused() -> None:
    model: Any = timm.create_model("test_vit", num_classes=0)
    replaced = add_low_rank(model, ("q", "v", "fc2"), 4, 4.0)
    assert len(replaced) == 2 * len(model.blocks)
    trained = [name for name, one in model.named_parameters() if one.requires_grad]
    assert all(".down." in name or ".up." in name for name in trained)
    assert len(trained) == len(model.blocks) * (4 + 2)
    with pytest.raises(DataError, match=r"finetune-vit\.targets"):
        add_low_rank(timm.create_model("resnet18", num_classes=0), ("q",), 4, 4.0)


# --- Mixtures, erasing, operations, averages


def test_targets_are_those_of_timm() -> None:
    labels = torch.tensor([0, 3, 1, 2])
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8).clone()
    how = replace(FEW, mixup=0.8, smoothing=0.1)
    seen, targets = mixed(images, labels, 5, how, np.random.default_rng(0))
    share = float(np.random.default_rng(0).beta(0.8, 0.8))
    assert torch.allclose(targets, cast("Any", mixup_target)(labels, 5, share, 0.1), atol=1e-6)
    assert torch.allclose(seen, images * share + images.flip(0) * (1 - share))
    unchanged = mixed(images, labels, 5, FEW, np.random.default_rng(0))[1]
    assert torch.allclose(unchanged, functional.one_hot(labels, 5).float())


def test_cutmix_weighs_labels_by_the_area_that_is_left() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).clone()
    for seed in range(8):
        how = replace(FEW, cutmix=1.0)
        seen, targets = mixed(images, torch.arange(4), 4, how, np.random.default_rng(seed))
        left = float((seen[0, 0] == 0).float().mean())
        assert targets[0].tolist() == pytest.approx([left, 0, 0, 1 - left], abs=1e-6)


def test_erased_boxes_are_noise_and_the_rest_is_kept() -> None:
    images = torch.zeros(64, 3, 32, 32)
    found = erased(images, 0.5, np.random.default_rng(0))
    touched = (found != 0).any(dim=1)
    shares = touched.float().mean(dim=(1, 2))
    assert 15 < int((shares > 0).sum()) < 50
    assert 0.015 < float(shares[shares > 0].min()) < float(shares.max()) < 0.36
    assert abs(float(found[:, :, :, :][touched[:, None].expand_as(found)].std()) - 1) < 0.05


@pytest.mark.parametrize("name", [*NAMES, *sorted({name for pair in POLICY for name, _, _ in pair})])
def test_operations_are_those_of_timm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    for level, sign in ((9.0, 1), (3.5, -1)):
        monkeypatch.setattr(python_random, "random", lambda sign=sign: 0.1 if sign == 1 else 0.9)
        to_arguments: Any = LEVEL_TO_ARG[name]
        arguments = to_arguments(level, {}) if to_arguments else ()
        how = {"fillcolor": (9, 8, 7), "resample": Image.Resampling.BICUBIC} if name in SIGNED else {}
        apply: Any = NAME_TO_OP[name]
        expected = apply(image, *arguments, **how)
        assert operation(name, level, sign, (9, 8, 7))(image).tobytes() == expected.tobytes()


def test_autoaugment_applies_one_pair_of_the_published_policy_with_its_probabilities() -> None:
    assert len(POLICY) == 25
    assert POLICY[0] == (("PosterizeOriginal", 0.4, 8.0), ("Rotate", 0.6, 9.0))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    random = np.random.default_rng(1)
    found = [auto_augmented(image, (0, 0, 0), random) for _ in range(400)]
    kept = np.mean([np.prod([1 - probability for _, probability, _ in pair]) for pair in POLICY])
    unchanged = np.mean([one.tobytes() == image.tobytes() for one in found])
    assert abs(unchanged - kept) < 0.07  # three standard errors; equalising and solarising may change nothing
    again = auto_augmented(image, (0, 0, 0), np.random.default_rng(1))
    assert again.tobytes() == found[0].tobytes()


def test_the_average_follows_the_weights_and_answers_in_evaluation_mode() -> None:
    holder = AveragedClassifier(nn.Linear(3, 2), 0.9).train()
    model: Any = holder.model
    first = model.weight.detach().clone()
    expected = first.clone()
    for step in range(40):
        with torch.no_grad():
            model.weight += 1.0
        holder.update(step)
        kept = min(0.9, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * model.weight.detach()
    given = torch.randn(4, 3)
    assert torch.allclose(holder.average.weight, expected, atol=1e-4)  # type: ignore[arg-type]
    assert torch.equal(holder(given), model(given))
    assert torch.equal(holder.eval()(given), holder.average(given))


def test_presets_have_the_published_values() -> None:
    assert (MAE.epochs, MAE.batch_size, MAE.rates, MAE.rates_for, MAE.layer_decays) == (
        100,
        1024,
        (5e-4,),
        256,
        (0.65,),
    )
    assert (MAE.drop_path, MAE.mixup, MAE.cutmix, MAE.smoothing, MAE.erase, MAE.weight_decay) == (
        *(0.1, 0.8, 1.0, 0.1, 0.25, 0.05),
    )
    assert (DEIT3.epochs, DEIT3.batch_size, DEIT3.rates, DEIT3.weight_decay, DEIT3.drop_path) == (
        *(20, 512, (1e-5,), 0.1, 0.2),
    )
    assert FinetuneVitParameters(epochs=100, batch_size=1_024).steps_for(1_281_167) == 100 * 1_252
