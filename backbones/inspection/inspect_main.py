"""Inspect a checkpoint and print how it can be loaded: `python -P -m backbones.inspection.inspect_main PATH
[HINTS]`.

`HINTS` is a `backbones.inspection.proposal.InspectionHints` as JSON. A separate process because reading checkpoints
requires torch. Nothing in the file is run. Exit code 0 for a checkpoint, 1 for any other file, 2 for a wrong call.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from backbones.catalog.card import Conversion
from backbones.catalog.trusted_code import LOADED, is_code, writable_by_others
from backbones.catalog.weights_folder import ADAPTERS, adapter_base, checkpoint_files
from backbones.checkpoints.haiku_pickle import read_haiku_pickle
from backbones.checkpoints.key_mapping import best_fit, tensors_of
from backbones.checkpoints.read import CheckpointContent, read_content
from backbones.checkpoints.resnet_conversions import from_byol, from_simclr, wanted_from_simclr
from backbones.checkpoints.tensorflow_bundle import read_bundle
from backbones.inspection.detect_architecture import guesses
from backbones.inspection.evidence import ArchitectureCandidate, Evidence, NoArchitecture, evidence_of
from backbones.inspection.fitting import by_library, code_of, expected_shapes, proposals
from backbones.inspection.networks import (
    CheckpointNetwork,
    Convention,
    Place,
    adapters,
    by_container,
    distinct,
    find_streams,
    hollow,
    method_of,
    other_channels,
    prefer,
    stream_at,
)
from backbones.inspection.proposal import Inspection, InspectionHints, Proposal, Refused, first_file
from backbones.io.errors import WeightsError
from backbones.io.files import expand_user

SHOWN = 3
NEAR = 0.2
"""Minimum fraction of an architecture's tensors for naming it as the nearest one."""
PROGRESS = ("epoch", "global_step", "step", "iteration", "iter")
TEXT = ("word_embeddings", "tok_embeddings", "embed_tokens", "wte.weight")
FEW = 8
"""Number of tensors up to which a file may contain a head without a network."""
_CONSOLIDATE = (
    "consolidate them where they were created: load and save with StateDictType.FULL_STATE_DICT, or for a folder "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth"
)
_ZERO = "python -m deepspeed.utils.zero_to_fp32 FOLDER OUTPUT"


def propose(path: Path, hints: InspectionHints | None = None) -> Inspection:
    """Inspect the file. Raises WeightsError when it is not a checkpoint, or the hints do not apply."""
    hints = hints or InspectionHints()
    first, content, whole = _read(path)
    checkpoint = content.tensors
    evidence = evidence_of(checkpoint, _stating(first))
    about = Inspection(
        path=str(path),
        tensors=len(whole.tensors) if whole else sum(1 for _ in tensors_of(checkpoint)),
        progress=_progress(checkpoint),
        method=_METHODS.get(whole.conversion if whole else "none") or method_of(checkpoint) or "own checkpoint",
        code_sha256=code_of(hints.architecture) if hints.architecture and is_code(hints.architecture) else None,
        stubs=content.stubs,
        merged=content.merged,
        images_from=evidence.images.source if evidence.images else None,
    )
    if problem := unusable(checkpoint):
        return about.model_copy(update={"problem": problem})
    if found := adapters(key for _, key, _ in tensors_of(checkpoint)):
        return about.model_copy(update={"problem": adapter(found)})
    networks = [whole] if whole is not None else _networks(checkpoint, hints)
    if networks:
        tried, strangers = _try(networks, hints, evidence)
        decided = _with_code(_decide(about, tried, strangers, hints, checkpoint))
    else:
        decided = about.model_copy(update={"problem": no_network(checkpoint, hints)})
    if decided.problem is not None and hints.architecture is None:
        return by_library(decided, checkpoint, evidence, hints.drop)
    return decided


def _stating(first: Path) -> Path:
    """File whose folder contains the configurations: for an adapter, the file of its network."""
    base = adapter_base(first) if first.name in ADAPTERS else None
    return first if base is None else checkpoint_files(base)[0]


