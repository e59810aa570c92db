"""Pre-training objectives: the loss of each method on a batch of the pool."""

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from tasks.pretraining.augmentation import Colouring, Views, random_views
from tasks.synthetic import DIGIT_NAMES, SOLID_NAMES


@dataclass(frozen=True, eq=False)
class PoolBatch:
    """`images` float32 [n, 3, h, w] in 0..1; `solids` and `digits` int64 [n], -1 for images without such a label."""

    images: Tensor
    solids: Tensor
    digits: Tensor


class Objective(Protocol):
    """A module that contains the backbone and computes a loss. All randomness comes from the given generator."""

    @property
    def backbone(self) -> nn.Module:
        """The backbone being trained."""
        ...

    def loss(self, batch: PoolBatch, generator: torch.Generator) -> Tensor:
        """Mean loss of a batch, a scalar."""
        ...


def _width(backbone: nn.Module) -> int:
    return int(cast("int", backbone.num_features))


def _to_backbone(backbone: nn.Module, views: Tensor) -> Tensor:
    return cast("Tensor", backbone(views.contiguous(memory_format=torch.channels_last)))


class Supervised(nn.Module):
    """Cross-entropy on the solid of one-object images and on the digit of digit images."""

    def __init__(self, backbone: nn.Module, crop: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.solid_head = nn.Linear(_width(backbone), len(SOLID_NAMES))
        self.digit_head = nn.Linear(_width(backbone), len(DIGIT_NAMES))
        self.views = Views(crop, area=(0.45, 1.0), colouring=Colouring(hue=0.5))

    def loss(self, batch: PoolBatch, generator: torch.Generator) -> Tensor:
        """Sum of both cross-entropies. Digits are not mirrored."""
        views = random_views(batch.images, self.views, generator, flippable=batch.digits < 0)
        features = _to_backbone(self.backbone, views)
        count = (batch.solids >= 0).sum() + (batch.digits >= 0).sum()
        return (
            functional.cross_entropy(self.solid_head(features), batch.solids, ignore_index=-1, reduction="sum")
            + functional.cross_entropy(self.digit_head(features), batch.digits, ignore_index=-1, reduction="sum")
        ) / count.clamp(min=1)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy of paired projections, both [n, d] (Chen et al. 2020, eq. 1)."""
    both = functional.normalize(torch.cat([first, second]), dim=1)
    similarity = both @ both.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    count = len(first)
    partners = torch.arange(2 * count).roll(count)
    return functional.cross_entropy(similarity, partners)


class SimClr(nn.Module):
    """SimCLR (Chen et al. 2020): contrast two views of each image with all other views of the batch."""

    def __init__(self, backbone: nn.Module, crop: int, colouring: Colouring | None) -> None:
        super().__init__()
        self.backbone = backbone
        width = _width(backbone)
        self.projector = nn.Sequential(
            nn.Linear(width, 192, bias=False), nn.BatchNorm1d(192), nn.ReLU(), nn.Linear(192, 64)
        )
        self.views = Views(crop, area=(0.25, 1.0), colouring=colouring)
        self.temperature = 0.2

    def loss(self, batch: PoolBatch, generator: torch.Generator) -> Tensor:
        """Contrastive loss of two random views of each image."""
        pair = [random_views(batch.images, self.views, generator) for _ in range(2)]
        projections = self.projector(_to_backbone(self.backbone, torch.cat(pair)))
        first, second = projections.chunk(2)
        return nt_xent(first, second, self.temperature)


def turn_quarters(images: Tensor, quarters: Tensor) -> Tensor:
    """Rotate each square image [n, c, h, h] by its number of quarter turns [n]."""
    turned = images.clone()
    for k in (1, 2, 3):
        chosen = quarters == k
        turned[chosen] = torch.rot90(images[chosen], k, (2, 3))
    return turned


class Rotation(nn.Module):
    """Rotation prediction (Gidaris et al. 2018): classify the number of quarter turns."""

    def __init__(self, backbone: nn.Module, crop: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(_width(backbone), 4)
        self.views = Views(crop, area=(0.25, 1.0), colouring=Colouring())

    def loss(self, batch: PoolBatch, generator: torch.Generator) -> Tensor:
        """Cross-entropy over the four rotations."""
        views = random_views(batch.images, self.views, generator)
        quarters = torch.randint(4, (len(views),), generator=generator)
        logits = self.head(_to_backbone(self.backbone, turn_quarters(views, quarters)))
        return functional.cross_entropy(logits, quarters)


MASKED_SHARE = 0.7
"""Fraction of patches hidden from the encoder."""


def cut_patches(images: Tensor, side: int) -> Tensor:
    """Cut images [n, c, h, w] into patches [n, patches, c * side * side], row by row."""
    n, c, h, w = images.shape
    cut = images.reshape(n, c, h // side, side, w // side, side)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, (h // side) * (w // side), c * side * side)


def _gather(tokens: Tensor, order: Tensor) -> Tensor:
    return tokens.gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))


class MaskedAutoencoder(nn.Module):
    """Masked autoencoding (He et al. 2022): encode the visible patches, reconstruct the others with a small decoder."""

    def __init__(self, backbone: VisionTransformer, crop: int, decoder_depth: int = 2) -> None:
        super().__init__()
        self.backbone = backbone
        width = int(backbone.embed_dim)
        self.side = int(cast("Any", backbone.patch_embed).patch_size[0])
        self.patches = (crop // self.side) ** 2
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, self.patches, width) * 0.02)
        self.decoder = nn.Sequential(*(Block(width, num_heads=2, mlp_ratio=2) for _ in range(decoder_depth)))
        self.painter = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * self.side**2))
        self.views = Views(crop, area=(0.4, 1.0))

    def encode(self, views: Tensor, visible: Tensor) -> Tensor:
        """Encode the patches `visible` [n, v] of views [n, 3, h, w]: class token and patches, [n, 1 + v, width]."""
        encoder = self.backbone
        positions = cast("Tensor", encoder.pos_embed)
        embedded = encoder.patch_embed(views)
        flat = embedded.flatten(1, 2) if embedded.ndim == 4 else embedded
        tokens = flat + positions[:, 1:]
        start = (cast("Tensor", encoder.cls_token) + positions[:, :1]).expand(len(views), -1, -1)
        return cast("Tensor", encoder.norm(encoder.blocks(torch.cat([start, _gather(tokens, visible)], dim=1))))

    def _paint(self, encoded: Tensor, order: Tensor) -> Tensor:
        """Reconstruction of all patches [n, patches, pixels], in image order."""
        hidden = self.mask_token.expand(len(encoded), self.patches - encoded.shape[1] + 1, -1)
        shuffled = torch.cat([encoded[:, 1:], hidden], dim=1)
        tokens = _gather(shuffled, order.argsort(dim=1)) + self.places
        return cast("Tensor", self.painter(self.decoder(torch.cat([encoded[:, :1], tokens], dim=1))[:, 1:]))

    def loss(self, batch: PoolBatch, generator: torch.Generator) -> Tensor:
        """Mean squared error on the hidden patches, standardised each: the best target in the paper (table 1d)."""
        views = random_views(batch.images, self.views, generator)
        order = torch.rand(len(views), self.patches, generator=generator).argsort(dim=1)
        visible, hidden = order[:, : -self.hidden], order[:, -self.hidden :]
        painted = self._paint(self.encode(views, visible), order)
        patches = cut_patches(views, self.side)
        centred = patches - patches.mean(dim=-1, keepdim=True)
        target = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-4).sqrt()
        return (_gather(painted, hidden) - _gather(target, hidden)).square().mean()

    @property
    def hidden(self) -> int:
        """Number of patches hidden from the encoder."""
        return round(MASKED_SHARE * self.patches)
