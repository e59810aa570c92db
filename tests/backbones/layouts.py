"""Checkpoints in the layouts of training code, with real names and shapes, of a few KB each.

Every tensor is one stored number spread over its shape, so a ViT-B file is as small as its list of keys.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from backbones.model.architecture import make

Tensors = dict[str, Tensor]


@cache
def tensors_of(architecture: str, value: float = 0.5, **arguments: Any) -> Tensors:
    """An architecture's tensors, each with a single value."""
    with torch.device("meta"):
        model: nn.Module = make(architecture, **arguments)
    return {key: spread(tuple(tensor.shape), value) for key, tensor in model.state_dict().items()}


def spread(shape: tuple[int, ...], value: float = 0.5) -> Tensor:
    return torch.full((), value).expand(shape)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}{key}": value for key, value in tensors.items()}


def mlp(name: str, *sizes: int) -> Tensors:
    """Linear layers 0, 3, 6 ... with batch norms between them, as in projectors."""
    layers: Tensors = {}
    for place, (given, out) in enumerate(pairwise(sizes)):
        layers[f"{name}.{3 * place}.weight"] = spread((out, given))
        layers[f"{name}.{3 * place + 1}.weight"] = spread((out,))
        layers[f"{name}.{3 * place + 1}.running_mean"] = spread((out,))
    return layers


def optimizer(shape: tuple[int, ...]) -> dict[str, Any]:
    """The state of SGD: tensors with the shapes of the network's own."""
    return {"state": {0: {"momentum_buffer": spread(shape)}}, "param_groups": [{"lr": 0.03, "params": [0]}]}


