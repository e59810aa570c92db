"""Surface normals: a decoder on the backbone's maps, angles to the true directions over all pixels.

Source: paper section 4.5 and appendix A.5; surface-normal-estimation in linusericsson/ssl-transfer (Goyal et al. 2019).
The backbone is frozen, batch norms included, and dilated to stride 8 where its architecture can be (the maps of others
are taken as they are); pyramid pooling on the last map; every pixel is a class among 40 directions, and the answer is
the mean direction under the class probabilities. Last weights, one test size, all pixels of all images pooled.

Where paper and code disagree the code is followed: batches of 2 (the paper says 4). Unlike the code, pixels that pad an
image count as unknown (there, as direction 0). The preset `direct` is another way: the vector itself, by its cosine.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.dense.angles import AngleHistogram, Angles, angles_between
from tasks.dense.decoders import resized
from tasks.dense.images import Array, DenseImages, Pixels
from tasks.dense.network import DenseNetwork
from tasks.dense.training import curve, train_dense
from tasks.image_inputs import ImageInputs
from tasks.intervals import over_images
from tasks.normals.codebook import Codebook, mean_direction
from tasks.normals.parameters import NormalsParameters
from tasks.outcome import Outcome
from tasks.reporter import Reporter
from tasks.segmentation.protocol import criterion as class_criterion
from tasks.training.arithmetic import arithmetic
from tasks.training.settled import still_falling


def evaluate(inputs: ImageInputs, parameters: NormalsParameters, seed: int, reporter: Reporter) -> Outcome:
    """Train on `train`, measure angles on the other split with the last weights; nothing is chosen.

    The seed decides the decoder's first weights, the batches and their sizes, and a codebook that has to be made.
    Raises `DataError`, `NotFiniteError`.
    """
    train, test = inputs.split("train"), inputs.split("test", "val")
    targets = inputs.targets(train, "normals")
    codebook = Codebook.of(targets, parameters.directions, seed) if parameters.answer == "codebook" else None
    network = DenseNetwork(
        inputs,
        parameters.decoder,
        parameters.channels,
        3 if codebook is None else parameters.directions,
        frozen=parameters.frozen,
        dilate=parameters.decoder == "ppm",
        seed=seed,
    )
    pixels, unit = Pixels.of(parameters, inputs.spec), max(network.strides)
    learning, judged = (
        DenseImages(split, inputs.targets(split, "normals"), pixels, unit, mirrored) for split in (train, test)
    )
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
            "loss_falling": still_falling(training.losses),
            "strides": list(network.strides),
            "chance": guessed.scores["mean-angle"],
        },
        predictions={
            "index": np.arange(len(judged)),
            "angle_sums": angles.images,
            "angle_counts": angles.counts,
        },
        higher_is_better=False,
    )


def mirrored(normals: Array) -> Array:
    """What a mirror shows: left and right are changed, in the picture and in every direction."""
    seen: Array = normals[:, ::-1] * np.array([-1, 1, 1], np.float32)
    return seen


def as_vectors(normals: Array) -> Tensor:
    """[h, w, 3] to float32 [3, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(normals, np.float32)).permute(2, 0, 1)


def cosine_criterion(vectors: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 - cosine over the pixels [b, 3, h, w] whose true direction is known."""
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
    """The angles of all pixels of all images; those of a `guess` [3], the same everywhere. One image is in memory at a
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
    """Directions [1, 3, h, w] in float64; of equal length for a regression, so that every size has one vote."""
    with arithmetic(inputs.device, inputs.precision):
        predictions = network(pixels)
    predictions = resized(predictions.float(), truth.shape[:2])
    if codebook is None:
        return functional.normalize(predictions.double(), dim=1)
    return codebook.directions(functional.softmax(predictions, dim=1))
