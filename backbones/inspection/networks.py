"""The networks in a checkpoint, the one that is evaluated, and tensors that its features do not depend on.

Self-supervised training stores two copies of a network, and each method's own evaluation uses a particular one. Only
such conventions decide; between two networks that no convention distinguishes, the user has to choose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from backbones.catalog.card import Conversion, KeyMapping
from backbones.checkpoints.key_mapping import Shape, select, shapes, tensors_of, unwrapped
from backbones.checkpoints.layouts import LAYOUTS, convert

Item = TypeVar("Item")
Place = tuple[str | None, str]
"""Container and prefix."""
MOSTLY = 0.9
"""Fraction of names that one network at two places has in common; heads may differ."""

STEMS = (
    "patch_embed.proj.weight",
    "conv_stem.weight",
    "stem.conv1.weight",
    "stem.conv.weight",
    "stem.0.weight",
    "features.conv0.weight",
    "features.0.weight",
    "conv1.0.weight",
    "conv1.weight",
)
"""Names of first layers of architectures; the longest match is removed to find the prefix."""
COLOURS = 3
BANDS = range(1, 33)
"""Channels of images other than photographs: grey, near infrared, satellite bands."""
_KINDS: tuple[tuple[str, str], ...] = (
    (
        (
            r"(head|heads|fc|classifier|cls_head|head_dist|last_linear|lin_cls|linear_classifier|lm_head|aux_classifier|"
            r"auxiliary_head|AuxLogits|linear|logits|clf|online_classifier|online_fc)(\.|$)(?!.*(norm|token|pool|probe|attn|"
            r"attention|pos_embed))"
        ),
        "a classifier or the head of a pretraining",
    ),
    (
        (
            r"(\w*projector|projection|\w*projection_head|proj_head|\w*predictor|\w*prediction_head|proj|pred_head|"
            r"prototypes?\d*|\w*projection_mlp|contrastive_head|dino_head|ibot_head|student_head|projectors|"
            r"predictor_\w+|projection_\w+)(\.|$)"
        ),
        "a projector, predictor or prototypes of a pretraining",
    ),
    (
        (
            r"(decoder|decoder_\w+|decode_head|segmentation_head|neck|rpn|rpn_head|roi_heads|roi_head|bbox_head|fpn|"
            r"mask_head|decoders|reconstruction_head|proposal_generator)(\.|$)"
        ),
        "a decoder or the head of another task",
    ),
    (r"(.*\.)?(mask_token|masked_embed|mask_embed)$", "a token that only masked pretraining uses"),
    (r"((.*\.)?(queue|queue_ptr|queue_\w+)|queue\d*)$", "a queue of a contrastive pretraining"),
    (r"(\w*loss\w*|criterion|center|centers|\w*_loss_fn)(\.|$)", "buffers of a loss"),
    (r"(.*\.)?(num_batches_tracked|n_averaged|num_updates|_num_updates|step|decay|epoch)$", "a counter"),
    (
        (
            r"(.*\.)?(relative_position_index|relative_coords_table|attn_mask|position_ids|rope_embed\.periods|bias_mask|"
            r"rope\.(periods|freqs_cos|freqs_sin)|attention_bias_idxs|attention_biases_idxs)$"
        ),
        "a table that the architecture computes itself",
    ),
    (
        r"(data_preprocessor|pixel_mean|pixel_std|image_mean|image_std|normalize|preprocess)(\.|$)",
        "numbers of the preprocessing",
    ),
    (r"pooler\.dense\.", "transformers' pooler, a layer after the features"),
    (r"pre_logits\.", "a layer of the classifier, which timm omits as well"),
    (
        (
            r"(text_model|text|text_projection|token_embedding|ln_final|logit_scale|logit_bias|text_encoder|bert|"
            r"language_model|lm|textual)(\.|$)"
        ),
        "the text tower of a model of images and text",
    ),
    (r"(metrics?|train_\w*(acc|metric)\w*|val_\w*(acc|metric)\w*|knn\w*|accuracy\w*)(\.|$)", "a metric's counters"),
)
HARMLESS = tuple((re.compile(pattern), reason) for pattern, reason in _KINDS)
ADAPTER = re.compile(r"(^|[._])(lora|loha|lokr|adapter|adapters|dora|ia3|vera)([._]|$|[AB]_)", re.IGNORECASE)
"""Parts of the names of adapters, which change the network's function."""


