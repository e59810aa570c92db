"""The attentive probe: heads equal to the published modules, selected on validation images, resumed bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from backbones.catalog.card import PreprocessingSpec
from backbones.model.preprocessing import Picture, normalise, prepare
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.head_parameters import AttentiveParameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.spec import parse_overrides
from tasks.evaluation import parts
from tasks.evaluation.images import evaluate_task
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths
from tasks.metrics.rescore import rescore
from tasks.protocols.attentive import AttentiveProbe, parameter_groups, patch_tokens, rate_at
from tasks.protocols.attentive_heads import RECIPES, AimHead, CapiHead, EfficientHead, HeadKind, VjepaHead
from tasks.protocols.finetune import classifier
from tasks.reporter import SilentReporter
from tests.tasks.workspace_fixture import image_inputs, network, shapes

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


FEWER = ["attentive.steps=4", "attentive.batch_size=4", "attentive.rates=0.01", "attentive.augmented=true"]


def run(
    checkpoint: Path,
    listener: Listener,
    changes: Sequence[str] = CHANGES,
    decoded: Path | None = None,
    part: Path | None = None,
) -> Evaluation:
    """The probe of a tiny transformer on a few rendered images."""
    task = TASKS.resolve("attentive/shapes-hue", "small", parse_overrides([*changes]))
    card = TASKS.dataset(task.dataset)
    fewer = {**card.reader_arguments, "train": 60, "test": 24}
    return evaluate_task(
        network("test_vit", img_size=64, patch_size=8),
        task,
        card.model_copy(update={"reader_arguments": fewer, "images": {}}),
        seed=1,
        paths=EvaluationPaths(
            checkpoint,
            checkpoint,
            checkpoint,
            decoded=decoded,
            decoded_bytes=1 << 30,
            checkpoint=checkpoint / "kept",
            checkpoint_s=0.0,
            part=part,
        ),
        device="cpu",
        reporter=listener,
        encoder_cache=EncoderCache(),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Listener]:
    listener = Listener()
    return run(tmp_path_factory.mktemp("whole"), listener), listener


def test_test_images_scored_in_parts_in_random_order_have_the_predictions_of_the_whole(
    whole: tuple[Evaluation, Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FEWEST_IMAGES", 5)
    found = run(tmp_path, Listener(), part=tmp_path / "part.npz").outcome
    plain = whole[0].outcome
    assert found.value == plain.value
    assert np.array_equal(found.predictions["predicted"], plain.predictions["predicted"])
    assert found.diagnostics["chosen_on_test"] == plain.diagnostics["chosen_on_test"]
    with np.load(tmp_path / "part.npz") as scored:
        order = scored["index"]
        assert sorted(order) == list(range(24)) != list(order)
        assert np.array_equal(scored["label"], plain.predictions["label"][order])
        assert np.array_equal(scored["predicted"], plain.predictions["predicted"][order])


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


def test_aims_head_is_attention_over_normalised_tokens_without_biases() -> None:
    head, seen = AimHead(128, 5, 4).train(), tokens()
    torch.nn.init.normal_(head.query)
    flat = seen.reshape(-1, 128)
    normed = ((flat - flat.mean(0)) / (flat.var(0, unbiased=False) + 1e-6).sqrt()).view(4, 9, 128)

    def by_head(one: Tensor) -> Tensor:
        return one.view(4, -1, 4, 32).transpose(1, 2)

    query = head.query.view(1, 1, 128).expand(4, 1, 128)
    keys, values = normed @ head.key.weight.T, normed @ head.value.weight.T
    pooled = functional.scaled_dot_product_attention(by_head(query), by_head(keys), by_head(values))
    expected = pooled.transpose(1, 2).reshape(4, 128) @ head.classifier.weight.T
    assert torch.allclose(head(seen), expected, atol=1e-5)
    assert not [name for name, _ in head.named_parameters() if "bias" in name]


def attended(heads: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention [b, n, d], head by head."""
    parts = []
    for query, key, value in zip(*(one.chunk(heads, dim=-1) for one in (queries, keys, values)), strict=True):
        scores = torch.softmax(query @ key.transpose(1, 2) / query.shape[-1] ** 0.5, dim=-1)
        parts.append(scores @ value)
    return torch.cat(parts, dim=-1)


