"""Linear heads on the last blocks of a frozen backbone, all trained at once by SGD, one selected on validation
images.

Source: dinov2/eval/linear.py of facebookresearch/dinov2 (b8931f7), with the batch of 1,024 images stated by its authors
in issue 232. A head reads the concatenated class tokens of the last 1 or 4 blocks, each after the final norm, with or
without the mean of the last block's patches; 13 learning rates each: 52 heads. SGD with momentum 0.9, no
weight decay, half a cosine to 0; weights start normal with deviation 0.01. The loss is the sum over the heads, none of
which affects another.

Differences: features are stored and computed from the centre crop, whereas the publication augments (random resized
crops). The head is selected on validation images, whereas the publication reports the best on the test images; that
score is stored as the diagnostic `chosen_on_test` and is never the score. For a backbone without class token, the mean
of patches, or of the maps of its last stages, is used instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.catalog.head_parameters import HeadInput, LinearHeadsParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import LayerInputs, ManyShotInputs, Place, RoleLayers
from tasks.features.manifest import NotFiniteError
from tasks.metrics.calibration import calibration_errors, predictions, reliability_of, validation_scaled
from tasks.metrics.outcome import Json, Outcome, chosen_on_test
from tasks.metrics.scoring import all_scores, check_metric, interval, score
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Prefetched, Training, batch_of, generator_of, prefetched, train

Floats = npt.NDArray[np.float32]
RATES_FOR = 256
"""Batch size that the learning rates refer to."""
DEVIATION = 0.01
"""Standard deviation of the initial weights."""
BLOCK = 4_096
"""Number of images scored at once."""


@dataclass(frozen=True)
class Head:
    """One linear head: its input and learning rate."""

    last: int
    pooling: HeadInput
    places: tuple[Place, ...]
    rate: float
    """For batches of 256 images."""

    def __str__(self) -> str:
        return f"last {self.last} {self.pooling}, learning rate {self.rate:g}"


def evaluate(inputs: ManyShotInputs, parameters: LinearHeadsParameters, seed: int, reporter: Reporter) -> Outcome:
    """Train all heads on training images, select one on validation images, score it on test images.

    Raises `DataError` if the metric does not match the labels, `NotFiniteError` if every head diverged.
    """
    check_metric(inputs.metric, inputs.test.labels)
    assert inputs.layers is not None, "the protocol declares layer-wise features"
    heads = heads_for(inputs.layers, parameters, reporter)
    network = Heads(heads, inputs.layers.train, len(inputs.classes), seed).to(inputs.device)
    _train(network, inputs, parameters, seed, reporter)

    reporter.phase("validation", len(inputs.val), "images")
    val_scores = [score(inputs.metric, logits, inputs.val.labels) for logits in _each(network, inputs.layers.val)]
    chosen = best_head(val_scores, network.broken(), "linear-heads.rates")
    _warn(heads, chosen, network.broken(), parameters, reporter)
    reporter.phase("test", len(inputs.test), "images")
    test_scores = [score(inputs.metric, logits, inputs.test.labels) for logits in _each(network, inputs.layers.test)]
    logits = network.logits(inputs.layers.test, [chosen])[0]
    val_logits = network.logits(inputs.layers.val, [chosen])[0]
    calibration = validation_scaled(val_logits, inputs.val.labels, logits, inputs.test.labels)
    return Outcome(
        headline=inputs.metric,
        metrics={**all_scores(logits, inputs.test.labels), **calibration_errors(calibration)},
        interval=interval(inputs.metric, logits, inputs.test.labels),
        samples={"train": len(inputs.train), "val": len(inputs.val), "test": len(inputs.test)},
        hyperparameters={
            "last": heads[chosen].last,
            "pooling": heads[chosen].pooling,
            "rate": heads[chosen].rate,
        },
        diagnostics={
            "validation_score": val_scores[chosen],
            "heads": _table(heads, val_scores, network.broken()),
            "chosen_on_test": _published_reading(heads, test_scores, network.broken(), chosen),
            **reliability_of(calibration),
        },
        predictions=predictions(inputs.test.index, inputs.test.labels, logits, calibration),
    )


def heads_for(layers: LayerInputs, parameters: LinearHeadsParameters, reporter: Reporter) -> list[Head]:
    """All combinations for which the backbone has blocks and tokens. Raises DataError if there are none."""
    heads: list[Head] = []
    for last in parameters.last:
        blocks = layers.last(last)
        if blocks is None:
            reporter.warn(f"the backbone has {layers.blocks[-1]} blocks: no head uses the last {last}")
            continue
        for pooling in parameters.poolings if layers.has("cls") else parameters.poolings[:1]:
            places = _places(layers, blocks, pooling)
            heads += [Head(last, pooling, places, rate) for rate in parameters.rates]
    if not heads:
        raise DataError(f"the backbone has fewer than {min(parameters.last)} blocks: lower linear-heads.last")
    return heads


def _places(layers: LayerInputs, blocks: Sequence[int], pooling: HeadInput) -> tuple[Place, ...]:
    """Class tokens of the blocks, or means where there are none, followed by the mean of the last block."""
    if not layers.has("cls"):
        return tuple((block, "mean") for block in blocks)
    mean: tuple[Place, ...] = ((blocks[-1], "mean"),) if pooling == "cls+mean" else ()
    return (*((block, "cls") for block in blocks), *mean)


class Heads(nn.Module):
    """All heads; those with the same input are computed by one matrix product."""

    def __init__(self, heads: Sequence[Head], layers: RoleLayers, classes: int, seed: int) -> None:
        super().__init__()
        self.heads = tuple(heads)
        self.classes = classes
        self.places: tuple[Place, ...] = tuple(dict.fromkeys(place for head in heads for place in head.places))
        widths = {(column.block, column.pooling): column.width for column in layers.columns}
        ends = np.cumsum([0, *(widths[place] for place in self.places)])
        self.slices = {place: slice(int(ends[n]), int(ends[n + 1])) for n, place in enumerate(self.places)}
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for number, head in enumerate(heads):
            width = sum(widths[place] for place in head.places)
            start = generator_of(seed, 3, number).standard_normal((classes, width)) * DEVIATION
            self.weights.append(nn.Parameter(torch.from_numpy(start.astype(np.float32))))
            self.biases.append(nn.Parameter(torch.zeros(classes)))

    def forward(self, features: Tensor, numbers: Sequence[int] | None = None) -> list[Tensor]:
        """Logits [b, classes] of the heads with these numbers (all if None), of features [b, d] of `places`."""
        wanted = range(len(self.heads)) if numbers is None else numbers
        by_input: dict[tuple[Place, ...], list[int]] = {}
        for number in wanted:
            by_input.setdefault(self.heads[number].places, []).append(number)
        found: dict[int, Tensor] = {}
        for places, group in by_input.items():
            seen = torch.cat([features[:, self.slices[place]] for place in places], dim=1)
            weight = torch.cat([self.weights[number] for number in group])
            bias = torch.cat([self.biases[number] for number in group])
            parts = torch.split(functional.linear(seen, weight, bias), self.classes, dim=1)
            found.update(zip(group, parts, strict=True))
        return [found[number] for number in wanted]

    @torch.inference_mode()
    def logits(self, layers: RoleLayers, numbers: Sequence[int]) -> list[Floats]:
        """Logits [n, classes] of a role's images by each of the heads, block by block."""
        rows, device = layers.select(self.places), self.biases[0].device
        parts = [
            [part.cpu().numpy() for part in self(_tensor(rows[start : start + BLOCK], device), numbers)]
            for start in range(0, len(rows), BLOCK)
        ]
        return [np.nan_to_num(np.concatenate(of_head), nan=0.0) for of_head in zip(*parts, strict=True)]

    def broken(self) -> list[bool]:
        """Whether each head has diverged, i.e. has weights that are not finite."""
        return [not bool(torch.isfinite(weight).all()) for weight in self.weights]


