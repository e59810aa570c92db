"""A training that only writes: `python fake_training.py FOLDER COUNT PAUSE`.

Checkpoints differ a little from one another. Every third is written in place in two parts with a pause between them,
the others under a temporary name and renamed, as careful trainings do.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import torch

from backbones.model.architecture import make


def content(step: int) -> bytes:
    model = make("test_resnet")
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(0.01 * (step + number % 3))
    file = io.BytesIO()
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}, "step": step}, file)
    return file.getvalue()


def write(folder: Path, step: int, pause: float) -> None:
    path, whole = folder / f"checkpoint_{step:04}.pth", content(step)
    if step % 3:
        draft = folder / f"{path.name}.tmp"
        draft.write_bytes(whole)
        draft.rename(path)
        return
    with path.open("wb") as file:
        file.write(whole[: len(whole) // 2])
        file.flush()
        time.sleep(4 * pause)
        file.write(whole[len(whole) // 2 :])


def main() -> None:
    folder, count, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for step in range(count):
        write(folder, step, pause)
        time.sleep(pause)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
