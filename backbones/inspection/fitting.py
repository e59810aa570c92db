"""Comparison of a network of the checkpoint with an architecture, tensor by tensor.

Settings of a transformers configuration that change the function are compared too: they do not follow from tensors, and
without this check such a network would compute another function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from backbones.catalog.card import Conversion, InputCard, KeyMapping, Triple
from backbones.catalog.trusted_code import code_digest, comes_with_plug_in, is_code
from backbones.checkpoints.key_mapping import OPTIONAL, KeyReport, Shape, check, shapes
from backbones.inspection.evidence import ArchitectureCandidate, Evidence
from backbones.inspection.networks import CheckpointNetwork, harmless
from backbones.inspection.proposal import Dropped, Inspection, Proposal
from backbones.io.errors import WeightsError
from backbones.model.architecture import hollow, make_by_code
from backbones.model.loading import filtered
from backbones.model.transformers_model import EXTRA, SCHEME, filled, is_installed, shortened

SHOWN = 3
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
HALF: Triple = (0.5, 0.5, 0.5)
ACTIVATIONS: Mapping[Conversion, str] = {
    "hf-swin": "gelu",
    "hf-hiera": "gelu",
    "hf-convnext": "gelu",
    "hf-dinov3-convnext": "gelu",
    "hf-resnet": "relu",
    "hf-aimv2": "silu",
}
"""Activations of the architectures whose activation no argument changes."""
ROTATION = 100.0
"""Base of the rotary positions of DINOv3."""


def proposals(
    network: CheckpointNetwork, tries: Sequence[ArchitectureCandidate], evidence: Evidence, drop: tuple[str, ...] = ()
) -> Iterator[Proposal]:
    """Proposals for one network. The published model of a shape comes first; other candidates with its name are
    skipped.
    """
    for candidate in tries:
        try:
            found = proposal(network, candidate, evidence, drop)
        except WeightsError:
            if len(tries) == 1:
                raise
            continue
        yield found
        if found.exact and candidate.published:
            return


def proposal(
    network: CheckpointNetwork, candidate: ArchitectureCandidate, evidence: Evidence, drop: tuple[str, ...] = ()
) -> Proposal:
    """Proposal for filling the architecture from the network. Raises WeightsError where it cannot be created."""
    model, size = _made(candidate)
    expected = shapes(model.state_dict())
    report, given, conversion = _compared(network, model, expected, drop)
    groups = _groups(report.unexpected, expected)
    own: tuple[str, ...] = ()
    if not all(_is_harmless(key, drop) for key in report.unexpected):
        own = classifier_keys(candidate, expected)
    more, other = _undecided(groups, expected, (*drop, *own))
    obstacles = (
        *_obstacles(network, evidence, report, _classifier(candidate, model)),
        *leftovers(more, other),
    )
    images = preprocessing(evidence, conversion, expected)
    size, unstated = _side(candidate, evidence, conversion, size)
    return Proposal(
        architecture=candidate.architecture,
        arguments=candidate.arguments,
        keys=KeyMapping(
            container=network.container, prefix=network.prefix, drop=tuple(sorted(groups)), conversion=conversion
        ),
        size=size,
        pooling=candidate.pooling,
        mean=images.mean,
        std=images.std,
        crop=images.crop,
        interpolation=images.interpolation,
        matched=sum(1 for key in report.matched if not key.endswith(OPTIONAL)),
        expected=len([key for key in expected if not key.endswith(OPTIONAL)]),
        dropped=tuple(_dropped(prefix, keys, given, own) for prefix, keys in sorted(groups.items())),
        obstacles=obstacles,
        undecided=other if len(obstacles) == 1 and not more else (),
        assumptions=(*candidate.assumptions, *_assumed_images(evidence, conversion), *unstated),
        question=None if candidate.question is None else str(candidate.question),
        asks=None if candidate.question is None else (candidate.question.argument, candidate.question.suggestion),
    )


def _compared(
    network: CheckpointNetwork, model: nn.Module, expected: Mapping[str, Shape], drop: tuple[str, ...]
) -> tuple[KeyReport, Mapping[str, Shape], Conversion]:
    """Comparison with the architecture's tensors, shapes of the network's, and their conversion.

    The conversion is timm's own for the architecture where the tensors fit only after it.
    """
    given = network.shapes
    report = check(expected, given)
    if not (report.missing or report.wrong_shape) or network.conversion != "none":
        return report, given, network.conversion
    needed = {key: value for key, value in network.tensors.items() if key in expected or not _is_harmless(key, drop)}
    for kept in (needed, dict(network.tensors)):
        converted = filtered(model, kept)
        if converted is None:
            continue
        again = check(expected, shapes(converted))
        if not (again.missing or again.wrong_shape):
            given = shapes(converted) | {key: given[key] for key in given.keys() - kept.keys()}
            return check(expected, given), given, "timm"
    return report, given, network.conversion


def preprocessing(evidence: Evidence, conversion: Conversion, expected: Mapping[str, Shape]) -> InputCard:
    """Mean, deviation, crop and filter: those of the file or a neighbour, else CLIP's and SigLIP's own, else
    ImageNet's.
    """
    images = evidence.images
    mean, std = (images.mean, images.std) if images and images.mean and images.std else _usual(conversion, expected)
    given: dict[str, Any] = {"mean": mean, "std": std}
    if images is not None and images.crop is not None:
        given["crop"] = images.crop
    if images is not None and images.interpolation is not None:
        given["interpolation"] = images.interpolation
    return InputCard.model_validate(given)


USUAL_SIDE = 224
ANY_SIDE: tuple[Conversion, ...] = (
    "dinov3", "hf-dinov3", "hf-dinov3-convnext", "hf-convnext", "convnext", "hf-resnet", "detectron2",
    "torchvision-regnet", "torchvision-convnext",
)  # fmt: skip
"""Other projects' networks for images of any size, for which timm's own size of the architecture does not apply."""


def _side(
    candidate: ArchitectureCandidate, evidence: Evidence, conversion: Conversion, native: int
) -> tuple[int, tuple[str, ...]]:
    """Input side in pixels: as stated, from the position embedding, else assumed and reported as such."""
    if evidence.images is not None and evidence.images.size:
        return evidence.images.size, ()
    if "img_size" in candidate.arguments:
        return native, ()
    side = USUAL_SIDE if conversion in ANY_SIDE else native
    return side, (f"images of {side} pixels, because no file states another size",)


def _usual(conversion: Conversion, expected: Mapping[str, Shape]) -> tuple[Triple, Triple]:
    if conversion in ("clip", "hf-clip"):
        return (CLIP_MEAN, CLIP_STD) if "cls_token" in expected else (HALF, HALF)
    if conversion in ("aimv2", "hf-aimv2"):
        return CLIP_MEAN, CLIP_STD
    plain = InputCard()
    return plain.mean, plain.std


def _assumed_images(evidence: Evidence, conversion: Conversion) -> Iterator[str]:
    if evidence.images is None:
        whose = {"clip": "CLIP's", "hf-clip": "CLIP's or SigLIP's", "aimv2": "CLIP's", "hf-aimv2": "CLIP's"}
        yield f"{whose.get(conversion, 'ImageNet' + chr(39) + 's')} mean and deviation, because no file states others"


def _made(candidate: ArchitectureCandidate) -> tuple[nn.Module, int]:
    """Architecture without weights, and its input side in pixels."""
    side = candidate.arguments.get("img_size")
    if is_code(candidate.architecture):
        digest, trusts = code_of(candidate.architecture), candidate.trust_imports
        model = make_by_code(candidate.architecture, digest, candidate.arguments, trust_imports=trusts)
        return model, int(cast("int", side or 224))
    try:
        model = hollow(candidate.architecture, **candidate.arguments)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise WeightsError(f"timm cannot make {candidate.architecture}: {error}") from error
    native = cast("Any", model).pretrained_cfg["input_size"][-1]
    return model, int(cast("int", side or native))


CLASSIFIERS = ("fc", "head", "heads", "classifier", "last_linear", "linear", "logits")


def _classifier(candidate: ArchitectureCandidate, model: nn.Module) -> str | None:
    """Classifier at the end of the user's own network; None if there is none, or if features are separate."""
    if not is_code(candidate.architecture) or getattr(model, "forward_features", None) != model.forward:
        return None
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    name, last = layers[-1] if layers else ("", None)
    return f"{name} ({last.out_features} classes)" if last is not None and name.split(".")[0] in CLASSIFIERS else None