@dataclass(frozen=True)
class CheckpointNetwork:
    """Tensors of one network, without content, by their names in the architecture; `outside` lists the
    container's other keys, `unread` is the type of weights that are not floating-point numbers.
    """

    container: str | None
    prefix: str
    conversion: Conversion
    tensors: Mapping[str, Tensor]
    outside: tuple[str, ...] = ()
    unread: str | None = None

    @property
    def shapes(self) -> dict[str, Shape]:
        return shapes(self.tensors)

    @property
    def place(self) -> str:
        """Container and prefix in one string, which the patterns of conventions match."""
        return f"{self.container or ''}.{self.prefix}"


@dataclass(frozen=True)
class Convention:
    """Choice between two networks: the one that a method's own evaluation uses."""

    preferred: re.Pattern[str]
    other: re.Pattern[str]
    method: str
    words: str


def _convention(preferred: str, other: str, method: str, words: str) -> Convention:
    return Convention(re.compile(preferred), re.compile(other), method, words)


CONVENTIONS = (
    _convention(r"\bencoder_q\.", r"\bencoder_k\.", "moco", "MoCo is evaluated by its query encoder"),
    _convention(
        r"(^|\.)encoder\.", r"(^|\.)encoder_k\.", "own checkpoint", "the trained encoder is evaluated, not its copy"
    ),
    _convention(r"base_encoder\.", r"momentum_encoder\.", "moco-v3", "MoCo v3 is evaluated by its base encoder"),
    _convention(r"teacher", r"student", "dino", "DINO and iBOT are evaluated by their teacher"),
    _convention(r"online", r"target", "byol", "BYOL is evaluated by its online network"),
    _convention(r"target_encoder", r"(^|\.)encoder", "ijepa", "I-JEPA is evaluated by its target encoder"),
    _convention(
        r"^(?!.*(momentum|target|ema)).*(backbone|encoder|model)",
        r"(momentum_|target_)(backbone|encoder)|(backbone|encoder)_(momentum|target)",
        "own checkpoint",
        "the trained network is evaluated, not its momentum copy",
    ),
    _convention(
        r"(^|[._])(ema|averaged?|swa)(_|\.|$)",
        r"^(?!.*(^|[._])(ema|averaged?|swa)(_|\.|$))",
        "own checkpoint",
        "the averaged (EMA) weights are evaluated, as timm loads them",
    ),
)
METHODS = (
    (re.compile(r"encoder_q\."), "moco"),
    (re.compile(r"base_encoder\."), "moco-v3"),
    (re.compile(r"decoder_blocks\.0\."), "mae"),
    (re.compile(r"prototypes"), "swav"),
    (re.compile(r"\bonline_"), "byol"),
    (re.compile(r"(^|\.)predictor\."), "simsiam"),
)
"""Further patterns that identify the method of a checkpoint; the first match counts."""


def find_streams(checkpoint: Mapping[str, object]) -> list[CheckpointNetwork]:
    """Every network of the checkpoint, recognised by a first layer with three input channels."""
    return [
        _stream(container, tensors, prefix, conversion)
        for container, tensors in by_container(checkpoint).items()
        for prefix, conversion in dict.fromkeys(_beginnings(tensors))
    ]


def stream_at(
    checkpoint: Mapping[str, object], container: str | None, prefix: str, conversion: Conversion = "none"
) -> CheckpointNetwork | None:
    """Tensors at a place, by default under their own names; None when there are none."""
    found = _stream(container, by_container(checkpoint).get(container, {}), prefix, conversion)
    return found if found.tensors else None


def by_container(checkpoint: Mapping[str, object]) -> dict[str | None, dict[str, Tensor]]:
    """Tensors of every dictionary without their content, under keys without the names of wrappers."""
    found: dict[str | None, dict[str, Tensor]] = {}
    for container, key, tensor in tensors_of(checkpoint):
        found.setdefault(container, {})[key] = hollow(tensor)
    return {container: unwrapped(tensors) for container, tensors in found.items()}