def _each(network: Heads, layers: RoleLayers) -> Iterator[Floats]:
    """Logits of one head after another."""
    for number in range(len(network.heads)):
        yield network.logits(layers, [number])[0]


def _train(
    network: Heads, inputs: ManyShotInputs, parameters: LinearHeadsParameters, seed: int, reporter: Reporter
) -> None:
    assert inputs.layers is not None
    rows, labels = inputs.layers.train.select(network.places), inputs.train.labels
    scale = parameters.batch_size / RATES_FOR
    groups = [
        {"params": [weight, bias], "lr": head.rate * scale}
        for head, weight, bias in zip(network.heads, network.weights, network.biases, strict=True)
    ]
    optimiser = torch.optim.SGD(groups, momentum=parameters.momentum, weight_decay=parameters.weight_decay)

    def make(step: int) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
        chosen = batch_of(step, len(rows), parameters.batch_size, seed)
        return rows.take(chosen), labels[chosen]

    with prefetched(make, parameters.steps) as batches:
        training = Training(
            model=network,
            optimiser=optimiser,
            steps=parameters.steps,
            loss=lambda step: _loss(network, batches, step, inputs.device),
            rate=lambda step: 0.5 * (1 + math.cos(math.pi * step / parameters.steps)),
            seed=seed,
            device=inputs.device,
            label=f"training {len(network.heads)} heads",
        )
        checkpoint = None if inputs.checkpoint is None else Checkpoint(inputs.checkpoint / "heads.pt", inputs.key)
        train(training, checkpoint, reporter, every_s=inputs.checkpoint_s)


