"""Masked autoencoding (He et al. 2022) for a plain timm vision transformer."""

from typing import Any, cast

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from tasks.pretraining.augmentation import Views, random_views
from tasks.pretraining.objectives import Batch

MASKED_SHARE = 0.7
"""Share of the patches that the encoder does not see."""


def cut_patches(images: Tensor, side: int) -> Tensor:
    """Cut images [n, c, h, w] into patches [n, patches, c * side * side], row by row."""
    n, c, h, w = images.shape
    cut = images.reshape(n, c, h // side, side, w // side, side)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, (h // side) * (w // side), c * side * side)


def standardise(patches: Tensor) -> Tensor:
    """Give each patch zero mean and unit variance: the target that worked best in the paper (table 1d)."""
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-4).sqrt()


def _gather(tokens: Tensor, order: Tensor) -> Tensor:
    return tokens.gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))


class MaskedAutoencoder(nn.Module):
    """Encode the visible patches; a light decoder paints the others."""

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
        """All patches [n, patches, pixels], in the image's order."""
        hidden = self.mask_token.expand(len(encoded), self.patches - encoded.shape[1] + 1, -1)
        shuffled = torch.cat([encoded[:, 1:], hidden], dim=1)
        tokens = _gather(shuffled, order.argsort(dim=1)) + self.places
        return cast("Tensor", self.painter(self.decoder(torch.cat([encoded[:, :1], tokens], dim=1))[:, 1:]))

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean squared error on the hidden patches."""
        views = random_views(batch.images, self.views, generator)
        order = torch.rand(len(views), self.patches, generator=generator).argsort(dim=1)
        visible, hidden = order[:, : -self.hidden], order[:, -self.hidden :]
        painted = self._paint(self.encode(views, visible), order)
        target = standardise(cut_patches(views, self.side))
        return (_gather(painted, hidden) - _gather(target, hidden)).square().mean()

    @property
    def hidden(self) -> int:
        """Patches that the encoder does not see."""
        return round(MASKED_SHARE * self.patches)
