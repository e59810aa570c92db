"""Cards for the user's own checkpoints and for models of a hub, from an inspection of the files and the user's options.
Without torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import tomli_w

from backbones.catalog.card import (
    ArchitectureValue,
    BackboneCard,
    FactsCard,
    FileWeights,
    HubWeights,
    InputCard,
    Interpolation,
    Padding,
    Pooling,
    Triple,
)
from backbones.catalog.catalog import NORMALISATIONS
from backbones.catalog.hub_fetch import bring, look_up
from backbones.catalog.hub_models import COMMIT, hub_reference
from backbones.catalog.trusted_code import code_file, is_code, trust
from backbones.inspection.proposal import Inspection, InspectionHints, Proposal, inspect
from backbones.io.card_files import MalformedName
from backbones.io.download import Progress
from backbones.io.files import write_atomically
from ssl_console.operations.card_names import NAME, name_of_checkpoint
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError, MissingInputs
from ssl_console.workspace.paths import Workspace


@dataclass(frozen=True)
class BackboneOptions:
    """The user's options for a checkpoint; None means detected, or a documented default."""

    path: Path
    hub_name: str | None = None
    """A model of the hub instead of `path`, until its files are fetched."""
    hub: HubWeights | None = None
    """Weights of the card, where `path` is a fetched model of the hub."""
    architecture: str | None = None
    arguments: dict[str, ArchitectureValue] = field(default_factory=dict)
    name: str | None = None
    container: str | None = None
    prefix: str | None = None
    normalisation: str | None = None
    size: int | None = None
    mean: Triple | None = None
    std: Triple | None = None
    resize: int | None = None
    crop: float | None = None
    interpolation: Interpolation | None = None
    drop: tuple[str, ...] = ()
    pooling: Pooling = "default"
    padding: Padding = "torchvision"
    method: str | None = None
    trust_code: bool = False
    replace: bool = False

    @property
    def card_name(self) -> str:
        if self.name is None and self.hub_name is not None:
            return f"own/{hub_reference(self.hub_name).model}"
        return self.name or f"own/{name_of_checkpoint(self.path)}"

    @property
    def source(self) -> str:
        """Name of the file, or of the model on the hub."""
        return self.path.name if self.hub is None else self.hub.repository

    @property
    def hints(self) -> InspectionHints:
        return InspectionHints(
            architecture=self.architecture,
            arguments=self.arguments,
            container=self.container,
            prefix=self.prefix,
            trust_code=self.trust_code,
            drop=self.drop,
        )


def inspect_checkpoint(options: BackboneOptions) -> Inspection:
    """Inspect the file after `check_options`. Raises WeightsError for an unusable file.

    With `trust_code` the code of the architecture is added to the user's list first, because inspection runs it.
    """
    if options.trust_code and options.architecture and is_code(options.architecture):
        trust(options.architecture)
    return inspect(options.path, options.hints)


def check_options(options: BackboneOptions) -> None:
    """Check the options without opening the file. Raises ConsoleError naming value, place and fix."""
    try:
        name = options.card_name
    except MalformedName as error:
        raise ConsoleError(str(error)) from error
    if not NAME.fullmatch(name):
        raise ConsoleError(f"--name {name}: use letters, digits, dots and dashes, with / between the parts")
    if options.normalisation not in (None, *NORMALISATIONS):
        raise ConsoleError(f"--norm {options.normalisation}: choose {', '.join(NORMALISATIONS)}")
    _check_preprocessing(options)
    if options.size is not None and not 8 <= options.size <= 2048:
        raise ConsoleError(f"--size {options.size}: a side of 8 to 2048 pixels")
    if options.architecture and is_code(options.architecture) and not options.trust_code:
        raise ConsoleError(
            f"--arch {options.architecture} runs your own code in every worker: add --trust-code if you trust it"
        )


def check_checkpoint(workspace: Workspace, options: BackboneOptions) -> None:
    """Check the options, that the file exists, and that the card's name is free. Raises ConsoleError."""
    if options.hub_name is None and not options.path.exists():
        raise ConsoleError(f"{options.path} does not exist")
    check_options(options)
    card_path(workspace, options.card_name, replace=options.replace)


def add_card(session: Session, options: BackboneOptions, inspection: Inspection) -> str:
    """Write the card of an inspected checkpoint, reload all cards, and return its name. Raises ConsoleError."""
    card = make_card(options, inspection)
    write_card(session.workspace, card, replace=options.replace)
    session.reload_backbones()
    return card.name


