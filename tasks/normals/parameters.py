"""The parameters of surface normals, with their presets. Needs neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.dense.parameters import DenseParameters, without_maps
from tasks.protocol import IMAGE_EVALUATION, ProtocolFacts


@dataclass(frozen=True)
class NormalsParameters(DenseParameters):
    """A decoder that gives every pixel a direction, on a frozen backbone (paper section 4.5, appendix A.5)."""

    steps: int = 13_500
    batch_size: int = 2
    test_sizes: tuple[int, ...] = (450,)
    flip: bool = False
    label_stride: int = 8
    answer: Literal["codebook", "direct"] = "codebook"
    """`codebook`: a class among 40 directions, and the mean over them; `direct`: the vector itself."""
    directions: int = 40
    """Size of the codebook."""
    decoder: Literal["ppm", "linear"] = "ppm"
    frozen: bool = True
    """Whether the decoder alone is trained."""


DIRECT = NormalsParameters(
    answer="direct", decoder="linear", optimiser="adamw", rate=1e-3, batch_size=8, label_stride=4
)
SMALL = NormalsParameters(
    answer="direct",
    decoder="linear",
    steps=120,
    batch_size=16,
    optimiser="adamw",
    rate=1e-2,
    sizes=(64,),
    test_sizes=(64,),
    label_stride=2,
)

PROTOCOLS = (
    ProtocolFacts(
        name="normals",
        version=1,
        family="normals",
        presets={
            "default": NormalsParameters(),
            "paper": NormalsParameters(normalisation="imagenet"),
            "direct": DIRECT,
            "small": SMALL,
        },
        module="tasks.normals.protocol",
        summary="pyramid pooling on the frozen dilated backbone, 40 directions, angles in degrees",
        evaluation=IMAGE_EVALUATION,
        unsuitable=without_maps,
    ),
)
