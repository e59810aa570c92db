"""`python -P -m ssl_console.worker.image_names`: names of a dataset's test images, and thumbnails of some.

Runs in a separate process, as readers may import torch. Reads an `ImageRequest` from standard input, and writes an
`ImageAnswer`.
"""

from __future__ import annotations

import io
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import Selection, many_shot_indices

THUMBNAIL = 64
"""Pixels of the longer side."""


class ImageRequest(BaseModel):
    """Request for names and thumbnails of images."""

    dataset: DatasetCard
    data_root: Path
    cache: Path
    index: list[int]
    """Index of every test image in its source split, as recorded by the run."""
    positions: list[int]
    """The requested images, as positions among the test images."""
    thumbnails: int
    """Number of requested thumbnails."""


class ImageAnswer(BaseModel):
    """Names and thumbnails in the order of the request."""

    names: list[str]
    """Paths of files; stable names of images that are not files."""
    classes: list[str]
    thumbnails: list[str]
    """PNG files in base64."""


def answer(request: ImageRequest) -> ImageAnswer:
    """Open the dataset and find the images. Raises DataError if the test images differ from those of the run."""
    dataset = open_dataset(request.dataset, request.data_root, request.cache)
    test = many_shot_indices(dataset).test
    if not np.array_equal(np.concatenate([indices for _, indices in test]), np.array(request.index)):
        raise DataError(f"{request.dataset.name}: the test images differ from those of the run")
    places = [_place(test, position) for position in request.positions]
    drawn = [_thumbnail(dataset, *place) for place in places[: request.thumbnails]]
    return ImageAnswer(
        names=[_name(dataset, *place) for place in places], classes=list(dataset.classes), thumbnails=drawn
    )


def _place(test: Selection, position: int) -> tuple[str, int]:
    """Source split of a test image, and its index there."""
    for name, indices in test:
        if position < len(indices):
            return name, int(indices[position])
        position -= len(indices)
    raise DataError(f"there is no test image {position}")


def _name(dataset: Dataset, split: str, index: int) -> str:
    images = dataset.splits[split].images
    path = getattr(images, "path", None)
    return str(path(index)) if path is not None else dataset.splits[split].identifiers[index]


def _thumbnail(dataset: Dataset, split: str, index: int) -> str:
    image = dataset.splits[split].images[index]
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "PNG")
    return b64encode(file.getvalue()).decode()


def main() -> int:
    """Answer one request; a data error is the last line of standard error."""
    try:
        found = answer(ImageRequest.model_validate_json(sys.stdin.read()))
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(found.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