def hollow(tensor: Tensor) -> Tensor:
    """Tensor of the same shape and type without content. A quantised one counts as integers."""
    dtype = torch.int8 if tensor.is_quantized else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype, device="meta")


def other_channels(checkpoint: Mapping[str, object]) -> tuple[str, int] | None:
    """First layer for another number of channels: its name and the number."""
    stems = (*STEMS, *(stem for layout in LAYOUTS.values() for stem in layout.stems))
    for tensors in by_container(checkpoint).values():
        for key, tensor in tensors.items():
            stem = any(_ends(key, name) for name in stems if not name.startswith("0."))
            if stem and tensor.ndim == 4 and tensor.shape[1] != COLOURS and tensor.shape[1] in BANDS:
                return key, tensor.shape[1]
    return None


def prefer(items: Sequence[tuple[Item, str]]) -> tuple[Item, Convention] | None:
    """The item that a convention selects, by its place; None when none applies."""
    for convention in CONVENTIONS:
        chosen = [item for item, place in items if convention.preferred.search(place)]
        others = [item for item, place in items if convention.other.search(place)]
        if len(chosen) == 1 and len(others) >= len(items) - 1:
            return chosen[0], convention
    return None


def distinct(checkpoint: Mapping[str, object], places: Sequence[Place]) -> list[list[Place]]:
    """Places grouped by equal networks, compared number by number: one network under several names."""
    groups: list[list[Place]] = []
    for place in places:
        same = next((group for group in groups if _equal(checkpoint, group[0], place)), None)
        if same is None:
            groups.append([place])
        else:
            same.append(place)
    return groups


def _equal(checkpoint: Mapping[str, object], first: Place, second: Place) -> bool:
    one, other = (select(checkpoint, KeyMapping(container=c, prefix=p)) for c, p in (first, second))
    shared = one.keys() & other.keys()
    return len(shared) >= MOSTLY * max(len(one), len(other)) and all(
        torch.equal(one[key], other[key]) for key in shared
    )


def method_of(checkpoint: Mapping[str, object]) -> str | None:
    """Method whose layout this is, where it can be recognised."""
    names = [f"{container or ''}.{key}" for container, key, _ in tensors_of(checkpoint)]
    return next((method for pattern, method in METHODS if any(pattern.search(name) for name in names)), None)


def _beginnings(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Conversion]]:
    """Prefix and conversion of every network among these tensors."""
    for key, tensor in tensors.items():
        if tensor.ndim != 4 or tensor.shape[2 if key.endswith("kernel") else 1] != COLOURS:
            continue
        found = _layout(key, tensors) or _plain(key)
        if found is not None:
            yield found


def _layout(key: str, tensors: Mapping[str, Tensor]) -> tuple[str, Conversion] | None:
    """The first layout with this first layer, and with its sign below the same prefix."""
    for conversion, layout in LAYOUTS.items():
        for stem in layout.stems:
            if _ends(key, stem):
                prefix = key.removesuffix(stem)
                if layout.fits(other[len(prefix) :] for other in tensors if other.startswith(prefix)):
                    return prefix, conversion
    return None


def _plain(key: str) -> tuple[str, Conversion] | None:
    stem = next((stem for stem in STEMS if _ends(key, stem)), None)
    return None if stem is None else (key.removesuffix(stem), "none")


def _stream(
    container: str | None, tensors: Mapping[str, Tensor], prefix: str, conversion: Conversion
) -> CheckpointNetwork:
    inside = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    outside = tuple(key for key in tensors if not key.startswith(prefix))
    weights = [value for key, value in inside.items() if key.endswith(("weight", "kernel")) and value.ndim > 1]
    integer = next((str(value.dtype) for value in weights if not value.dtype.is_floating_point), None)
    return CheckpointNetwork(container, prefix, conversion, convert(conversion, inside), outside, integer)


def _ends(key: str, stem: str) -> bool:
    return key == stem or key.endswith(f".{stem}")


def harmless(key: str) -> str | None:
    """Reason why features do not depend on the tensor; None when unknown."""
    if ADAPTER.search(key):
        return None
    return next((reason for pattern, reason in HARMLESS if pattern.match(key)), None)


def adapters(keys: Iterable[str]) -> list[str]:
    """Keys that belong to an adapter."""
    return [key for key in keys if ADAPTER.search(key)]
