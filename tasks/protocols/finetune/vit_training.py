"""A backbone and a linear head trained by AdamW: entirely, by low-rank additions, by biases or the head alone.

Low-rank additions (LoRA, Hu et al. 2021): y = W x + (scale / rank) B A x, with B = 0 at first.

AdamW has layer decay, warm-up and a cosine; batches are augmented and mixed. Layer decay scales the learning rate of
layer i by d^(depth + 1 - i). Source: util/lr_decay.py of facebookresearch/mae: layer 0 is the stem with its tokens,
block j is layer j + 1, norm and head are the last. Layers of other architectures are those of timm's `group_matcher`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional

from backbones.catalog.card import ArchitectureValue
from backbones.io.errors import WeightsError
from backbones.model.encoder import pool
from backbones.model.precision import training_arithmetic
from backbones.model.preprocessing import normalise
from tasks.catalog.finetune_parameters import FinetuneVitParameters, RatePoint
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import ImageInputs
from tasks.protocols.finetune.augmentation import erased, mixed, on_pixels, rand_augmented
from tasks.protocols.finetune.classifier import Batch, RoleImages, mean_colour, random_view
from tasks.protocols.finetune.grid_search import checkpoint_at
from tasks.reporter import Reporter
from tasks.training.loop import (
    Prefetched,
    Training,
    batch_of,
    generator_of,
    prefetched,
    torch_seeded,
    train,
    warmed_cosine,
)

NORM_EPSILON = 1e-6
WARM_AVERAGE = 10
"""Averaged weights decay faster at first: the decay is at most (1 + step) / (10 + step)."""
FUSED = {"q": 0, "k": 1, "v": 2}
"""Thirds of a fused layer of queries, keys and values."""
SINGLE = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "proj": "proj", "fc1": "fc1", "fc2": "fc2"}
HEAD_PURPOSE = 8
"""Third number of the addresses of batches for training the head alone."""
CLOSING = ("norm.", "fc_norm.", "head.", "attn_pool.", "head_norm.")
"""Parts of a backbone after its last block."""


class TokenClassifier(nn.Module):
    """Normalised images [b, 3, h, w] to logits [b, classes]; only the trained parts require gradients."""

    def __init__(self, inputs: ImageInputs, parameters: FinetuneVitParameters, seed: int) -> None:
        super().__init__()
        self.backbone = _backbone(inputs, parameters)
        self._pooling = inputs.backbone.card.pooling
        self._mean = parameters.pooling == "mean"
        if self._mean:
            cast("Any", self.backbone).norm = nn.Identity()
            cast("Any", self.backbone).fc_norm = nn.Identity()
        width = self._width(inputs.spec.crop)
        with torch_seeded("cpu", seed, 1):
            self.norm = nn.LayerNorm(width, eps=NORM_EPSILON) if self._mean else nn.Identity()
            self.head = nn.Linear(width, len(inputs.dataset.classes))
            nn.init.trunc_normal_(self.head.weight, std=parameters.head_deviation)
            nn.init.zeros_(self.head.bias)
            if parameters.trained == "lora":
                add_low_rank(self.backbone, parameters.targets, parameters.rank, parameters.scale)
        if parameters.trained in ("bias", "head"):
            for name, parameter in self.backbone.named_parameters():
                parameter.requires_grad_(parameters.trained == "bias" and name.endswith("bias"))

    def forward(self, images: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.norm(self.pooled(images))))

    def pooled(self, images: Tensor) -> Tensor:
        """Features [b, d] before the head and its norm."""
        features = cast("Any", self.backbone).forward_features(images)
        if self._mean:
            first = cast("int", getattr(self.backbone, "num_prefix_tokens", 0))
            return cast("Tensor", features[:, first:].mean(dim=1))
        return pool(self.backbone, features, self._pooling).flatten(1)

    @torch.no_grad()
    def _width(self, size: int) -> int:
        self.backbone.eval()
        width = self.pooled(torch.zeros(1, 3, size, size)).shape[1]
        self.backbone.train()
        return width


def _backbone(inputs: ImageInputs, parameters: FinetuneVitParameters) -> nn.Module:
    """New backbone with stochastic depth. Raises WeightsError if the architecture does not support it."""
    dropped: dict[str, ArchitectureValue] = {"drop_path_rate": parameters.drop_path} if parameters.drop_path else {}
    try:
        return inputs.backbone.fresh(**dropped)
    except WeightsError as error:
        raise WeightsError(f"{error}; without dropped branches: finetune-vit.drop_path=0") from error


class AveragedClassifier(nn.Module):
    """A classifier and the exponential moving average of its weights, which is used in evaluation mode."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.model, self.decay = model, decay
        self.average = copy.deepcopy(model).requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the trained weights in training mode, of the averaged ones in evaluation mode."""
        chosen = self.model if self.training else self.average
        return cast("Tensor", chosen(images))

    def train(self, mode: bool = True) -> AveragedClassifier:
        """Set the mode; the average stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after a step; statistics of batch norms are copied."""
        kept = min(self.decay, (1 + step) / (WARM_AVERAGE + step))
        for mean, weight in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(weight, 1 - kept)
        for statistic, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
            statistic.copy_(value)


class LowRankLinear(nn.Module):
    """A frozen linear layer and an addition to `outputs` of its outputs for every one of `parts`.

    Weights of the addition are initialised as those of a linear layer (A) and with zeros (B), so that the layer is
    unchanged at first.
    """

    def __init__(self, linear: nn.Linear, parts: Sequence[int], of: int, rank: int, scale: float) -> None:
        super().__init__()
        self.linear, self.parts, self.of = linear, tuple(parts), of
        self.factor = scale / rank
        each = linear.out_features // of
        self.down = nn.ParameterList(torch.empty(rank, linear.in_features) for _ in parts)
        self.up = nn.ParameterList(torch.zeros(each, rank) for _ in parts)
        for one in self.down:
            nn.init.kaiming_uniform_(one, a=math.sqrt(5))
        linear.requires_grad_(requires_grad=False)

    def forward(self, given: Tensor) -> Tensor:
        """[..., out] of [..., in]."""
        found: Tensor = self.linear(given)
        chunks = list(found.chunk(self.of, dim=-1))
        for part, down, up in zip(self.parts, self.down, self.up, strict=True):
            chunks[part] = chunks[part] + self.factor * ((given @ down.T) @ up.T)
        return torch.cat(chunks, dim=-1) if self.of > 1 else chunks[0]


def add_low_rank(model: nn.Module, targets: Sequence[str], rank: int, scale: float) -> list[str]:
    """Replace the targeted linear layers of attention and MLP blocks in place; returns the names of the replaced
    layers. Everything else is frozen. Raises `DataError` if no layer has such a name.
    """
    model.requires_grad_(requires_grad=False)
    replaced = []
    for name, module in list(model.named_modules()):
        parent, _, last = name.rpartition(".")
        if not isinstance(module, nn.Linear) or parent.rpartition(".")[2] not in ("attn", "mlp"):
            continue
        parts = [FUSED[one] for one in targets if one in FUSED] if last == "qkv" else []
        single = last in {SINGLE[one] for one in targets}
        if parts or single:
            made = LowRankLinear(module, parts or [0], len(FUSED) if parts else 1, rank, scale)
            setattr(model.get_submodule(parent), last, made)
            replaced.append(name)
    if not replaced:
        raise DataError(
            f"{type(model).__name__} has no layers named {', '.join(targets)} in blocks of attention: "
            "choose others (finetune-vit.targets)"
        )
    return replaced


@dataclass(frozen=True)
class VitRecipe:
    """Construction and training of classifiers in one run."""

    inputs: ImageInputs
    parameters: FinetuneVitParameters
    seed: int
    reporter: Reporter

    @property
    def images_per_step(self) -> int:
        return self.parameters.batch_size

    def steps(self, role: RoleImages) -> int:
        """Number of steps of a training on a role's images."""
        return self.parameters.steps_for(len(role))

    def batch(self, role: RoleImages, _point: RatePoint | None, step: int, *, purpose: int = 3) -> Batch:
        """Random views uint8 [b, 3, crop, crop] and labels [b] of a step."""
        rows, random = batch_of(step, len(role), self.parameters.batch_size, self.seed), generator_of
        views = random_views(role, rows, self.parameters, random(self.seed, purpose, step))
        return views, torch.from_numpy(role.labels[rows])

    def start(self, role: RoleImages, point: RatePoint, batches: Prefetched[Batch], name: str) -> Training:
        """New training with one setting, whose head is trained alone first if the parameters specify steps for it.
        `name` is that of the role, and of its stored head.
        """
        inputs, parameters = self.inputs, self.parameters
        model = TokenClassifier(inputs, parameters, self.seed).to(inputs.device)
        if parameters.head_steps:
            self._train_head(model, role, name)
        steps = self.steps(role)
        rate = point.rate * (parameters.batch_size / parameters.rates_for if parameters.rates_for else 1)
        groups = parameter_groups(
            model, model.backbone, rate, point.layer_decay, parameters.weight_decay, parameters.head_factor
        )
        holder = AveragedClassifier(model, parameters.average).train() if parameters.average else model.train()
        lowest = min(1.0, parameters.lowest_rate / rate)
        return Training(
            holder,
            torch.optim.AdamW(groups),
            steps,
            lambda step: self.loss(holder, batches(step), step),
            lambda step: warmed_cosine(step, steps, round(parameters.warmup * steps), lowest),
            self.seed,
            inputs.device,
            inputs.precision,
            clip=parameters.clip or None,
            after=holder.update if isinstance(holder, AveragedClassifier) else None,
        )

    def loss(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        """Cross-entropy of mixed images with mixed labels."""
        inputs, parameters, random = self.inputs, self.parameters, generator_of(self.seed, 6, step)
        pixels, labels = (part.to(inputs.device, non_blocking=True) for part in batch)
        images = erased(normalise(pixels, inputs.spec), parameters.erase, random)
        images, targets = mixed(images, labels, len(inputs.dataset.classes), parameters, random)
        with training_arithmetic(inputs.device, inputs.precision):
            logits = model(images)
        return functional.cross_entropy(logits.float(), targets)

    def _train_head(self, model: TokenClassifier, role: RoleImages, name: str) -> None:
        """Train the head alone on a backbone in evaluation mode, and store it for all settings."""
        parameters, steps = self.parameters, self.parameters.head_steps
        checkpoint = checkpoint_at(self.inputs, f"head-{name}")
        ends = nn.ModuleList([model.norm, model.head])
        with prefetched(lambda step: self.batch(role, None, step, purpose=HEAD_PURPOSE), steps) as batches:

            def loss(step: int) -> Tensor:
                pixels, labels = (part.to(self.inputs.device) for part in batches(step))
                with torch.no_grad():
                    pooled = model.eval().pooled(normalise(pixels, self.inputs.spec))
                return functional.cross_entropy(model.head(model.norm(pooled)).float(), labels)

            training = Training(
                ends,
                torch.optim.AdamW(ends.parameters(), lr=parameters.head_rate, weight_decay=0.0),
                steps,
                loss,
                lambda step: warmed_cosine(step, steps, 0),
                self.seed,
                self.inputs.device,
                self.inputs.precision,
                label="training the head alone",
            )
            train(training, checkpoint, self.reporter, every_s=self.inputs.checkpoint_s)
        if checkpoint is not None and training.step == steps:
            checkpoint.save(training.state())


def random_views(
    role: RoleImages,
    rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    parameters: FinetuneVitParameters,
    random: np.random.Generator,
) -> Tensor:
    """Random windows of images, possibly mirrored, after random operations: uint8 [b, 3, crop, crop]."""
    made = [random_view(role.image(int(row)), role.spec.crop, random, (parameters.area, 1.0)) for row in rows]
    if parameters.rand_augment:
        fill, magnitude = mean_colour(role.spec), parameters.rand_augment
        made = [on_pixels(view, lambda image: rand_augmented(image, magnitude, fill, random)) for view in made]
    return torch.stack(made)


def layer_of(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """Layer index by parameter name, and the index of the last layer, the head. An architecture without
    `group_matcher` counts as one layer.
    """
    names = [name for name, _ in backbone.named_parameters()]
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return dict.fromkeys(names, 0), 1
    layers: Mapping[str, int] = cast("Any", group_parameters)(backbone, matcher(coarse=False), reverse=True)
    last = 1 + max((layers[name] for name in names if name in layers and not name.startswith(CLOSING)), default=0)
    return {name: last if name.startswith(CLOSING) else layers.get(name, last) for name in names}, last


def parameter_groups(
    model: nn.Module, backbone: nn.Module, rate: float, decay: float, weight_decay: float, head_factor: float
) -> list[dict[str, Any]]:
    """Optimiser groups of the trained parameters, one for each learning rate and weight decay."""
    layers, last = layer_of(backbone)
    within = {id(parameter): name for name, parameter in backbone.named_parameters()}
    without = cast("Any", backbone).no_weight_decay() if hasattr(backbone, "no_weight_decay") else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        name = within.get(id(parameter))
        scale = head_factor if name is None else decay ** (last - layers[name])
        decays = 0.0 if parameter.ndim <= 1 or name in without else weight_decay
        groups.setdefault((rate * scale, decays), []).append(parameter)
    return [{"params": each, "lr": lr, "weight_decay": decays} for (lr, decays), each in groups.items()]