def _with_code(found: Inspection) -> Inspection:
    """Inspection with the user's code files that were run for it."""
    files = tuple(dict.fromkeys(LOADED))
    open_places = dict.fromkeys(words for file in files for words in writable_by_others(file))
    return found.model_copy(update={"code_loaded": tuple(map(str, files)), "code_writable": tuple(open_places)})


_METHODS: Mapping[Conversion, str] = {"byol-haiku": "byol", "simclr-tensorflow": "simclr"}


def _read(path: Path) -> tuple[Path, CheckpointContent, CheckpointNetwork | None]:
    """File, content, and the single network in it where the format itself identifies it (BYOL, TensorFlow)."""
    first = first_file(path)
    nothing = CheckpointContent({})
    if first.suffix == ".index":
        tensors = from_simclr(read_bundle(path, wanted_from_simclr))
        return first, nothing, _whole("simclr-tensorflow", tensors)
    content = read_content(first)
    if "experiment_state" not in content.tensors:
        return first, content, None
    return first, nothing, _whole("byol-haiku", from_byol(read_haiku_pickle(path)))


def _whole(conversion: Conversion, tensors: Mapping[str, Tensor]) -> CheckpointNetwork:
    return CheckpointNetwork(None, "", conversion, {key: hollow(value) for key, value in tensors.items()})


def _networks(checkpoint: Mapping[str, object], hints: InspectionHints) -> list[CheckpointNetwork]:
    """Networks in the file, at the place named by the user, or where the named architecture fits best."""
    found = find_streams(checkpoint)
    if hints.container is not None or hints.prefix is not None:
        named = [
            network
            for network in found
            if hints.container in (None, network.container) and hints.prefix in (None, network.prefix)
        ]
        exact = stream_at(checkpoint, hints.container, hints.prefix or "")
        return named or ([exact] if exact else [])
    if hints.architecture is None:
        return found
    expected = expected_shapes(_named(hints.architecture, hints))
    fits = [
        (container, fit)
        for container, tensors in by_container(checkpoint).items()
        if (fit := best_fit(tensors, expected))
    ]
    most = max((fit.count for _, fit in fits), default=0)
    there = set() if is_code(hints.architecture) else {(network.container, network.prefix) for network in found}
    best = {(container, fit.prefix) for container, fit in fits if fit.count == most} - there
    places = [stream_at(checkpoint, container, prefix) for container, prefix in best]
    fitting = [network for network in places if network is not None]
    return fitting if is_code(hints.architecture) else [*found, *fitting]


def _try(
    networks: Sequence[CheckpointNetwork], hints: InspectionHints, evidence: Evidence
) -> tuple[list[Proposal], list[str]]:
    """Proposals for every network, and descriptions of networks that timm does not have."""
    found: list[Proposal] = []
    strangers: list[str] = []
    for network in networks:
        try:
            seen = guesses(network.shapes, evidence, network.conversion, network.place)
        except NoArchitecture as error:
            strangers.append(str(error))
            seen = ()
        found.extend(proposals(network, _with_hints(seen, hints), evidence, hints.drop))
    return found, strangers


def _with_hints(seen: Sequence[ArchitectureCandidate], hints: InspectionHints) -> list[ArchitectureCandidate]:
    """Candidates after the user's options.

    A named architecture is tried as it is, and then with the arguments that follow from the tensors of a transformer.
    Arguments without an architecture apply to every candidate and may answer its question.
    """
    if not hints.architecture:
        return [
            replace(
                one,
                arguments={**one.arguments, **hints.arguments},
                question=None if one.question is None or one.question.argument in hints.arguments else one.question,
            )
            for one in seen
        ]
    named = _named(hints.architecture, hints)
    if is_code(hints.architecture) or hints.arguments:
        return [named]
    shown = [replace(one, architecture=hints.architecture) for one in seen if one.architecture == hints.architecture]
    return [named, *(one for one in shown if one.arguments)]


def _named(architecture: str, hints: InspectionHints) -> ArchitectureCandidate:
    return ArchitectureCandidate(architecture, hints.arguments, published=True, trust_imports=hints.trust_code)