def test_vjepas_head_is_three_blocks_and_a_cross_attention_without_projection() -> None:
    head, seen = VjepaHead(128, 5).train(), tokens()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    state = {name: value.detach() for name, value in head.state_dict().items()}

    def linear(name: str, values: Tensor) -> Tensor:
        return torch.add(values @ state[f"{name}.weight"].T, state[f"{name}.bias"])

    def norm(name: str, values: Tensor) -> Tensor:
        spread = (values.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        scaled = (values - values.mean(-1, keepdim=True)) / spread
        return torch.add(scaled * state[f"{name}.weight"], state[f"{name}.bias"])

    rows = seen
    for number in range(3):
        at = f"blocks.{number}"
        parts = linear(f"{at}.attn.qkv", norm(f"{at}.norm1", rows)).chunk(3, dim=-1)
        rows = rows + linear(f"{at}.attn.proj", attended(16, *parts))
        hidden = functional.gelu(linear(f"{at}.mlp.fc1", norm(f"{at}.norm2", rows)))
        rows = rows + linear(f"{at}.mlp.fc2", hidden)
    query = state["query"].expand(4, 1, 128)
    keys, values = linear("to_key_value", norm("norm_tokens", rows)).chunk(2, dim=-1)
    pooled = query + attended(16, linear("to_query", query), keys, values)
    pooled = pooled + linear("mlp.2", functional.gelu(linear("mlp.0", norm("norm_query", pooled))))
    expected = linear("classifier", pooled.squeeze(1))
    assert torch.allclose(head(seen), expected, atol=1e-3, rtol=1e-3)
    assert torch.allclose(head.eval()(seen), head.train()(seen), atol=1e-6)


def test_vjepas_residual_branches_begin_smaller_with_depth() -> None:
    torch.manual_seed(0)
    head = VjepaHead(256, 5).requires_grad_(requires_grad=False)
    for depth, block in enumerate(head.blocks, 1):
        for name in ("attn.proj", "mlp.fc2"):
            weight = block.get_parameter(f"{name}.weight")
            assert float(weight.std()) == pytest.approx(0.02 / (2 * depth) ** 0.5, rel=0.03)
    assert float(head.mlp.get_parameter("2.weight").std()) == pytest.approx(0.02 / 6**0.5, rel=0.03)
    assert float(head.to_key_value.weight.std()) == pytest.approx(0.02, rel=0.03)


def probe(head: HeadKind, tmp_path: Path) -> AttentiveProbe:
    card = network("test_vit", img_size=64, patch_size=8, depth=8)
    parameters = AttentiveParameters(head=head, rates=(1e-3, 2e-3), weight_decays=(0.1,))
    return AttentiveProbe.of(image_inputs(card, tmp_path, shapes(4)), parameters, 0)


def test_aims_tokens_are_the_mean_of_the_last_six_blocks_before_the_final_norm(tmp_path: Path) -> None:
    made = probe("aim", tmp_path)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    images = normalise(pixels, made.inputs.spec)
    blocks = made.backbone.forward_intermediates(  # type: ignore[operator]
        images, indices=6, norm=False, output_fmt="NLC", intermediates_only=True
    )
    assert len(blocks) == 6
    assert torch.allclose(made.tokens(pixels), torch.stack(blocks).mean(0), atol=1e-5)
    assert made.heads[0].heads == made.backbone.get_submodule("blocks.0.attn").num_heads


def test_only_vjepas_biases_decay(tmp_path: Path) -> None:
    for head, decays in (("capi", {0.1, 0.0}), ("vjepa", {0.1})):
        made = probe(head, tmp_path)  # type: ignore[arg-type]
        groups = parameter_groups(made, RECIPES[made.parameters.head])
        assert {group["weight_decay"] for group in groups} == decays
        listed = [one for group in groups for one in group["params"]]
        assert len(listed) == len(list(made.heads.parameters()))


def test_the_presets_are_those_of_the_publications() -> None:
    published = PROTOCOLS["attentive"].presets["vjepa"]
    assert isinstance(published, AttentiveParameters)
    assert len(published.rates) * len(published.weight_decays) == 20
    assert [4 * rate for rate in published.rates] == pytest.approx([5e-4, 1e-3, 1.5e-3, 2e-3])
    assert published.steps * published.batch_size == pytest.approx(20 * 1_281_167, rel=0.01)
    assert published.warmup == 5 / 20


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
    assert any("1 of 3 heads diverged" in warning for warning in whole[1].warnings)


def test_stored_predictions_give_the_scores_again(whole: tuple[Evaluation, Listener]) -> None:
    outcome = whole[0].outcome
    rescorer = rescore("attentive", outcome.predictions)
    assert rescorer is not None
    assert rescorer.metrics(outcome.predictions) == pytest.approx(dict(outcome.metrics))


@pytest.mark.parametrize("head", ["capi", "efficient", "aim", "vjepa"])
def test_an_interrupted_training_ends_at_the_same_numbers(tmp_path: Path, head: HeadKind) -> None:
    changes = [*FEWER, f"attentive.head={head}"]
    expected = run(tmp_path / "whole", Listener(), changes).outcome
    with pytest.raises(ConnectionAbortedError):
        run(tmp_path / "cut", Listener(stop_at=3), changes)
    listener = Listener()
    again = run(tmp_path / "cut", listener, changes).outcome
    assert listener.steps == 2
    assert again.metrics == expected.metrics
    assert np.array_equal(again.predictions["logits"], expected.predictions["logits"])


def test_centre_crops_are_decoded_once_for_all_backbones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Picture] = []

    def counted(image: Picture, spec: PreprocessingSpec) -> Tensor:
        prepared.append(image)
        return prepare(image, spec)

    monkeypatch.setattr(classifier, "prepare", counted)
    alone = run(tmp_path / "alone", Listener(), FEWER).outcome
    first = len(prepared)
    shared = [run(tmp_path / name, Listener(), FEWER, tmp_path / "decoded").outcome for name in ("one", "other")]
    assert len(prepared) == 2 * first
    assert all(np.array_equal(one.predictions["logits"], alone.predictions["logits"]) for one in shared)
