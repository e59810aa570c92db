"""Linear heads on layer-wise features: equal to heads trained separately, selected on validation, resumed bit for
bit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tasks.catalog.head_parameters import LinearHeadsParameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.features.manifest import NotFiniteError
from tasks.metrics.rescore import rescore
from tasks.protocols.linear_heads import evaluate
from tasks.reporter import SilentReporter
from tasks.training.loop import batch_of, generator_of
from tests.tasks.protocols.layer_inputs import WIDTH, layer_inputs

PARAMETERS = LinearHeadsParameters(rates=(0.01, 0.1, 1.0), steps=30, batch_size=32)


class Listener(SilentReporter):
    def __init__(self, stop_at: int | None = None) -> None:
        self.warnings: list[str] = []
        self.steps = 0
        self.stop_at = stop_at

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        self.steps += 1
        if self.steps == self.stop_at:
            raise ConnectionAbortedError("the process ends here")


def by_hand(last: int, pooling: str, rate: float, number: int) -> nn.Linear:
    """A single head, trained in a plain loop with torch's layer, optimiser and schedule."""
    inputs = layer_inputs()
    assert inputs.layers is not None
    blocks = {1: (4,), 4: (1, 2, 3, 4)}[last]
    places = [(block, "cls") for block in blocks] + ([(4, "mean")] if pooling == "cls+mean" else [])
    features = torch.from_numpy(inputs.layers.train.select(places)[:].astype(np.float32))  # type: ignore[arg-type]
    labels = torch.from_numpy(inputs.train.labels)
    head = nn.Linear(features.shape[1], 3)
    with torch.no_grad():
        start = generator_of(5, 3, number).standard_normal((3, len(places) * WIDTH)) * 0.01
        head.weight.copy_(torch.from_numpy(start))
        head.bias.zero_()
    optimiser = torch.optim.SGD(head.parameters(), lr=rate * 32 / 256, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, PARAMETERS.steps)
    for step in range(PARAMETERS.steps):
        chosen = torch.from_numpy(batch_of(step, len(features), 32, 5))
        optimiser.zero_grad()
        functional.cross_entropy(head(features[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return head


def test_each_head_is_what_it_becomes_when_trained_alone() -> None:
    inputs = layer_inputs()
    assert inputs.layers is not None
    outcome = evaluate(inputs, PARAMETERS, 5, SilentReporter())
    table = outcome.diagnostics["heads"]
    assert isinstance(table, list)
    assert len(table) == 2 * 2 * 3
    for number, head in enumerate(table):
        assert isinstance(head, dict)
        alone = by_hand(int(head["last"]), str(head["pooling"]), float(head["rate"]), number)  # type: ignore[arg-type]
        blocks = {1: (4,), 4: (1, 2, 3, 4)}[int(head["last"])]  # type: ignore[arg-type]
        places = [(block, "cls") for block in blocks] + ([(4, "mean")] if head["pooling"] == "cls+mean" else [])
        val = torch.from_numpy(inputs.layers.val.select(places)[:].astype(np.float32))  # type: ignore[arg-type]
        right = (alone(val).argmax(dim=1).numpy() == inputs.val.labels).mean()
        assert head["validation_score"] == pytest.approx(100 * right)


def test_the_head_with_the_best_validation_score_is_scored_on_the_test_images() -> None:
    outcome = evaluate(layer_inputs(), PARAMETERS, 5, SilentReporter())
    table = outcome.diagnostics["heads"]
    scores = [head["validation_score"] for head in table]  # type: ignore[union-attr,index,call-overload]
    best = table[int(np.argmax(scores))]  # type: ignore[arg-type,index]
    assert outcome.hyperparameters == {name: best[name] for name in ("last", "pooling", "rate")}  # type: ignore[index,call-overload]
    assert outcome.diagnostics["validation_score"] == max(scores)  # type: ignore[type-var]
    right = outcome.predictions["predicted"] == outcome.predictions["label"]
    assert outcome.value == pytest.approx(100 * right.mean())
    assert outcome.interval.low < outcome.value < outcome.interval.high


def test_the_published_choice_on_test_images_is_a_flagged_extra_and_no_metric() -> None:
    outcome = evaluate(layer_inputs(), PARAMETERS, 5, SilentReporter())
    reading = outcome.diagnostics["chosen_on_test"]
    assert isinstance(reading, dict)
    assert reading["score"] >= outcome.value  # type: ignore[operator]
    assert "never ranked" in str(reading["note"])
    assert set(outcome.metrics) == {"accuracy", "mean-per-class", "ece", "ece_scaled"}


def test_stored_predictions_give_the_scores_again() -> None:
    outcome = evaluate(layer_inputs(), PARAMETERS, 5, SilentReporter())
    rescorer = rescore("linear-heads", outcome.predictions)
    assert rescorer is not None
    again = rescorer.metrics(outcome.predictions)
    assert {name: pytest.approx(value) for name, value in outcome.metrics.items()} == again


@pytest.mark.parametrize("stop_at", [1, 13, 29])
def test_an_interrupted_training_ends_at_the_same_numbers(tmp_path: Path, stop_at: int) -> None:
    whole = evaluate(layer_inputs(), PARAMETERS, 5, SilentReporter())
    with pytest.raises(ConnectionAbortedError):
        evaluate(layer_inputs(tmp_path), PARAMETERS, 5, Listener(stop_at))
    listener = Listener()
    again = evaluate(layer_inputs(tmp_path), PARAMETERS, 5, listener)
    assert listener.steps == PARAMETERS.steps - stop_at + 1
    assert again.metrics == whole.metrics
    assert np.array_equal(again.predictions["logits"], whole.predictions["logits"])


def test_a_head_that_comes_apart_is_not_chosen_and_leaves_the_others_alone() -> None:
    listener = Listener()
    wild = evaluate(layer_inputs(), replace(PARAMETERS, rates=(0.01, 0.1, 3e38)), 5, listener)
    tame = evaluate(layer_inputs(), replace(PARAMETERS, rates=(0.01, 0.1)), 5, SilentReporter())
    assert any("4 of 12 heads diverged" in warning for warning in listener.warnings)
    assert math.isfinite(wild.value)
    assert wild.hyperparameters["rate"] in (0.01, 0.1)
    assert tame.value > 50
    with pytest.raises(NotFiniteError, match="every head diverged"):
        evaluate(layer_inputs(), replace(PARAMETERS, rates=(3e38,)), 5, SilentReporter())


def test_a_backbone_without_class_token_is_given_means() -> None:
    outcome = evaluate(layer_inputs(cls=False), PARAMETERS, 5, SilentReporter())
    assert len(outcome.diagnostics["heads"]) == 2 * 3  # type: ignore[arg-type]
    assert outcome.value > 40


def test_a_backbone_with_fewer_blocks_is_told() -> None:
    listener = Listener()
    evaluate(layer_inputs(depth=2), PARAMETERS, 5, listener)
    assert listener.warnings[0] == "the backbone has 2 blocks: no head uses the last 4"


def test_the_published_preset_has_52_heads_and_12500_steps() -> None:
    published = PROTOCOLS["linear-heads"].presets["published"]
    assert isinstance(published, LinearHeadsParameters)
    assert len(published.rates) * len(published.last) * len(published.poolings) == 52
    assert (published.steps, published.batch_size, published.weight_decay) == (12_500, 1_024, 0.0)
