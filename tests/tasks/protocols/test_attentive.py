"""The attentive probe: heads equal to the published modules, selected on validation images, resumed bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.overrides import parse_overrides
from tasks.evaluation.images import evaluate_task
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths
from tasks.metrics.rescore import rescore
from tasks.protocols.attentive import patch_tokens, rate_at
from tasks.protocols.attentive_heads import CapiHead, EfficientHead
from tasks.reporter import SilentReporter
from tests.tasks.workspace_fixture import network

TASKS = TaskCatalog.load()
CHANGES = ["attentive.steps=6", "attentive.batch_size=16", "attentive.rates=0.01,0.1,1e30", "attentive.augmented=true"]


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


def run(checkpoint: Path, listener: Listener) -> Evaluation:
    """The probe of a tiny transformer on a few rendered images."""
    task = TASKS.resolve("attentive/shapes-hue", "small", parse_overrides(CHANGES))
    card = TASKS.dataset(task.dataset)
    fewer = {**card.reader_arguments, "train": 60, "test": 24}
    return evaluate_task(
        network("test_vit", img_size=64, patch_size=8),
        task,
        card.model_copy(update={"reader_arguments": fewer, "images": {}}),
        seed=1,
        paths=EvaluationPaths(checkpoint, checkpoint, checkpoint, checkpoint=checkpoint / "kept", checkpoint_s=0.0),
        device="cpu",
        reporter=listener,
        encoder_cache=EncoderCache(),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Listener]:
    listener = Listener()
    return run(tmp_path_factory.mktemp("whole"), listener), listener


def tokens() -> Tensor:
    return torch.randn(4, 9, 128, generator=torch.Generator().manual_seed(0))


def test_capis_head_is_attention_over_keys_and_values_of_every_token() -> None:
    head, seen = CapiHead(128, 5), tokens()
    torch.nn.init.normal_(head.query)
    torch.nn.init.normal_(head.key.bias)
    torch.nn.init.normal_(head.value.bias)
    assert head.heads == 2

    def by_head(one: Tensor) -> Tensor:
        return one.view(4, -1, 2, 64).transpose(1, 2)

    query = head.query.view(1, 1, 128).expand(4, 1, 128)
    pooled = functional.scaled_dot_product_attention(by_head(query), by_head(head.key(seen)), by_head(head.value(seen)))
    assert torch.allclose(head(seen), head.classifier(pooled.transpose(1, 2).reshape(4, 128)), atol=1e-5)


def test_the_efficient_head_pools_each_slice_of_the_values_by_its_own_query() -> None:
    head, seen = EfficientHead(128, 5).eval(), tokens()
    torch.nn.init.normal_(head.queries)
    assert len(head.queries) == 32
    values = head.value(seen).view(4, 9, 32, 4)
    attention = torch.softmax(torch.einsum("qd,bnd->bqn", head.queries, seen) * 128**-0.5, dim=-1)
    pooled = torch.einsum("bqn,bnqc->bqc", attention, values).reshape(4, 128)
    normed = pooled / torch.sqrt(torch.tensor(1.0 + 1e-6))
    assert torch.allclose(head(seen), head.classifier(normed), atol=1e-5)


def test_only_patches_are_tokens() -> None:
    model = torch.nn.Identity()
    model.num_prefix_tokens = 5  # type: ignore[assignment]
    assert torch.equal(patch_tokens(model, tokens()), tokens()[:, 5:])
    maps = torch.randn(2, 8, 3, 3)
    assert torch.equal(patch_tokens(torch.nn.Identity(), maps)[1, 4], maps[1, :, 1, 1])


def test_the_rate_rises_for_a_tenth_of_the_steps_and_falls_to_nothing() -> None:
    rates = [rate_at(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates == [*sorted(rates[:10]), *sorted(rates[10:], reverse=True)]
    assert rates[-1] < 0.001


def test_the_head_is_chosen_on_validation_and_the_choice_on_test_images_is_a_flagged_extra(
    whole: tuple[Evaluation, Listener],
) -> None:
    outcome = whole[0].outcome
    table = outcome.diagnostics["heads"]
    assert isinstance(table, list)
    scores = [head["validation_score"] for head in table]  # type: ignore[index,call-overload]
    assert outcome.diagnostics["validation_score"] == max(one for one in scores if one is not None)  # type: ignore[type-var]
    assert outcome.diagnostics["chosen_on_test"]["score"] >= outcome.value  # type: ignore[index,call-overload,operator]
    assert outcome.hyperparameters["rate"] in (0.01, 0.1)
    assert any("1 of 3 heads came apart" in warning for warning in whole[1].warnings)


def test_stored_predictions_give_the_scores_again(whole: tuple[Evaluation, Listener]) -> None:
    outcome = whole[0].outcome
    rescorer = rescore("attentive", outcome.predictions)
    assert rescorer is not None
    assert rescorer.metrics(outcome.predictions) == pytest.approx(dict(outcome.metrics))


def test_an_interrupted_training_ends_at_the_same_numbers(whole: tuple[Evaluation, Listener], tmp_path: Path) -> None:
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path, Listener(stop_at=4))
    listener = Listener()
    again = run(tmp_path, listener).outcome
    assert listener.steps == 3
    assert again.metrics == whole[0].outcome.metrics
    assert np.array_equal(again.predictions["logits"], whole[0].outcome.predictions["logits"])