def expected_shapes(candidate: ArchitectureCandidate) -> dict[str, Shape]:
    """Shapes of the architecture's tensors."""
    return shapes(_made(candidate)[0].state_dict())


def code_of(architecture: str) -> str | None:
    """Digest that a card has to contain; None for a plug-in's function."""
    return None if comes_with_plug_in(architecture) else code_digest(architecture)


def _is_harmless(key: str, drop: tuple[str, ...]) -> bool:
    return harmless(key) is not None or (bool(drop) and key.startswith(drop))


def classifier_keys(candidate: ArchitectureCandidate, expected: Mapping[str, Shape]) -> tuple[str, ...]:
    """Keys that timm's architecture has only with a classifier, whatever the names of the layers."""
    if is_code(candidate.architecture) or "num_classes" in candidate.arguments:
        return ()
    whole = hollow(candidate.architecture, **{**candidate.arguments, "num_classes": 1000})
    return tuple(key for key in whole.state_dict() if key not in expected)


def _groups(unexpected: Sequence[str], expected: Mapping[str, Shape]) -> dict[str, list[str]]:
    """Keys that are not in the architecture, grouped by the shortest prefix that none of its own keys has."""
    groups: dict[str, list[str]] = {}
    for key in unexpected:
        parts = key.split(".")
        prefixes = (".".join(parts[:end]) + "." for end in range(1, len(parts)))
        foreign = (prefix for prefix in prefixes if not any(name.startswith(prefix) for name in expected))
        groups.setdefault(next(foreign, key), []).append(key)
    return groups


