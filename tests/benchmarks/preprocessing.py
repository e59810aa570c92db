"""From JPEG files to normalised batches, beside the published chain of one Pillow image after another. One thread.

python -m tests.benchmarks.preprocessing [--quick]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.cpu.malloc import keep_freed_memory
from backbones.model.preprocessing import normalise, prepare, stack
from tasks.datasets.dataset import SourceSplit
from tasks.datasets.images import FileImages, pixels_of
from tests.benchmarks._comparison import in_turns, row
from tests.benchmarks._options import parser
from tests.benchmarks._photographs import MEAN, STD, photographs, published_chain
from tests.benchmarks._record import Row, keep, overall, tell

SIZES = ((500, 375), (1024, 683), (2000, 1333))
BATCH = 32
SPEC = PreprocessingSpec("paper", 224, 224, "shorter", "bicubic", MEAN, STD)
CHAIN = published_chain()
GOAL = 3.0


def main() -> int:
    """All sizes alternately."""
    given = parser(__doc__).parse_args()
    keep_freed_memory()  # as in a worker; the alternative profits too
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            compared(photographs(Path(folder), BATCH, size), size, 3 if given.quick else 15)
            for size in (SIZES[:1] if given.quick else SIZES)
        ]
    rows.append(overall(f"geometric mean over {len(rows)} sizes", rows, GOAL))
    for line in rows:
        tell(line)
    keep("preprocessing", "JPEG files to normalised batches of 224 pixels", rows, given.results)
    return 0


def compared(split: SourceSplit, size: tuple[int, int], turns: int) -> Row:
    """One size: both methods alternately, and the difference of the pixels."""
    levels = (ours(split) - theirs(split)).abs() * torch.tensor(STD).view(3, 1, 1) * 255
    found = in_turns({"ours": lambda: ours(split), "theirs": lambda: theirs(split)}, turns)
    return row(
        f"{BATCH} images of {size[0]} x {size[1]}",
        "the published chain",
        found["ours"],
        found["theirs"],
        goal=GOAL,
        grey_levels_apart_at_most=round(float(levels.max()), 2),
        grey_levels_apart_on_average=float(levels.mean()),
    )


def ours(split: SourceSplit) -> Tensor:
    """Bytes until the batch is complete, then floats."""
    images = [prepare(pixels_of(split.images, place), SPEC) for place in range(len(split.images))]
    return normalise(stack(images), SPEC)


def theirs(split: SourceSplit) -> Tensor:
    """As in a torchvision dataset's loader and transform."""
    assert isinstance(split.images, FileImages)
    made = []
    for name in split.images.files:
        with (split.images.root / name).open("rb") as file:
            made.append(CHAIN(Image.open(file).convert("RGB")))
    return torch.stack(made)


if __name__ == "__main__":
    sys.exit(main())
