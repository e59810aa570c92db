"""Surface normals: a decoder on the backbone's maps, angles to the true directions over all pixels.

Source: paper section 4.5 and appendix A.5; surface-normal-estimation in linusericsson/ssl-transfer (Goyal et al. 2019).
The backbone is frozen, batch norms included, and dilated to stride 8 if its architecture allows (other maps are used
unchanged); pyramid pooling on the last map; every pixel is classified into 40 directions, and the prediction is the
mean direction under the class probabilities. Last weights, one test size, all pixels of all images pooled.

Where paper and code disagree, the code is followed: batches of 2 (paper: 4). Unlike in the code, padding is unknown
(there: direction 0). The preset `direct` predicts the vector itself instead, by cosine loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from backbones.model.precision import training_arithmetic
from tasks.catalog.dense_parameters import NormalsParameters
from tasks.datasets.dataset import NormalMap, Targets
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.confidence_intervals import over_images
from tasks.metrics.outcome import Outcome
from tasks.metrics.pixels import AngleHistogram, Angles, angles_between
from tasks.protocols.dense.frozen_maps import check_outliers
from tasks.protocols.dense.image_batches import Array, DenseImages, Pixels, some_views
from tasks.protocols.dense.network import DenseNetwork, curve, resized, train_dense
from tasks.protocols.segmentation import criterion as class_criterion
from tasks.reporter import Reporter
from tasks.training.loop import generator_of, loss_still_decreasing

Centres = npt.NDArray[np.float64]
SAMPLE = 20_000
IMAGES = 200


@dataclass(frozen=True, eq=False)
class Codebook:
    """`centres` float64 [k, 3]."""

    centres: Centres

    @classmethod
    def of(cls, targets: Targets[Any], directions: int, seed: int) -> Codebook:
        """The codebook of the data, if it has `directions` entries; else k-means over training pixels."""
        given: Centres | None = getattr(targets, "codebook", None)
        if given is not None and len(given) == directions:
            return cls(given)
        pixels = _some_pixels(targets, seed)
        from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import, and only training needs it

        means = KMeans(directions, n_init=1, random_state=seed).fit(pixels).cluster_centers_
        return cls(means.astype(np.float64))

    def classes(self, normals: NormalMap) -> Tensor:
        """Int64 [h, w]: index of the nearest centre of every normal [h, w, 3], -1 where unknown."""
        flat = normals.reshape(-1, 3).astype(np.float64)
        nearness = flat @ self.centres.T - 0.5 * np.sum(self.centres**2, axis=1)
        found = np.where(np.linalg.norm(flat, axis=1) > 0.5, nearness.argmax(axis=1), -1)
        return torch.from_numpy(found.reshape(normals.shape[:2]).astype(np.int64))

    def directions(self, probabilities: Tensor) -> Tensor:
        """Mean direction [b, 3, h, w] under probabilities [b, k, h, w], in float64; not normalised."""
        centres = torch.from_numpy(self.centres).to(probabilities.device)
        return torch.einsum("bkhw,kc->bchw", probabilities.double(), centres)


def mean_direction(targets: Targets[Any], seed: int) -> Centres:
    """Mean direction [3] of some training pixels: a constant baseline."""
    mean: Centres = _some_pixels(targets, seed).mean(axis=0)
    return mean


def _some_pixels(targets: Targets[Any], seed: int) -> npt.NDArray[np.float64]:
    """Known normals [n, 3] from some images."""
    random = generator_of(seed, 4)
    chosen = np.sort(random.permutation(len(targets))[:IMAGES])
    share = -(-SAMPLE // len(chosen))
    parts = []
    for index in chosen:
        flat = targets[int(index)].reshape(-1, 3)
        known = flat[np.linalg.norm(flat, axis=1) > 0.5]
        parts.append(known[random.permutation(len(known))[:share]])
    return np.concatenate(parts).astype(np.float64)


def evaluate(inputs: ImageInputs, parameters: NormalsParameters, seed: int, reporter: Reporter) -> Outcome:
    """Train on `train`, measure angles on the other split with the last weights; nothing is selected. The seed
    determines the decoder's initial weights, the batches and their sizes, and a codebook computed from the data.
    Raises `DataError`, `NotFiniteError`.
    """
    targets = inputs.targets(inputs.split("train"), "normals")
    codebook = Codebook.of(targets, parameters.directions, seed) if parameters.answer == "codebook" else None
    network = _network(inputs, parameters, 3 if codebook is None else parameters.directions, seed)
    pixels, unit = Pixels.of(parameters.normalisation, inputs.spec), max(network.strides)
    learning, judged = DenseImages.of_roles(inputs, "normals", pixels, unit, mirrored)
    tokens = check_outliers(network.maps.model, some_views(judged, parameters), reporter)
    training = train_dense(
        network,
        learning,
        parameters,
        inputs,
        learnt=as_vectors if codebook is None else codebook.classes,
        criterion=cosine_criterion if codebook is None else class_criterion,
        seed=seed,
        reporter=reporter,
    )
    angles, guessed = judge(network, judged, parameters, inputs, codebook, mean_direction(targets, seed), reporter)
    return Outcome(
        headline="mean-angle",
        metrics=angles.scores,
        interval=over_images(angles.mean_angles, len(angles.images)),
        samples={"train": len(learning), "test": len(judged)},
        diagnostics={
            "loss_curve": curve(training.losses),
            "loss_falling": loss_still_decreasing(training.losses),
            "strides": list(network.strides),
            **tokens,
            "chance": guessed.scores["mean-angle"],
        },
        predictions={"index": np.arange(len(judged)), "angle_sums": angles.images, "angle_counts": angles.counts},
        higher_is_better=False,
    )


def _network(inputs: ImageInputs, parameters: NormalsParameters, outputs: int, seed: int) -> DenseNetwork:
    """A new decoder on the backbone, which is dilated for pyramid pooling."""
    return DenseNetwork(
        inputs,
        parameters.decoder,
        parameters.channels,
        outputs,
        frozen=parameters.frozen,
        dilate=parameters.decoder == "ppm",
        seed=seed,
    )


def mirrored(normals: Array) -> Array:
    """Mirror image of normals: left and right are exchanged, in the image and in every direction."""
    seen: Array = normals[:, ::-1] * np.array([-1, 1, 1], np.float32)
    return seen


def as_vectors(normals: Array) -> Tensor:
    """[h, w, 3] to float32 [3, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(normals, np.float32)).permute(2, 0, 1)


