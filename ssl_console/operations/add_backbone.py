"""A card for a checkpoint of the user's own, from an inspection of the file and the user's options. Without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights, InputCard, Padding, Pooling, Scalar
from backbones.catalog.file_reference import NORMALISATIONS
from backbones.catalog.trusted_code import code_file, is_code, trust
from backbones.inspection.proposal import Inspection, InspectionHints, Proposal, inspect
from backbones.io.files import write_atomically
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError, MissingInputs
from ssl_console.workspace.paths import Workspace

NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
DEFAULT_NORMALISATION = "imagenet"
"""Checkpoints do not record the normalisation of images; nearly all training code uses ImageNet's numbers."""


@dataclass(frozen=True)
class BackboneOptions:
    """The user's options for a checkpoint; None is detected, or a documented default."""

    path: Path
    architecture: str | None = None
    arguments: dict[str, Scalar] = field(default_factory=dict)
    name: str | None = None
    container: str | None = None
    prefix: str | None = None
    normalisation: str | None = None
    size: int | None = None
    pooling: Pooling = "default"
    padding: Padding = "torchvision"
    method: str | None = None
    trust_code: bool = False
    replace: bool = False

    @property
    def card_name(self) -> str:
        """The name that the card will have."""
        return self.name or f"own/{_plain(self.path.name.split('.')[0] or self.path.name)}"

    @property
    def hints(self) -> InspectionHints:
        """For looking into the file."""
        return InspectionHints(
            architecture=self.architecture,
            arguments=self.arguments,
            container=self.container,
            prefix=self.prefix,
            trust_code=self.trust_code,
        )


def inspect_checkpoint(options: BackboneOptions) -> Inspection:
    """Look into the file, once `check` has passed. Raises WeightsError for a file that cannot be used.

    With `trust_code` the code that makes the architecture is put on the user's list first: it is run here already.
    """
    if options.trust_code and options.architecture and is_code(options.architecture):
        trust(options.architecture)
    return inspect(options.path, options.hints)


def check_options(options: BackboneOptions) -> None:
    """Check the options without opening the file. Raises ConsoleError naming value, place and fix."""
    if not NAME.fullmatch(options.card_name):
        raise ConsoleError(
            f"--name {options.card_name}: use letters, digits, dots and dashes, with / between the parts"
        )
    if options.normalisation not in (None, *NORMALISATIONS):
        raise ConsoleError(f"--norm {options.normalisation}: choose {', '.join(NORMALISATIONS)}")
    if options.size is not None and not 8 <= options.size <= 2048:
        raise ConsoleError(f"--size {options.size}: a side of 8 to 2048 pixels")
    if options.architecture and is_code(options.architecture) and not options.trust_code:
        raise ConsoleError(
            f"--arch {options.architecture} runs code of yours in every worker: "
            "add --trust-code if you know what it does"
        )


def check_checkpoint(workspace: Workspace, options: BackboneOptions) -> None:
    """Check the options, that the file exists, and that no card has the name. Raises ConsoleError."""
    if not options.path.exists():
        raise ConsoleError(f"{options.path} is not there")
    check_options(options)
    card_path(workspace, options.card_name, replace=options.replace)


def add_card(session: Session, options: BackboneOptions, inspection: Inspection) -> str:
    """Write the card of an inspected checkpoint and have all cards read again; its name. Raises ConsoleError."""
    card = make_card(options, inspection)
    write_card(session.workspace, card, replace=options.replace)
    session.reload_backbones()
    return card.name


def make_card(options: BackboneOptions, inspection: Inspection) -> BackboneCard:
    """The card of what was found. Raises ConsoleError when something is left for the user to decide."""
    chosen = chosen_proposal(options, inspection)
    mean, std = NORMALISATIONS[options.normalisation or DEFAULT_NORMALISATION]
    return BackboneCard(
        name=options.card_name,
        title=f"{options.path.name} ({_short(chosen.architecture)})",
        architecture=_absolute(chosen.architecture),
        code_sha256=inspection.code_sha256,
        architecture_arguments=chosen.arguments,
        padding=options.padding,
        pooling=options.pooling,
        weights=FileWeights(path=str(options.path)),
        keys=chosen.keys,
        input=InputCard(size=options.size or chosen.size, mean=mean, std=std),
        facts=FactsCard(method=options.method or inspection.method),
    )


