"""Inspect a checkpoint and print how it could be loaded: `python -P -m backbones.inspection.inspect_main PATH [HINTS]`.

`HINTS` is a `backbones.inspection.proposal.Wish` as JSON. A process of its own because reading checkpoints takes torch.
Nothing in the file is run. Exit code 0 when the file is a checkpoint, 1 when it is none, 2 for a wrong call.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import nn

from backbones.catalog.card import Conversion, KeyMapping
from backbones.catalog.trusted_code import code_digest, comes_with_plug_in, is_code, writable_by_others
from backbones.checkpoints.haiku_pickle import read_haiku_pickle
from backbones.checkpoints.key_mapping import OPTIONAL, KeyReport, Shape, best_fit, check, shapes, tensors_of
from backbones.checkpoints.read import read_checkpoint
from backbones.checkpoints.resnet_conversions import from_byol, from_simclr, wanted_from_simclr
from backbones.checkpoints.tensorflow_bundle import read_bundle
from backbones.inspection.detect_architecture import ArchitectureCandidate, NoArchitecture, guesses
from backbones.inspection.networks import CheckpointNetwork, Convention, find_streams, method_of, prefer, stream_at
from backbones.inspection.proposal import Dropped, Inspection, InspectionHints, Proposal, Refused, present_files
from backbones.io.errors import WeightsError
from backbones.model.architecture import make
from backbones.model.trusted_import import LOADED
from backbones.model.user_code import make_by_code

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer and not the file itself: run `git lfs pull` where it came from"),
    (b"<!DOCTYPE", "is a web page, not a checkpoint: the download needed a login or failed; fetch the file again"),
    (b"<html", "is a web page, not a checkpoint: the download needed a login or failed; fetch the file again"),
    (b"\x89HDF", "is an HDF5 file (Keras): convert it to safetensors or a torch state dict first"),
    (b"\x1f\x8b", "is gzip-compressed: unpack it first (gunzip)"),
    (b"GGUF", "is a GGUF file of a language model, not a vision backbone's checkpoint"),
)
_INSIDE_TAR = 257


def what_else(path: Path) -> str | None:
    """What to say of a file that cannot be a checkpoint; None when it may be one. Raises OSError."""
    if path.stat().st_size == 0:
        return "is empty: the disk was full, or the writing was interrupted"
    with path.open("rb") as file:
        start = file.read(512)
    for beginning, words in _BEGINNINGS:
        if start.lstrip().lower().startswith(beginning.lower()):
            return words
    if start[_INSIDE_TAR : _INSIDE_TAR + 5] == b"ustar":
        return "is a tar archive: unpack it and name the checkpoint inside"
    return None


SHOWN = 3
NEAR = 0.2
"""Share of an architecture's tensors below which it is not worth being named as what the file might be."""
PROGRESS = ("epoch", "global_step", "step", "iteration", "iter")
TEXT = ("word_embeddings", "tok_embeddings", "embed_tokens", "wte.weight")


def propose(path: Path, wish: InspectionHints | None = None) -> Inspection:
    """Look into the file. Raises WeightsError when it is no checkpoint, or the wish cannot be fulfilled."""
    wish = wish or InspectionHints()
    checkpoint, whole = _read(path)
    streams = [whole] if whole is not None else _streams(checkpoint, wish)
    about = Inspection(
        path=str(path),
        tensors=len(whole.shapes) if whole else sum(1 for _ in tensors_of(checkpoint)),
        progress=_progress(checkpoint),
        method=_METHODS.get(whole.conversion if whole else "none") or method_of(checkpoint) or "own checkpoint",
        code_sha256=_code(wish.architecture) if wish.architecture and is_code(wish.architecture) else None,
    )
    if not streams:
        return about.model_copy(update={"problem": _no_network(checkpoint, wish)})
    tried, strangers = _try(streams, wish)
    return _with_code(_decide(about, tried, strangers, wish))


def _with_code(found: Inspection) -> Inspection:
    """With the files of the user's that were run for it."""
    files = tuple(dict.fromkeys(LOADED))
    open_places = dict.fromkeys(words for file in files for words in writable_by_others(file))
    return found.model_copy(update={"code_loaded": tuple(map(str, files)), "code_writable": tuple(open_places)})


_METHODS: Mapping[Conversion, str] = {"byol-haiku": "byol", "simclr-tensorflow": "simclr"}


def _read(path: Path) -> tuple[Mapping[str, object], CheckpointNetwork | None]:
    """The content; and the one network in it, where the format itself says which that is (BYOL, TensorFlow)."""
    files = present_files(path)
    try:
        words = what_else(files[0])
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if words is not None:
        raise WeightsError(f"{path} {words}")
    if files[0].suffix == ".index":
        tensors = from_simclr(read_bundle(path, wanted_from_simclr))
        return {}, CheckpointNetwork(None, "", "simclr-tensorflow", shapes(tensors))
    try:
        return read_checkpoint(path), None
    except WeightsError:
        if path.suffix != ".pkl":
            raise
        tensors = from_byol(read_haiku_pickle(path))
        return {}, CheckpointNetwork(None, "", "byol-haiku", shapes(tensors))