def _loss(
    network: Heads,
    batches: Prefetched[tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]],
    step: int,
    device: str,
) -> Tensor:
    """Sum of the heads' losses; a diverged head contributes nothing, and its gradient affects no other."""
    features, labels = batches(step)
    logits = torch.cat(network(_tensor(features, device)))
    targets = torch.from_numpy(labels).to(device).repeat(len(network.heads))
    losses = functional.cross_entropy(logits, targets, reduction="none").view(len(network.heads), -1).mean(dim=1)
    return torch.where(torch.isfinite(losses), losses, 0.0).sum()


def _tensor(rows: npt.NDArray[np.floating], device: str | torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows)).to(device).float()


def best_head(scores: Sequence[float], broken: Sequence[bool], setting: str) -> int:
    """The head with the best validation score; the first of several.

    Raises NotFiniteError, which names the setting of the learning rates, if every head diverged.
    """
    if all(broken):
        raise NotFiniteError(f"every head diverged: smaller learning rates help ({setting})")
    return max(range(len(scores)), key=lambda number: (not broken[number], scores[number], -number))


def _warn(
    heads: Sequence[Head], chosen: int, broken: Sequence[bool], parameters: LinearHeadsParameters, reporter: Reporter
) -> None:
    rates = parameters.rates
    if len(rates) > 2 and heads[chosen].rate in (min(rates), max(rates)):
        reporter.warn(
            f"the chosen learning rate {heads[chosen].rate:g} is at the edge of those tried: a better one may lie "
            "beyond (linear-heads.rates)"
        )
    if any(broken):
        reporter.warn(f"{sum(broken)} of {len(heads)} heads diverged (weights not finite) and were not selected")


def _table(heads: Sequence[Head], scores: Sequence[float], broken: Sequence[bool]) -> list[Json]:
    return [
        {
            "last": head.last,
            "pooling": head.pooling,
            "rate": head.rate,
            "validation_score": None if apart else value,
        }
        for head, value, apart in zip(heads, scores, broken, strict=True)
    ]


def _published_reading(
    heads: Sequence[Head], scores: Sequence[float], broken: Sequence[bool], chosen: int
) -> dict[str, Json]:
    """The best head on the test images, as the publication reports: too optimistic, and never the score."""
    whole = [(value, str(head)) for head, value, apart in zip(heads, scores, broken, strict=True) if not apart]
    return chosen_on_test([value for value, _ in whole], [head for _, head in whole], scores[chosen])
