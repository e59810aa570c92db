"""A loaded backbone: images in, feature vectors out, with the pooling of maps or tokens to one vector per image."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from backbones.catalog.card import BackboneCard, Pooling, Precision, PreprocessingSpec, preprocessing_for
from backbones.catalog.layer_info import BlockChoice, BlockInfo, LayerColumn
from backbones.catalog.weights_folder import WeightsFolder
from backbones.cpu.optimise import folded, packed
from backbones.io.errors import WeightsError
from backbones.model.cuda_graphs import GraphedForward
from backbones.model.feature_maps import NoBlocks, block_info, block_modules, pooled_columns, recorded_blocks
from backbones.model.input_copies import CudaStreams, DoubleBuffer
from backbones.model.loading import load_model
from backbones.model.precision import arithmetic, with_half_weights
from backbones.model.preprocessing import Picture, normalise, prepared_view


def pool(model: nn.Module, features: Tensor, pooling: Pooling) -> Tensor:
    """Pool the output of `forward_features`: [b, d, h, w] or [b, h, w, d] maps, [b, n, d] tokens; returns [b, d].

    `default`: the model's own head without its classifier. `avg`: the mean over positions, then the head's norm.
    `cls`: the class token. `cls+avg`: both, concatenated. `map`: the model's attention pooling. Raises WeightsError
    when the model has no such pooling.
    """
    if pooling == "default":
        return _own(model, features)
    if pooling == "map":
        head = type(getattr(model, "head", None)).__name__
        if getattr(model, "attn_pool", None) is None and "Attention" not in head:
            raise WeightsError(f"{_name(model)} has no attention pooling: use pooling=default")
        return _own(model, features)
    if not isinstance(features, Tensor):
        raise WeightsError(f"{_name(model)} returns several maps: use pooling=default")
    if features.ndim == 4:
        return _pool_map(model, features, pooling)
    if features.ndim != 3:
        raise WeightsError(f"{_name(model)} returns features of {features.ndim} dimensions: use pooling=default")
    return _pool_tokens(model, features, pooling)


def _own(model: nn.Module, features: Tensor) -> Tensor:
    return cast("Tensor", cast("Any", model).forward_head(features))


def _pool_map(model: nn.Module, features: Tensor, pooling: Pooling) -> Tensor:
    """Pooled map; where the head averages anyway, its own average is used, including the norm."""
    if pooling != "avg":
        raise WeightsError(f"{_name(model)} has no class token: use pooling=avg")
    if _averages(model):
        return _own(model, features)
    last = getattr(model, "output_fmt", None) == "NHWC"
    return features.mean(dim=(1, 2) if last else (2, 3))


def _pool_tokens(model: nn.Module, tokens: Tensor, pooling: Pooling) -> Tensor:
    """Pooled tokens. Prefix tokens (class, registers) come first and are not positions; the class token is the
    first of them.
    """
    prefix = cast("int", getattr(model, "num_prefix_tokens", 0))
    has_class = prefix > 0 and getattr(model, "cls_token", None) is not None
    if "cls" in pooling and not has_class:
        raise WeightsError(f"{_name(model)} has no class token: use pooling=avg")
    parts = {"cls": tokens[:, :1], "avg": tokens[:, prefix:]}
    norm = cast("nn.Module", getattr(model, "fc_norm", None) or nn.Identity())
    return torch.cat([norm(parts[part].mean(dim=1)) for part in pooling.split("+")], dim=1)


def _averages(model: nn.Module) -> bool:
    """Whether the head's own pooling is the mean over positions."""
    for owner in (model, getattr(model, "head", None)):
        kind = getattr(owner, "global_pool", None)
        kind = kind if isinstance(kind, str) else getattr(kind, "pool_type", None)
        if kind is not None:
            return kind in ("avg", "fast", "fastavg")
    return False


def _name(model: nn.Module) -> str:
    return type(model).__name__