def chosen_proposal(options: BackboneOptions, inspection: Inspection) -> Proposal:
    """The proposal that may be taken. Raises ConsoleError for a question, MissingInputs where there is no way."""
    if inspection.chosen is not None:
        return inspection.chosen
    if inspection.question is not None:
        raise ConsoleError(f"{options.path}: {inspection.question}")
    raise MissingInputs(f"{options.path} cannot be used: {inspection.problem}")


def write_card(workspace: Workspace, card: BackboneCard, *, replace: bool = False) -> Path:
    """Put the card where the catalogue finds it. Raises ConsoleError when there is one of this name."""
    path = card_path(workspace, card.name, replace=replace)
    workspace.create()
    path.parent.mkdir(parents=True, exist_ok=True)
    content = card.model_dump(mode="json", exclude={"name"}, exclude_none=True, exclude_defaults=True)
    content["weights"]["kind"] = card.weights.kind
    write_atomically(path, tomli_w.dumps(content).encode())
    return path


def card_path(workspace: Workspace, name: str, *, replace: bool = False) -> Path:
    """Where the card of this name will be. Raises ConsoleError when there is one already."""
    path = workspace.backbones / f"{name}.toml"
    if path.exists() and not replace:
        raise ConsoleError(f"{path} is there already: choose another --name, or --replace it")
    return path


def _absolute(architecture: str) -> str:
    """Workers have another current folder."""
    file = code_file(architecture)
    return architecture if file is None else f"{file.absolute()}:{architecture.rpartition(':')[2]}"


def _short(architecture: str) -> str:
    return architecture.rpartition("/")[2]


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "checkpoint"


MILLION = 1e6


def format_inspection(inspection: Inspection, options: BackboneOptions) -> list[str]:
    """What was found, a line each."""
    if inspection.chosen is None:
        lines = [f"no way to load it was found among its {inspection.tensors} tensors"]
        return lines + [f"  nearest: {proposal_line(other)}" for other in inspection.others]
    chosen = inspection.chosen
    lines = [
        f"architecture   {chosen.architecture}{_arguments(chosen)}",
        f"tensors        {chosen.matched} of {chosen.expected} ({chosen.share:.0%}) at {chosen.place}",
    ]
    if chosen.keys.conversion != "none":
        lines.append(f"names          converted ({chosen.keys.conversion})")
    lines += [
        f"dropped        {item.prefix} ({item.tensors} tensors, {item.parameters / MILLION:.2f} M)"
        for item in chosen.dropped
    ]
    lines += [f"method         {options.method or inspection.method}"]
    lines += [f"chosen because {inspection.reason}"] if inspection.reason else []
    lines += [f"also there     {proposal_line(other)}: {_flags(other)}" for other in inspection.others if other.exact]
    lines += [f"code           {path}, trusted as it is now" for path in inspection.code_loaded]
    lines += [f"WARNING        {words}" for words in inspection.code_writable]
    norm = options.normalisation or f"{DEFAULT_NORMALISATION} (no file says it; --norm half or none for another)"
    return [*lines, f"normalisation  {norm}", f"input          {options.size or chosen.size} px"]


def proposal_line(proposal: Proposal) -> str:
    """One way to load the file."""
    share = f"{proposal.matched} of {proposal.expected}"
    obstacles = f" ({'; '.join(proposal.obstacles)})" if proposal.obstacles else ""
    return f"{proposal.architecture}{_arguments(proposal)}, {share} tensors at {proposal.place or 'the top'}{obstacles}"


def _flags(proposal: Proposal) -> str:
    keys = proposal.keys
    container = f"--container {keys.container} " if keys.container else ""
    return f"{container}--prefix '{keys.prefix}'"


def _arguments(proposal: Proposal) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in proposal.arguments.items())
    return f"({given})" if given else ""
