"""Reasons why the content of a file cannot be used, each with a fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backbones.checkpoints.key_mapping import tensors_of
from backbones.inspection.networks import other_channels
from backbones.inspection.proposal import InspectionHints

TEXT = ("word_embeddings", "tok_embeddings", "embed_tokens", "wte.weight")
FEW = 8
"""Number of tensors up to which a file may contain a head without a network."""
_CONSOLIDATE = (
    "consolidate them where they were created: load and save with StateDictType.FULL_STATE_DICT, or for a folder "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth"
)
_ZERO = "python -m deepspeed.utils.zero_to_fp32 FOLDER OUTPUT"


def unusable(checkpoint: Mapping[str, object]) -> str | None:
    """Why the whole file cannot be used with any architecture; None for most files."""
    tensors = [(key, tensor) for _, key, tensor in tensors_of(checkpoint)]
    flat = sum("_flat_param" in key or "flat_param_" in key for key, _ in tensors)
    if flat:
        return f"it contains {flat} flat parameters of FSDP, one rank's shard of the network: {_CONSOLIDATE}"
    empty = sum(tensor.numel() == 0 for _, tensor in tensors)
    if empty and 2 * empty > len(tensors):
        return (
            f"{empty} of its {len(tensors)} tensors are empty, as DeepSpeed ZeRO-3 writes them next to its shards: "
            f"consolidate them where they were created ({_ZERO}, DeepSpeed's own zero_to_fp32)"
        )
    packed = sum(key.endswith(("zero_point", "_packed_params.dtype", "qweight", "qzeros")) for key, _ in tensors)
    if packed:
        return f"{packed} of its layers are quantised (int8): use the weights from before the quantisation"
    return None


def adapter(keys: Sequence[str]) -> str:
    """Reason for a file with tensors of an adapter, with or without the network."""
    return (
        f"{len(keys)} of its tensors belong to an adapter (LoRA: {keys[0]}, ...), which changes the network's function "
        "and is not merged into it: merge them where it was trained (peft: merge_and_unload()) and save it again; or "
        "add its adapter_config.json to the folder, with the network's path as base_model_name_or_path"
    )


def no_network(checkpoint: Mapping[str, object], hints: InspectionHints) -> str:
    """Why there is no network among the tensors."""
    names = [key for _, key, _ in tensors_of(checkpoint)]
    if hints.prefix is not None or hints.container is not None:
        return f"there are no tensors at container {hints.container!r}, prefix {hints.prefix or ''!r}"
    if not names:
        return "it contains no tensors"
    if (found := other_channels(checkpoint)) is not None:
        name, channels = found
        return (
            f"its first layer ({name}) has {channels} input channel{'s' * (channels > 1)}, but images of tasks have "
            "three: a network for other images cannot be measured on photographs"
        )
    if any(part in name for name in names for part in TEXT):
        return "it contains a language model: no layer has an image as input"
    if len(names) <= FEW:
        return f"it contains only {', '.join(names)}: a head without its network"
    return f"none of its {len(names)} tensors is a layer with three input channels: it contains no image network"
