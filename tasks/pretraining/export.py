"""Export of a backbone's weights: half-precision safetensors with timm's parameter names, without a head."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import nn

from backbones.io.files import whole_file
from tasks.pretraining.augmentation import INPUT_SIZE, PIXEL_MEAN, PIXEL_STD, Architecture


@dataclass(frozen=True)
class Origin:
    """Provenance of exported weights."""

    method: str
    architecture: Architecture
    seed: int
    steps: int
    """Number of optimiser steps taken."""
    planned_steps: int
    """Steps of the whole schedule: more than `steps` if the weights are a checkpoint of an unfinished run."""
    core_seconds: float

    def header(self) -> dict[str, str]:
        """Metadata for a safetensors header: strings only."""
        return {
            "format": "pt",
            "method": self.method,
            "architecture": self.architecture.name,
            "architecture_arguments": json.dumps(self.architecture.arguments()),
            "input_size": str(INPUT_SIZE),
            "pixel_mean": str(PIXEL_MEAN),
            "pixel_std": str(PIXEL_STD),
            "seed": str(self.seed),
            "steps": str(self.steps),
            "planned_steps": str(self.planned_steps),
            "core_seconds": f"{self.core_seconds:.0f}",
        }


def export(backbone: nn.Module, origin: Origin, path: Path) -> None:
    """Write the weights in half precision, atomically."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in backbone.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(save(weights, metadata=origin.header()))