def _streams(checkpoint: Mapping[str, object], wish: InspectionHints) -> list[CheckpointNetwork]:
    """The networks in the file, or at the place that the user names."""
    found = find_streams(checkpoint)
    if wish.container is not None or wish.prefix is not None:
        named = [
            stream
            for stream in found
            if wish.container in (None, stream.container) and wish.prefix in (None, stream.prefix)
        ]
        exact = stream_at(checkpoint, wish.container, wish.prefix or "")
        return named or ([exact] if exact else [])
    if wish.architecture is not None and is_code(wish.architecture):
        fit = best_fit(checkpoint, _expected(_wished(wish.architecture, wish))[0])
        exact = stream_at(checkpoint, fit.container, fit.prefix) if fit else None
        return [exact] if exact else []
    return found


def _try(streams: Sequence[CheckpointNetwork], wish: InspectionHints) -> tuple[list[Proposal], list[str]]:
    """Every guess for every network; and what was seen of networks that timm does not have."""
    proposals: list[Proposal] = []
    strangers: list[str] = []
    for stream in streams:
        try:
            tries = [_wished(wish.architecture, wish)] if wish.architecture else guesses(stream.shapes)
            proposals.extend(_fitting(stream, tries))
        except NoArchitecture as error:
            strangers.append(str(error))
    return proposals, strangers


def _fitting(stream: CheckpointNetwork, tries: Sequence[ArchitectureCandidate]) -> Iterator[Proposal]:
    """Proposals of one network. The published model of a shape comes first, and its namesakes are not tried."""
    for guess in tries:
        proposal = _proposal(stream, guess)
        yield proposal
        if proposal.exact and guess.published:
            return


def _decide(
    about: Inspection, tried: Sequence[Proposal], strangers: Sequence[str], wish: InspectionHints
) -> Inspection:
    exact = [proposal for proposal in tried if proposal.exact]
    if not exact:
        best = sorted(tried, key=lambda proposal: -proposal.share)[:SHOWN]
        problem = f"it holds {' and '.join(dict.fromkeys(strangers))}" if strangers else _no_fit(best)
        return about.model_copy(update={"others": tuple(best), "problem": problem})
    places = {(p.keys.container, p.keys.prefix): p.place for p in exact}
    chosen, convention = _place(list(places))
    if chosen is None:
        options = " or ".join((f"--container {c} " if c else "") + f"--prefix {p!r}" for c, p in places)
        question = f"it holds {len(places)} networks that nothing tells apart: choose by {options}"
        return about.model_copy(update={"others": tuple(exact), "question": question})
    here = [proposal for proposal in exact if (proposal.keys.container, proposal.keys.prefix) == chosen]
    others = tuple(proposal for proposal in exact if proposal not in here)
    if len(here) > 1 and wish.architecture is None:
        names = ", ".join(proposal.architecture for proposal in here)
        question = f"its tensors fit {names} alike, which differ in what no file shows: choose by --arch"
        return about.model_copy(update={"others": (*here, *others), "question": question})
    method = about.method if convention is None or convention.method == "own checkpoint" else convention.method
    reason = convention.words if convention else ""
    return about.model_copy(update={"chosen": here[0], "others": others, "reason": reason, "method": method})


Place = tuple[str | None, str]


def _place(places: Sequence[Place]) -> tuple[Place | None, Convention | None]:
    if len(places) == 1:
        return places[0], None
    found = prefer([(place, f"{place[0] or ''}.{place[1]}") for place in places])
    return found if found is not None else (None, None)


def _proposal(stream: CheckpointNetwork, guess: ArchitectureCandidate) -> Proposal:
    expected, size = _expected(guess)
    report = check(expected, stream.shapes)
    groups = _groups(report.unexpected, expected)
    counted = [key for key in expected if not key.endswith(OPTIONAL)]
    return Proposal(
        architecture=guess.architecture,
        arguments=guess.arguments,
        keys=KeyMapping(
            container=stream.container, prefix=stream.prefix, drop=tuple(sorted(groups)), conversion=stream.conversion
        ),
        size=size,
        matched=sum(1 for key in report.matched if not key.endswith(OPTIONAL)),
        expected=len(counted),
        dropped=tuple(_dropped(prefix, keys, stream.shapes) for prefix, keys in sorted(groups.items())),
        obstacles=tuple(_obstacles(report, groups, expected)),
    )


def _wished(architecture: str, wish: InspectionHints) -> ArchitectureCandidate:
    return ArchitectureCandidate(architecture, wish.arguments, trust_imports=wish.trust_code)