def _dropped(prefix: str, keys: Sequence[str], given: Mapping[str, Shape], own: tuple[str, ...]) -> Dropped:
    return Dropped(
        prefix=prefix,
        tensors=len(keys),
        parameters=sum(math.prod(given[key]) for key in keys),
        reason=harmless(keys[0]) or ("the architecture's classifier" if keys[0] in own else "dropped by --drop"),
    )


def _obstacles(
    network: CheckpointNetwork, evidence: Evidence, report: KeyReport, classifier: str | None
) -> Iterator[str]:
    """Reasons against loading: another function according to the configuration, missing tensors, integer weights,
    class scores instead of features.
    """
    if contradicted := ", ".join(contradictions(evidence.config, network.conversion, network.shapes)):
        yield f"config.json states {contradicted}: the function would differ"
    if network.unread is not None:
        yield (
            f"its weights are {network.unread.removeprefix('torch.')}, integers of a quantised network: use the "
            "weights from before the quantisation"
        )
    if classifier is not None:
        yield (
            f"its outputs are the class scores (logits) of a classifier, {classifier}, not features: have the "
            "function replace it by torch.nn.Identity()"
        )
    if report.missing or report.wrong_shape:
        yield KeyReport(report.matched, report.missing, (), report.wrong_shape).sentence()