def cosine_criterion(vectors: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 - cosine over the pixels [b, 3, h, w] of known true direction."""
    predicted = functional.normalize(resized(vectors, targets.shape[-2:]), dim=1)
    known = targets.norm(dim=1) > 0.5
    mean: Tensor = ((1 - (predicted * targets).sum(dim=1)) * known).sum() / known.sum().clamp(1)
    return mean


def judge(
    network: DenseNetwork,
    images: DenseImages,
    parameters: NormalsParameters,
    inputs: ImageInputs,
    codebook: Codebook | None,
    guess: Array,
    reporter: Reporter,
) -> tuple[Angles, Angles]:
    """Angles of all pixels of all images, of predictions and of a constant `guess` [3]. One image is in memory at a
    time.
    """
    network.eval()
    histogram, guessed = AngleHistogram(), AngleHistogram()
    reporter.phase("test", len(images), "images")
    for index in range(len(images)):
        image, truth = images.pair(index)
        total = torch.zeros(1, 3, *truth.shape[:2], dtype=torch.float64, device=inputs.device)
        for shorter in parameters.test_sizes:
            pixels = images.inputs(image, shorter, parameters.longest).to(inputs.device)
            total += _directions(network, pixels, truth, codebook, inputs)
        histogram.add(angles_between(total[0].permute(1, 2, 0).cpu().numpy(), truth))
        guessed.add(angles_between(np.broadcast_to(guess, truth.shape), truth))
        reporter.advance()
    return histogram.angles, guessed.angles


@torch.inference_mode()
def _directions(
    network: DenseNetwork, pixels: Tensor, truth: Array, codebook: Codebook | None, inputs: ImageInputs
) -> Tensor:
    """Directions [1, 3, h, w] in float64; of unit length for a regression, so that all sizes have equal weight."""
    with training_arithmetic(inputs.device, inputs.precision):
        predictions = network(pixels)
    predictions = resized(predictions.float(), truth.shape[:2])
    if codebook is None:
        return functional.normalize(predictions.double(), dim=1)
    return codebook.directions(functional.softmax(predictions, dim=1))