def _expected(guess: ArchitectureCandidate) -> tuple[dict[str, Shape], int]:
    """The architecture's tensors, and its input side in pixels."""
    if is_code(guess.architecture):
        model = make_by_code(
            guess.architecture, _code(guess.architecture), guess.arguments, trust_imports=guess.trust_imports
        )
        return shapes(model.state_dict()), int(cast("int", guess.arguments.get("img_size", 224)))
    try:
        with torch.device("meta"):
            model = make(guess.architecture, **guess.arguments)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise WeightsError(f"timm cannot make {guess.architecture}: {error}") from error
    return shapes(model.state_dict()), int(cast("int", guess.arguments.get("img_size", _native_size(model))))


def _code(architecture: str) -> str | None:
    """The digest that a card has to name; None for a plug-in's function."""
    return None if comes_with_plug_in(architecture) else code_digest(architecture)


def _native_size(model: nn.Module) -> int:
    return int(cast("Any", model).pretrained_cfg["input_size"][-1])


def _groups(unexpected: Sequence[str], expected: Mapping[str, Shape]) -> dict[str, list[str]]:
    """Keys that the architecture does not have, under the shortest beginning that none of its own keys has."""
    groups: dict[str, list[str]] = {}
    for key in unexpected:
        groups.setdefault(_beginning(key, expected), []).append(key)
    return groups


def _beginning(key: str, expected: Mapping[str, Shape]) -> str:
    parts = key.split(".")
    for end in range(1, len(parts)):
        beginning = ".".join(parts[:end]) + "."
        if not any(name.startswith(beginning) for name in expected):
            return beginning
    return key


def _dropped(prefix: str, keys: Sequence[str], given: Mapping[str, Shape]) -> Dropped:
    return Dropped(prefix=prefix, tensors=len(keys), parameters=sum(math.prod(given[key]) for key in keys))


def _obstacles(report: KeyReport, groups: Mapping[str, Sequence[str]], expected: Mapping[str, Shape]) -> Iterator[str]:
    """What stands against loading. Leftover tensors are a head only outside the network's own modules."""
    if report.missing or report.wrong_shape:
        yield KeyReport(report.matched, report.missing, (), report.wrong_shape).sentence()
    own = {name.partition(".")[0] for name in expected if "." in name}
    more = sorted(prefix for prefix in groups if prefix.partition(".")[0] in own)
    if more:
        shown = ", ".join(more[:SHOWN]) + (", ..." if len(more) > SHOWN else "")
        yield f"the checkpoint has more of the network than this architecture: {shown}"


def _no_fit(best: Sequence[Proposal]) -> str:
    if not best:
        return "its layout is none of a known family: name the architecture by --arch (a timm name)"
    first = best[0]
    if first.share < NEAR:
        return (
            f"no known architecture is like it (of {first.architecture}, the nearest, {first.matched} of "
            f"{first.expected} tensors are there): is the file incomplete? For a network of your own, give its code by "
            "--arch FILE.py:FUNCTION --trust-code"
        )
    return (
        f"{first.architecture} comes nearest, with {first.matched} of {first.expected} tensors "
        f"at {first.place or 'the top'} ({'; '.join(first.obstacles)}): name another architecture by --arch"
    )


def _no_network(checkpoint: Mapping[str, object], wish: InspectionHints) -> str:
    names = [key for _, key, _ in tensors_of(checkpoint)]
    if wish.prefix is not None or wish.container is not None:
        return f"there are no tensors at container {wish.container!r}, prefix {wish.prefix or ''!r}"
    if not names:
        return "it holds no tensors at all"
    if any(part in name for name in names for part in TEXT):
        return "it holds a language model: no layer takes an image"
    if any("lora_" in name for name in names):
        return "it holds an adapter (LoRA) without the network that it belongs to: merge them first"
    if len(names) <= 8:
        return f"it holds only {', '.join(names)}: a head without its network"
    return f"none of its {len(names)} tensors is a layer that takes three colours: it holds no image network"


def _progress(checkpoint: Mapping[str, object]) -> dict[str, int]:
    return {name: value for name in PROGRESS if type(value := checkpoint.get(name)) is int}


def main(arguments: list[str]) -> int:
    """Print the inspection."""
    try:
        path = Path(arguments[0]).expanduser().absolute()
        wish = InspectionHints.model_validate_json(arguments[1]) if len(arguments) > 1 else InspectionHints()
    except (IndexError, ValidationError) as error:
        print(f"usage: python -P -m backbones.inspection.inspect_main PATH [WISH]: {error}", file=sys.stderr)
        return 2
    try:
        answer: Inspection | Refused = propose(path, wish)
    except WeightsError as error:
        answer = Refused(path=str(path), error=str(error))
    print(answer.model_dump_json())
    return 0 if isinstance(answer, Inspection) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