def _check_preprocessing(options: BackboneOptions) -> None:
    if options.normalisation and (options.mean or options.std):
        raise ConsoleError("--norm and --mean or --std: give one or the other")
    if options.resize is not None and options.crop is not None:
        raise ConsoleError("--resize and --crop are alternatives: give one of them")
    if options.crop is not None and not 0 < options.crop <= 1:
        raise ConsoleError(f"--crop {options.crop:g}: a fraction of the resized image, above 0 and at most 1")
    if options.resize is not None and not 8 <= options.resize <= 4096:
        raise ConsoleError(f"--resize {options.resize}: a side of 8 to 4096 pixels")
    if options.std is not None and min(options.std) <= 0:
        raise ConsoleError(f"--std {','.join(f'{value:g}' for value in options.std)}: deviations are above 0")


def input_of(options: BackboneOptions, chosen: Proposal) -> InputCard:
    """Preprocessing: the user's values, else those of the file or a neighbouring one, else the stated assumption.

    Raises ConsoleError for a side before cropping that is smaller than the input.
    """
    mean, std = NORMALISATIONS[options.normalisation] if options.normalisation else (chosen.mean, chosen.std)
    size, crop = options.size or chosen.size, options.crop or chosen.crop
    if options.resize is not None and options.resize < size:
        raise ConsoleError(f"--resize {options.resize}: at least the input size, {size}")
    if options.resize is not None:
        crop = size / options.resize
        if math.floor(size / crop) != options.resize:  # the side before cropping is computed as size / crop
            crop = math.nextafter(crop, 0)
    return InputCard(
        size=size,
        mean=options.mean or mean,
        std=options.std or std,
        crop=crop,
        interpolation=options.interpolation or chosen.interpolation,
    )


def make_card(options: BackboneOptions, inspection: Inspection) -> BackboneCard:
    """Card of an inspection. Raises ConsoleError when a choice is left to the user."""
    chosen = chosen_proposal(options, inspection)
    architecture, file = chosen.architecture, code_file(chosen.architecture)
    if file is not None:  # workers run in another folder
        architecture = f"{file.absolute()}:{architecture.rpartition(':')[2]}"
    return BackboneCard(
        name=options.card_name,
        title=f"{options.source} ({chosen.architecture.rpartition('/')[2]})",
        architecture=architecture,
        code_sha256=inspection.code_sha256,
        architecture_arguments=chosen.arguments,
        padding=options.padding,
        pooling=chosen.pooling if options.pooling == "default" else options.pooling,
        weights=options.hub or FileWeights(path=str(options.path)),
        keys=chosen.keys,
        input=input_of(options, chosen),
        facts=FactsCard(method=options.method or inspection.method),
    )


def chosen_proposal(options: BackboneOptions, inspection: Inspection) -> Proposal:
    """The unambiguous proposal. Raises ConsoleError for a question, MissingInputs where no architecture matches."""
    if inspection.chosen is not None:
        return inspection.chosen
    if inspection.question is not None:
        raise ConsoleError(f"{options.path}: {inspection.question}")
    raise MissingInputs(f"{options.path} cannot be used: {inspection.problem}")


def write_card(workspace: Workspace, card: BackboneCard, *, replace: bool = False) -> Path:
    """Write the card to the catalogue's folder. Raises ConsoleError when the name is taken."""
    path = card_path(workspace, card.name, replace=replace)
    workspace.create()
    path.parent.mkdir(parents=True, exist_ok=True)
    content = card.model_dump(mode="json", exclude={"name"}, exclude_none=True, exclude_defaults=True)
    content["weights"]["kind"] = card.weights.kind
    write_atomically(path, tomli_w.dumps(content).encode())
    return path


def card_path(workspace: Workspace, name: str, *, replace: bool = False) -> Path:
    """Path of a new card. Raises ConsoleError when the name is taken."""
    path = workspace.backbones / f"{name}.toml"
    if path.exists() and not replace:
        raise ConsoleError(f"{path} already exists: choose another --name, or --replace it")
    return path


MILLION = 1e6
STUBS = 6
"""Maximum number of unread objects that are listed per file."""


