"""A simulated training that only writes: `python fake_training.py FOLDER CONTENTS PAUSE`, with the folder to write.

Checkpoints differ a little from one another. Every third is written in place in two parts with a pause between them,
the others under a temporary name and renamed, as careful trainings do.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path


def content(step: int) -> bytes:
    """What is in a checkpoint."""
    import torch  # noqa: PLC0415 - the training itself does without

    from backbones.model.architecture import make  # noqa: PLC0415

    torch.manual_seed(0)
    model = make("test_resnet")
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(0.01 * (step + number % 3))
    file = io.BytesIO()
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}, "step": step}, file)
    return file.getvalue()


def write(path: Path, step: int, whole: bytes, pause: float) -> None:
    if step % 3:
        draft = path.with_name(f"{path.name}.tmp")
        draft.write_bytes(whole)
        draft.rename(path)
        return
    with path.open("wb") as file:
        file.write(whole[: len(whole) // 2])
        file.flush()
        time.sleep(4 * pause)
        file.write(whole[len(whole) // 2 :])


def main() -> None:
    folder, contents, pause = Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir()), float(sys.argv[3])
    for step, source in enumerate(contents):
        write(folder / source.name, step, source.read_bytes(), pause)
        time.sleep(pause)


if __name__ == "__main__":
    main()
