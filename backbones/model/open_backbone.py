"""Backbones in a notebook or a script: opened by name, images in, features out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch import uint8 as torch_uint8

from backbones.catalog.card import BackboneCard, Pooling, Precision, PreprocessingSpec, preprocessing_for
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.errors import WeightsError
from backbones.io.files import workspace_folder
from backbones.io.image_reading import PLAIN, read_image, rgb
from backbones.model.encoder import Encoder
from backbones.model.preprocessing import Picture, stack

Array = npt.NDArray[np.generic]
OneImage = Image.Image | Path | str | Array | Tensor
"""A Pillow image of any mode, the path of a file, a uint8 array [h, w, 3] or [h, w], a uint8 tensor [3, h, w]."""
Images = OneImage | Sequence[OneImage]
"""One image, several, or a batch: a uint8 array [b, h, w, 3] or a uint8 tensor [b, 3, h, w]."""
THREADS = 8


@dataclass(frozen=True)
class OpenBackbone:
    """A loaded, frozen backbone with one preprocessing."""

    encoder: Encoder
    preprocessing: PreprocessingSpec

    @property
    def card(self) -> BackboneCard:
        """Architecture, weights, pooling and published facts."""
        return self.encoder.card

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return self.encoder.dimension

    def features(
        self, images: Images, *, batch_size: int = 64, progress: Callable[[int, int], None] | None = None
    ) -> npt.NDArray[np.float32]:
        """Features float32 [n, dimension] of images, in their order, as tasks compute them.

        Each image is resized, cropped and normalised by `preprocessing`; pixels have to be from 0 to 255, not
        normalised. `progress` is called with the numbers of finished and all images.

        Raises: TypeError, ValueError: an input is not an image, or has another shape or dtype; the message gives its
        index. WeightsError: the backbone returns NaN or infinity.
        """
        given = _listed(images)
        parts: list[npt.NDArray[np.float32]] = []
        with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:
            for first in range(0, len(given), batch_size):
                batch = given[first : first + batch_size]
                prepared = list(pool.map(self._prepared, range(first, first + len(batch)), batch))
                parts.append(self._encoded(stack(prepared), first))
                if progress is not None:
                    progress(first + len(batch), len(given))
        return np.concatenate([np.empty((0, self.dimension), np.float32), *parts])

    def _prepared(self, index: int, image: OneImage) -> Tensor:
        return self.encoder.prepare(_picture(image, index), self.preprocessing)

    def _encoded(self, batch: Tensor, first: int) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self.encoder.encode(batch, self.preprocessing).cpu().numpy()
        wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(wrong):
            raise WeightsError(
                f"{self.card.name} returns NaN or infinity on image {first + int(wrong[0])}: check its weights, or use "
                "precision='float32'"
            )
        return found


def open_backbone(
    name: str | BackboneCard,
    *,
    workspace: Path | str | None = None,
    preprocessing: str = "paper",
    pooling: Pooling | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    fetch: bool = False,
) -> OpenBackbone:
    """Load a backbone by the name of its card, by a `timm:`, `file:` or fetched `hf:` name, or from a card.

    `workspace` contains the user's cards and the weights; by default the console's own. `preprocessing` is `paper`
    (that of the tasks), `own`, `squash` or `resize-256`; `pooling` replaces that of the card. Missing weights are
    downloaded only with `fetch`.

    Raises:
        CardNameError: there is no backbone of this name.
        WeightsError: weights are missing, damaged or do not fit; the message contains the fix.
        ValueError: there is no preprocessing of this name.
    """
    root = workspace_folder(workspace)
    weights = WeightsFolder(root / "weights")
    catalog = BackboneCatalog.load([root / "backbones"], hub=weights.hub_models)
    card = name if isinstance(name, BackboneCard) else catalog.get(name)
    if pooling is not None:
        card = card.model_copy(update={"pooling": pooling})
    if fetch:
        weights.fetch(card)
    spec = preprocessing_for(card, preprocessing)
    return OpenBackbone(Encoder.load(card, weights, device, precision), spec)


def _listed(images: Images) -> Sequence[OneImage]:
    """A single image as a list of one; a batch as its images."""
    if isinstance(images, Image.Image | Path | str):
        return [images]
    if isinstance(images, Tensor | np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    return images


def _picture(image: OneImage, index: int) -> Picture:
    """An RGB image. Raises ImageError, TypeError, ValueError."""
    if isinstance(image, Image.Image):
        return rgb(image, PLAIN)
    if isinstance(image, Path | str):
        return _read(Path(image))
    if isinstance(image, Tensor):
        return _from_tensor(image, index)
    if isinstance(image, np.ndarray):
        return _from_array(image, index)
    raise TypeError(f"image {index} is a {type(image).__name__}: give a Pillow image, a path, an array or a tensor")


def _read(path: Path) -> Picture:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give its files, e.g. sorted(Path({str(path)!r}).glob('*.jpg'))")
    return read_image(path)


def _from_tensor(image: Tensor, index: int) -> Picture:
    _check(image.dtype == torch_uint8, index, "tensor", image.dtype, "(tensor * 255).round().to(torch.uint8)")
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"image {index} is a tensor of shape {tuple(image.shape)}: expected [3, h, w] or [b, 3, h, w]")
    pixels: npt.NDArray[np.uint8] = image.permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


def _from_array(image: Array, index: int) -> Picture:
    _check(image.dtype == np.uint8, index, "array", image.dtype, "(array * 255).round().astype('uint8')")
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3:
        shapes = "expected [h, w, 3], [h, w] or [b, h, w, 3]"
        raise ValueError(f"image {index} is an array of shape {image.shape}: {shapes}")
    return np.ascontiguousarray(image, dtype=np.uint8)


def _check(right: bool, index: int, kind: str, dtype: object, conversion: str) -> None:
    if not right:
        raise TypeError(
            f"image {index} is a {kind} of {dtype}: give pixels from 0 to 255 as uint8, not normalised; convert values "
            f"from 0 to 1 by {conversion}"
        )