def format_inspection(inspection: Inspection, options: BackboneOptions) -> list[str]:
    """Detected properties, one line each."""
    if inspection.chosen is None:
        lines = [f"no architecture matches its {inspection.tensors} tensors"]
        return lines + [f"  nearest: {proposal_line(other)}" for other in inspection.others]
    chosen = inspection.chosen
    lines = [
        f"architecture   {chosen.architecture}{_arguments(chosen)}",
        f"tensors        {chosen.matched} of {chosen.expected} ({chosen.share:.0%}) at {chosen.place}",
    ]
    if chosen.keys.conversion != "none":
        lines.append(f"names          converted ({chosen.keys.conversion})")
    lines += [
        f"dropped        {item.prefix} ({item.tensors} tensors, {item.parameters / MILLION:.2f} M): {item.reason}"
        for item in chosen.dropped
    ]
    lines += [f"merged         {inspection.merged}"] if inspection.merged else []
    lines += [f"method         {options.method or inspection.method}"]
    lines += [f"chosen because {inspection.reason}"] if inspection.reason else []
    for other in (other for other in inspection.others if other.exact):
        container = f"--container {other.keys.container} " if other.keys.container else ""
        lines += [f"alternative    {proposal_line(other)}: {container}--prefix '{other.keys.prefix}'"]
    lines += [f"code           {path}, trusted as it is now" for path in inspection.code_loaded]
    lines += [f"WARNING        {words}" for words in inspection.code_writable]
    return [*lines, *_preprocessing(inspection, options, chosen)]


def _preprocessing(inspection: Inspection, options: BackboneOptions, chosen: Proposal) -> list[str]:
    """Normalisation and size with their source, assumed values, and unread objects."""
    card = input_of(options, chosen)
    given = (
        "given"
        if options.normalisation or options.mean or options.std
        else inspection.images_from or "assumed; --norm or --mean"
    )
    numbers = "  ".join(",".join(f"{value:g}" for value in three) for three in (card.mean, card.std))
    pooling = chosen.pooling if options.pooling == "default" else options.pooling
    return [
        f"normalisation  {options.normalisation or numbers} ({given})",
        f"input          {card.size} px",
        *([] if pooling == "default" else [f"pooling        {pooling}"]),
        *(f"assumed        {words}" for words in chosen.assumptions),
        *(
            [f"not read       {', '.join(inspection.stubs[:STUBS])}: objects other than tensors"]
            if inspection.stubs
            else []
        ),
    ]


def proposal_line(proposal: Proposal) -> str:
    """One matching architecture."""
    share = f"{proposal.matched} of {proposal.expected}"
    obstacles = f" ({'; '.join(proposal.obstacles)})" if proposal.obstacles else ""
    return f"{proposal.architecture}{_arguments(proposal)}, {share} tensors at {proposal.place or 'the top'}{obstacles}"


def _arguments(proposal: Proposal) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in proposal.arguments.items())
    return f"({given})" if given else ""


def fetch_hub_model(session: Session, name: str, on_progress: Progress) -> BackboneCard:
    """Fetch the newest commit of the revision, inspect it, and store its card under the name.

    Raises WeightsError where the hub refuses or is unreachable; ConsoleError for an ambiguous model, with the command
    that resolves it.
    """
    reference = hub_reference(name)
    known = session.weights.hub_models.card_at(reference, reference.revision)
    if COMMIT.fullmatch(reference.revision) and known is not None:
        session.weights.fetch(known, on_progress)
        return known
    snapshot = look_up(reference, session.weights.hub)
    card = session.weights.hub_models.card_at(reference, snapshot.commit)
    if card is None:
        path, weights = bring(snapshot, session.weights, on_progress)
        options = BackboneOptions(path=path, hub=weights, name=f"hf/{reference.repository}")
        try:
            card = make_card(options, inspect_checkpoint(options))
        except ConsoleError as error:
            words = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")
            raise type(error)(
                f"{reference.name} is fetched, but {words}: decide with `ssl-console add backbone {reference.name} ...`"
            ) from error
        session.weights.hub_models.keep(reference, card)
    session.weights.fetch(card, on_progress)
    session.weights.hub_models.pin(reference, snapshot.commit)
    return card.model_copy(update={"name": reference.name})


def local_options(
    session: Session, options: BackboneOptions, on_progress: Progress = lambda _done, _total: None
) -> BackboneOptions:
    """Options for local files: a model of the hub is fetched first. Raises WeightsError."""
    if options.hub_name is None:
        return options
    reference = hub_reference(options.hub_name)
    path, weights = bring(look_up(reference, session.weights.hub), session.weights, on_progress)
    return replace(options, path=path, hub=weights, name=options.card_name, hub_name=None)