def lightly_names(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    for key, value in tensors.items():
        child, _, rest = key.partition(".")
        yield f"{places[child]}.{rest}", value


def torchvision() -> object:
    return {**tensors_of("resnet50"), "fc.weight": spread((1000, 2048)), "fc.bias": spread((1000,))}


def data_parallel() -> object:
    net = {**tensors_of("resnet18"), "fc.weight": spread((1000, 512)), "fc.bias": spread((1000,))}
    return {"epoch": 90, "arch": "resnet18", "state_dict": under("module.", net), "best_acc1": 69.8}


def moco() -> object:
    query = under("module.encoder_q.", {**tensors_of("resnet50"), **mlp("fc", 2048, 2048, 128)})
    key = under("module.encoder_k.", {**tensors_of("resnet50", 0.25), **mlp("fc", 2048, 2048, 128)})
    queue = {"module.queue": spread((128, 65536)), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    return {"epoch": 200, "state_dict": {**query, **key, **queue}, "optimizer": optimizer((64, 3, 7, 7))}


def moco_v3() -> object:
    vit = tensors_of("vit_small_patch16_224")
    base = under("module.base_encoder.", {**vit, **mlp("head", 384, 4096, 256)})
    momentum = under("module.momentum_encoder.", {**vit, **mlp("head", 384, 4096, 256)})
    predictor = mlp("module.predictor", 256, 4096, 256)
    return {"epoch": 300, "state_dict": {**base, **momentum, **predictor}, "args": argparse.Namespace(arch="vit_small")}


def simsiam() -> object:
    encoder = under("module.encoder.", {**tensors_of("resnet50"), **mlp("fc", 2048, 2048, 2048)})
    return {"epoch": 100, "state_dict": {**encoder, **mlp("module.predictor", 2048, 512, 2048)}}


def byol_torch() -> object:
    online = under("online_encoder.net.", tensors_of("resnet50"))
    target = under("target_encoder.net.", tensors_of("resnet50", 0.25))
    heads = {
        **mlp("online_encoder.projector.net", 2048, 4096, 256),
        **mlp("target_encoder.projector.net", 2048, 4096, 256),
    }
    return {**online, **target, **heads, **mlp("online_predictor.net", 256, 4096, 256)}


def dino() -> object:
    vit = tensors_of("vit_small_patch8_224")
    head = {"head.last_layer.weight_g": spread((65536, 1)), **mlp("head.mlp", 384, 2048, 256)}
    return {
        "student": {**under("module.backbone.", vit), **under("module.", head)},
        "teacher": {**under("backbone.", vit), **head},
        "optimizer": optimizer((384, 3, 8, 8)),
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=8),
        "dino_loss": {"center": spread((1, 65536))},
    }


def ibot() -> object:
    vit = tensors_of("vit_base_patch16_224")
    return {
        "student": under("module.backbone.", {**vit, "masked_embed": spread((1, 768))}),
        "teacher": {**under("backbone.", vit), **mlp("head.mlp", 768, 2048, 256)},
        "ibot_loss": {"center": spread((1, 8192)), "center2": spread((1, 1, 8192))},
    }


def mae() -> object:
    decoder = {"mask_token": spread((1, 1, 512)), "decoder_pos_embed": spread((1, 197, 512))}
    decoder |= {"decoder_embed.weight": spread((512, 768)), "decoder_blocks.0.attn.qkv.weight": spread((1536, 512))}
    decoder |= {"decoder_norm.weight": spread((512,)), "decoder_pred.weight": spread((768, 512))}
    return {"model": {**tensors_of("vit_base_patch16_224"), **decoder}, "epoch": 1599}


def vicreg() -> object:
    backbone = under("module.backbone.", tensors_of("resnet50"))
    return {"epoch": 1000, "model": {**backbone, **mlp("module.projector", 2048, 8192, 8192, 8192)}}


def barlow_twins() -> object:
    whole = {**under("module.backbone.", tensors_of("resnet50")), **mlp("module.projector", 2048, 8192, 8192)}
    return {"epoch": 300, "model": {**whole, "module.bn.running_mean": spread((8192,))}}


def solo_learn() -> object:
    net = {**under("backbone.", tensors_of("resnet18")), **under("momentum_backbone.", tensors_of("resnet18", 0.25))}
    heads = {**mlp("projector", 512, 4096, 256), "classifier.weight": spread((100, 512))}
    return {"epoch": 400, "global_step": 78000, "pytorch-lightning_version": "1.7", "state_dict": {**net, **heads}}


def lightly() -> object:
    backbone = under("backbone.", dict(lightly_names(tensors_of("resnet50"))))
    return {"state_dict": {**backbone, **mlp("projection_head.layers", 2048, 2048, 128)}, "global_step": 5000}


def lightning() -> object:
    net = under("model.encoder.", tensors_of("vit_tiny_patch16_224"))
    return {"epoch": 9, "global_step": 990, "state_dict": net, "hyper_parameters": {"lr": 1e-3}, "loops": {}}


def ema() -> object:
    plain, averaged = tensors_of("resnet50"), tensors_of("resnet50", 0.25)
    return {"epoch": 3, "arch": "resnet50", "state_dict": plain, "state_dict_ema": averaged, "version": 2}


def vissl() -> object:
    trunk = under("_feature_blocks.", tensors_of("resnet50"))
    heads = {"0.clf.0.weight": spread((128, 2048))}
    return {"classy_state_dict": {"base_model": {"model": {"trunk": trunk, "heads": heads}}}, "iteration": 100}


def mmpretrain() -> object:
    net = {**under("backbone.", tensors_of("resnet50")), **mlp("neck", 2048, 2048), **mlp("head.fc", 2048, 1000)}
    return {"meta": {"epoch": 200}, "state_dict": net}


def swav() -> object:
    heads = {**mlp("module.projection_head", 2048, 2048, 128), "module.prototypes.weight": spread((3000, 128))}
    return {**under("module.", tensors_of("resnet50")), **heads}


def dinov2() -> object:
    return {**tensors_of("vit_small_patch14_dinov2"), "mask_token": spread((1, 384))}


LAYOUTS: dict[str, tuple[Callable[[], object], str, str | None, str]] = {
    "torchvision": (torchvision, "resnet50", None, ""),
    "DistributedDataParallel": (data_parallel, "resnet18", "state_dict", "module."),
    "MoCo": (moco, "resnet50", "state_dict", "module.encoder_q."),
    "MoCo v3": (moco_v3, "vit_small_patch16_224", "state_dict", "module.base_encoder."),
    "SimSiam": (simsiam, "resnet50", "state_dict", "module.encoder."),
    "BYOL": (byol_torch, "resnet50", None, "online_encoder.net."),
    "DINO": (dino, "vit_small_patch8_224", "teacher", "backbone."),
    "iBOT": (ibot, "vit_base_patch16_224", "teacher", "backbone."),
    "MAE": (mae, "vit_base_patch16_224", "model", ""),
    "VICReg": (vicreg, "resnet50", "model", "module.backbone."),
    "Barlow Twins": (barlow_twins, "resnet50", "model", "module.backbone."),
    "solo-learn": (solo_learn, "resnet18", "state_dict", "backbone."),
    "lightly": (lightly, "resnet50", "state_dict", "backbone."),
    "Lightning": (lightning, "vit_tiny_patch16_224", "state_dict", "model.encoder."),
    "EMA": (ema, "resnet50", "state_dict_ema", ""),
    "VISSL": (vissl, "resnet50", "classy_state_dict.base_model.model.trunk", "_feature_blocks."),
    "mmpretrain": (mmpretrain, "resnet50", "state_dict", "backbone."),
    "SwAV": (swav, "resnet50", None, "module."),
    "DINOv2": (dinov2, "vit_small_patch14_dinov2", None, ""),
}
"""By name: the writing code, then the architecture, container and prefix to be recognised."""