def _decide(
    about: Inspection,
    tried: Sequence[Proposal],
    strangers: Sequence[str],
    hints: InspectionHints,
    checkpoint: Mapping[str, object],
) -> Inspection:
    exact = [proposal for proposal in tried if proposal.exact]
    if not exact:
        best = sorted(tried, key=lambda proposal: -proposal.share)[:SHOWN]
        problem = f"it contains {' and '.join(dict.fromkeys(strangers))}" if strangers else _no_fit(best)
        return about.model_copy(update={"others": tuple(best), "problem": problem})
    places = {(p.keys.container, p.keys.prefix): p.place for p in exact}
    chosen, convention = _place(list(places), checkpoint)
    if chosen is None:
        options = " or ".join((f"--container {c} " if c else "") + f"--prefix {p!r}" for c, p in places)
        question = f"it contains {len(places)} networks that no convention distinguishes: choose with {options}"
        return about.model_copy(update={"others": tuple(exact), "question": question})
    here = [proposal for proposal in exact if (proposal.keys.container, proposal.keys.prefix) == chosen]
    others = tuple(proposal for proposal in exact if proposal not in here)
    if len(here) > 1 and hints.architecture is None:
        names = ", ".join(proposal.architecture for proposal in here)
        question = f"its tensors fit {names} equally, which differ in settings that no file states: choose with --arch"
        return about.model_copy(update={"others": (*here, *others), "question": question})
    if here[0].question is not None:
        return about.model_copy(update={"others": tuple(exact), "question": here[0].question})
    method = about.method if convention is None or convention.method == "own checkpoint" else convention.method
    reason = convention.words if convention else ""
    return about.model_copy(update={"chosen": here[0], "others": others, "reason": reason, "method": method})


def _place(places: Sequence[Place], checkpoint: Mapping[str, object]) -> tuple[Place | None, Convention | None]:
    """The place to use, and the convention that selects it; one network under two names counts once."""
    if len(places) == 1:
        return places[0], None
    found = prefer([(place, f"{place[0] or ''}.{place[1]}") for place in places])
    if found is not None:
        return found
    groups = distinct(checkpoint, places)
    if len(groups) == 1:
        return places[0], None
    named = product(*groups) if len(groups) < len(places) else ()
    choices = (prefer([(place, f"{place[0] or ''}.{place[1]}") for place in some]) for some in named)
    return next((choice for choice in choices if choice is not None), (None, None))


def _no_fit(best: Sequence[Proposal]) -> str:
    if not best:
        return "its layout is not of a known family: name the architecture with --arch (a timm name)"
    first = best[0]
    if first.share < NEAR:
        return (
            f"no known architecture matches it (of {first.architecture}, the nearest, {first.matched} of "
            f"{first.expected} tensors match): is the file incomplete? For a network of your own, give its code with "
            "--arch FILE.py:FUNCTION --trust-code"
        )
    return (
        f"{first.architecture} is the nearest, with {first.matched} of {first.expected} tensors "
        f"at {first.place or 'the top'} ({'; '.join(first.obstacles)}): name another architecture with --arch"
    )


def _progress(checkpoint: Mapping[str, object]) -> dict[str, int]:
    return {name: value for name in PROGRESS if type(value := checkpoint.get(name)) is int}


def main(arguments: list[str]) -> int:
    """Print the inspection and return the exit code."""
    try:
        path = expand_user(arguments[0]).absolute()
        hints = InspectionHints.model_validate_json(arguments[1]) if len(arguments) > 1 else InspectionHints()
    except (IndexError, ValidationError) as error:
        print(f"usage: python -P -m backbones.inspection.inspect_main PATH [HINTS]: {error}", file=sys.stderr)
        return 2
    try:
        answer: Inspection | Refused = propose(path, hints)
    except WeightsError as error:
        answer = Refused(path=str(path), error=str(error))
    print(answer.model_dump_json())
    return 0 if isinstance(answer, Inspection) else 1


def unusable(checkpoint: Mapping[str, object]) -> str | None:
    """Reason why the whole file cannot be used with any architecture; None for most files."""
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
    """Reason why no network was found among the tensors."""
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