__all__ = ["Encoder", "Precision"]

CPU_PIXELS = 16 * 224 * 224
"""Maximum number of pixels in one forward pass on a CPU. With more, feature maps are so large that their memory
is returned to the system after every layer and allocated again page by page: up to two fifths of all processor
time, unless the process retains it (`backbones.cpu.malloc`). In that case larger batches are not faster
either, and take more memory.
"""
PROBES = 2
"""Number of noise images on which an optimised network is compared with the loaded one."""


class Encoder:
    """A frozen backbone on a device, created by `Encoder.load`. Deterministic: equal images give equal vectors.

    `model` is the loaded backbone, `network` the optimised equivalent that encodes images. `dimension` is the
    length of a feature vector, `weights_digest` the digest of its verified weights, `images_encoded` the number
    of encoded images, and `forwards` computes passes by CUDA graphs where these are enabled.
    """

    def __init__(
        self, card: BackboneCard, model: nn.Module, device: torch.device, precision: Precision, weights_digest: str
    ) -> None:
        self.card = card
        self.model = model
        self.device = device
        self.precision = precision
        self.weights_digest = weights_digest
        self.images_encoded = 0
        self.forwards = GraphedForward.on(device)
        self._copies = DoubleBuffer(CudaStreams.of(device)) if device.type == "cuda" else None
        self._layout = torch.contiguous_format
        self.dimension = self._probe()
        self.network = self._quickened()

    @classmethod
    def load(
        cls, card: BackboneCard, weights: WeightsFolder, device: str = "cpu", precision: Precision = "float32"
    ) -> Encoder:
        """Verify the weights' digest, load them strictly, and move the backbone to the device.

        Raises WeightsError when weights are missing, damaged or do not fit, and RuntimeError for a device that torch
        does not have.
        """
        place = torch.device(device)
        if place.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(f"{device}: torch sees no CUDA device here; use cpu, or install torch with CUDA")
        state = weights.verified(card)
        model = load_model(card, state.path).to(place)
        return cls(card, model, place, precision, cast("str", state.digest))

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        """One image as uint8 [3, crop, crop], possibly a part of a larger one in memory.

        Needs no device, so loader threads and processes can call it.
        """
        return prepared_view(image, spec)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        """Features of prepared images: uint8 [b, 3, h, w] to float32 [b, dimension], on the encoder's device.

        On a GPU the call is asynchronous, so the caller can prepare the next batch before reading the values.
        """
        features = self._encode(batch, spec)
        self.images_encoded += len(batch)
        return features

    def finish(self) -> str:
        """End a series of batches: free the memory of a CUDA graph; return how batches were computed, where that was
        decided by measurement.
        """
        return "; ".join(map(str, self.forwards.release()))

    def columns(self, choice: BlockChoice) -> tuple[LayerColumn, ...]:
        """Columns of layer-wise features. Raises WeightsError for a backbone whose blocks cannot be pooled."""
        try:
            return self._block_info.columns(choice)
        except NoBlocks as error:
            raise WeightsError(f"{self.card.name}: no layer-wise features: {error}") from error

    @torch.inference_mode()
    def encode_layers(self, batch: Tensor, spec: PreprocessingSpec, choices: Sequence[BlockChoice]) -> Tensor:
        """Pooled features as by `encode`, then the columns of each choice, from one forward pass.

        float32 [b, dimension + widths], on the encoder's device.
        """

        info, names = self._block_info, block_modules(self.model)

        def forward(pixels: Tensor) -> Tensor:
            with recorded_blocks(self.network, names) as outputs:
                pooled = self._forward(self.network, pixels, spec)
            with arithmetic(self.device, self.precision):
                layers = [pooled_columns(self.network, info, info.columns(choice), outputs) for choice in choices]
            return torch.cat([pooled, *layers], dim=1)

        parts = [self._passed((spec, tuple(choices)), forward, part) for part in self.parts(batch)]
        self.images_encoded += len(batch)
        return torch.cat(parts)

    def parts(self, batch: Tensor) -> Sequence[Tensor]:
        """Images [b, 3, h, w] split into the parts of consecutive forward passes."""
        if self.device.type != "cpu":
            return (batch,)
        return torch.split(batch, max(1, CPU_PIXELS // (batch.shape[-2] * batch.shape[-1])))

    @torch.inference_mode()
    def _encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        assert not self.model.training, "a frozen backbone must be in evaluation mode"

        def forward(pixels: Tensor) -> Tensor:
            return self._forward(self.network, pixels, spec)

        return torch.cat([self._passed(spec, forward, part) for part in self.parts(batch)])

    def _passed(self, key: Hashable, forward: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """`forward` of the pixels on the device; `key` identifies it."""
        with self._sent(batch) as pixels:
            return self.forwards(key, forward, pixels)

    @cached_property
    def _block_info(self) -> BlockInfo:
        return block_info(self.model, preprocessing_for(self.card, "paper").crop)

    def _pooled(self, network: nn.Module, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        with self._sent(batch) as pixels:
            return self._forward(network, pixels, spec)

    def _forward(self, network: nn.Module, pixels: Tensor, spec: PreprocessingSpec) -> Tensor:
        with arithmetic(self.device, self.precision):
            features = self._features(network, pixels, spec)
            return pool(network, features, self.card.pooling).float().flatten(1)

    def _features(self, network: nn.Module, pixels: Tensor, spec: PreprocessingSpec) -> Tensor:
        ordered = pixels.contiguous(memory_format=self._layout)
        return cast("Tensor", cast("Any", network).forward_features(normalise(ordered, spec)))

    def _sent(self, batch: Tensor) -> AbstractContextManager[Tensor]:
        """The pixels on the device, copied to a GPU from pinned memory: otherwise the copy would wait for the previous
        batch. Pixels that are there already are not copied.
        """
        if self._copies is None or batch.device.type != "cpu":
            return nullcontext(batch.to(self.device))
        return self._copies.sent(batch if batch.is_pinned() else batch.pin_memory())

    @torch.inference_mode()
    def _probe(self) -> int:
        """Length of a feature vector by a forward pass, because architectures do not always state it correctly.

        Backbones with maps are converted to channels-last layout, in which convolutions are up to 1.6 times as fast.
        """
        spec = preprocessing_for(self.card, "paper")
        blank = torch.zeros(1, 3, spec.crop, spec.crop, dtype=torch.uint8)
        with self._sent(blank) as pixels, arithmetic(self.device, self.precision):
            features = self._features(self.model, pixels, spec)
            dimension = pool(self.model, features, self.card.pooling).flatten(1).shape[1]
        if isinstance(features, Tensor) and features.ndim == 4:  # networks with several branches return a list of maps
            self._layout = torch.channels_last
            cast("Any", self.model).to(memory_format=self._layout)
        return dimension

    @torch.inference_mode()
    def _quickened(self) -> nn.Module:
        """In float32 on a CPU, the model with folded batch norms and packed linear layers, where that changes features
        by rounding only: in half precision the change is larger, and on other devices the gain has not been measured.
        In half precision on other devices, the model with weights that are cast once; on a CPU no gain was measured.
        """
        if (self.device.type == "cpu") != (self.precision == "float32"):
            return self.model
        spec = preprocessing_for(self.card, "paper")
        shape, generator = (PROBES, 3, spec.crop, spec.crop), torch.Generator().manual_seed(0)
        noise = torch.randint(256, shape, dtype=torch.uint8, generator=generator)

        def features(network: nn.Module) -> Tensor:
            return self._pooled(network, noise, spec)

        if self.precision != "float32":
            return with_half_weights(self.model, self.precision, features)
        return packed(folded(self.model, features), features)
