"""What a detector says of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes that were found in one image.

    `corners` float32 [k, 4] are x0 y0 x1 y1 in pixels of the image, x1 and y1 exclusive, as in
    `tasks.datasets.targets.Boxes`; `labels` int64 [k]; `scores` float32 [k].
    """

    corners: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)