def _undecided(
    groups: Mapping[str, Sequence[str]], expected: Mapping[str, Shape], drop: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Leftovers that features may depend on: those of parts that the architecture has, and others."""
    own = {name.partition(".")[0] for name in expected if "." in name}
    kept = {prefix: keys for prefix, keys in groups.items() if not all(_is_harmless(key, drop) for key in keys)}
    more = sorted(prefix for prefix in kept if prefix.partition(".")[0] in own)
    return tuple(more), tuple(sorted(kept.keys() - set(more)))


def leftovers(more: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    """Obstacles from leftovers of parts that the architecture has, and from others, that features may depend on."""
    if more:
        yield f"the checkpoint has more of the network than this architecture: {_some(more)}"
    if other:
        yield (
            f"the checkpoint also has {_some(other)}, which the features may depend on: if they "
            f"do not, add --drop {other[0]}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def contradictions(config: Mapping[str, Any], conversion: Conversion, shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Settings that the architecture does not support, each with the supported value."""
    has = dict(ACTIVATIONS)
    has["hf-dinov3"] = "silu" if "blocks.0.mlp.fc1_g.weight" in shapes else "gelu"
    stated = config.get("hidden_act")
    if stated is not None and conversion in has and stated != has[conversion]:
        yield f"hidden_act={stated} (timm's has {has[conversion]})"
    rope = config.get("rope_parameters")
    base = rope.get("rope_theta") if isinstance(rope, Mapping) else config.get("rope_theta")
    if conversion == "hf-dinov3" and base not in (None, ROTATION):
        yield f"rope_theta={base} (timm's has {ROTATION:g})"


def by_library(
    found: Inspection, content: Mapping[str, object], evidence: Evidence, drop: tuple[str, ...]
) -> Inspection:
    """Inspection with a proposal of the library, or with the reason against it; unchanged for other files."""
    kind = evidence.whole_config.get("model_type")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not isinstance(kind, str) or not tensors:
        return found
    if not is_installed():
        words = f"{found.problem}. The transformers library may have its class: {EXTRA}"
        return found.model_copy(update={"problem": words})
    try:
        proposal = _proposal(kind, tensors, evidence, drop)
    except WeightsError as error:
        return found.model_copy(update={"problem": f"{found.problem}; and {error}"})
    if proposal.exact:
        return found.model_copy(update={"chosen": proposal, "problem": None, "others": ()})
    return found.model_copy(update={"problem": proposal.obstacles[0], "others": (proposal,)})


def _proposal(kind: str, tensors: Mapping[str, Tensor], evidence: Evidence, drop: tuple[str, ...]) -> Proposal:
    config = shortened(evidence.whole_config)
    model, unused = filled(config, tensors)
    side = (evidence.images.size if evidence.images else None) or evidence.number("image_size") or USUAL_SIDE
    with torch.inference_mode():
        images = torch.rand(2, 1, 3, side, side, generator=torch.Generator().manual_seed(0))[0]
        first, second = (model.eval().forward_features(images) for _ in range(2))
    if not torch.equal(first, second):
        raise WeightsError(f"{type(model.network).__name__} of transformers is not deterministic")
    undecided = tuple(key for key in unused if harmless(key) is None and not (drop and key.startswith(drop)))
    card = preprocessing(evidence, "none", {})
    count = len(model.network.state_dict())
    return Proposal(
        architecture=f"{SCHEME}{kind}", arguments={"config": config}, keys=KeyMapping(drop=unused), size=side,
        matched=count, expected=count, mean=card.mean, std=card.std, crop=card.crop, interpolation=card.interpolation,
        assumptions=(
            model.pooling_in_words,
            *(() if evidence.images else ("ImageNet's mean and deviation, because no file states others",)),
        ),
        dropped=tuple(
            Dropped(prefix=key, tensors=1, parameters=tensors[key].numel() if key in tensors else 0,
                    reason=harmless(key) or "dropped by --drop")
            for key in unused
        ),
        undecided=undecided,
        obstacles=tuple(leftovers((), undecided)),
    )  # fmt: skip
