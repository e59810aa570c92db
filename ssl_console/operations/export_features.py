"""Export of features of images, folders or datasets to a file. A subprocess computes them; nothing here imports
torch.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from backbones.catalog.card import BackboneCard, Pooling, Precision, PreprocessingName
from backbones.catalog.layer_info import LAYER_POOLINGS
from backbones.io.card_files import UnknownName, suggest
from backbones.io.errors import counted
from backbones.io.files import expand_user
from backbones.io.subprocess_query import stream_module
from ssl_console.operations.session import Session
from ssl_console.system.command_hints import fetch_data, fetch_weights_command
from ssl_console.system.devices import all_devices, choose_devices
from ssl_console.system.errors import ConsoleError, MissingInputs, OperationFailed
from tasks.datasets.file_kinds import is_image_name, is_leftover
from tasks.datasets.presence import presence
from tasks.features.requests import (
    ALL,
    EXPORT,
    LAST,
    REPORT,
    DatasetSplits,
    Exported,
    ExportRequest,
    ExportWarning,
    Failed,
    FormatError,
    ImageFiles,
    LayerChoice,
    Problem,
    Report,
    check_format,
    names_file,
)

GIGABYTE = 1e9
ERRORS: dict[Problem, type[ConsoleError]] = {
    "weights": MissingInputs,
    "data": MissingInputs,
    "request": ConsoleError,
    "failure": OperationFailed,
}


@dataclass(frozen=True)
class ExportOptions:
    """The user's options; None means the value of the backbone or the workspace."""

    output: Path
    preprocessing: str = "paper"
    pooling: str | None = None
    layers: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    device: str | None = None
    precision: str = "float32"
    replace: bool = False


@dataclass(frozen=True)
class ExportedFile:
    """A written file of features."""

    path: Path
    names: Path | None
    """File of the image names, where the format cannot contain them."""
    backbone: str
    exported: Exported
    warnings: tuple[str, ...]


def export_features(
    session: Session, backbone: str, images: Sequence[str], options: ExportOptions, progress: Callable[[Report], None]
) -> ExportedFile:
    """Compute the features and write the file. `progress` receives each phase and its progress.

    Raises ConsoleError for options and names, MissingInputs for weights and data, OperationFailed.
    """
    request = export_request(session, backbone, images, options)
    reports: list[Report] = []

    def take(line: str) -> None:
        report = REPORT.validate_json(line)
        if isinstance(report, ExportWarning | Failed | Exported):
            reports.append(report)
        else:
            progress(report)

    failure = stream_module(EXPORT, given=request.model_dump_json(), take=take)
    failed = next((report for report in reports if isinstance(report, Failed)), None)
    if failed is not None:
        raise ERRORS[failed.problem](failed.words)
    done = next((report for report in reports if isinstance(report, Exported)), None)
    if done is None:
        raise OperationFailed(f"the extraction subprocess failed: {failure or 'no output'}")
    names = names_file(options.output) if options.output.suffix == ".npy" else None
    warnings = tuple(report.words for report in reports if isinstance(report, ExportWarning))
    return ExportedFile(options.output, names, request.backbone.name, done, warnings)


def export_request(session: Session, backbone: str, images: Sequence[str], options: ExportOptions) -> ExportRequest:
    """Input of the computing subprocess. Raises as `export_features` does, without computing anything."""
    _check_output(options)
    card = session.backbones.get(backbone)
    card = _pooled(card, options.pooling) if options.layers in ((), (LAST,)) else card
    preprocessing = _one_of(get_args(PreprocessingName), options.preprocessing, "--preprocessing")
    layers = layer_choice(options.layers, options.pooling)
    precision = _one_of(get_args(Precision), options.precision, "--precision")
    state = session.weights.state(card)
    if state.status != "present":
        advice = state.advice if card.weights.kind == "file" else f"run `{fetch_weights_command(card.name)}`"
        raise MissingInputs(f"the weights of {card.name} are {state.status}: {advice}")
    workspace, config = session.workspace, session.config
    names = (options.device,) if options.device else config.devices
    return ExportRequest(
        backbone=card,
        sources=_sources(session, images, options.splits),
        output=str(options.output.absolute()),
        preprocessing=preprocessing,
        layers=layers,
        device=choose_devices(names, all_devices())[0].name,
        precision=precision,
        weights=str(workspace.weights),
        data=str(session.data_root),
        features=str(workspace.features),
        cache=str(workspace.cache),
        decoded=str(workspace.decoded) if config.decoded_gb else None,
        decoded_bytes=round(GIGABYTE * config.decoded_gb),
    )


def _check_output(options: ExportOptions) -> None:
    path = options.output
    try:
        check_format(path)
    except FormatError as error:
        raise ConsoleError(str(error)) from error
    if not path.absolute().parent.is_dir():
        raise ConsoleError(f"{path}: folder {path.absolute().parent} does not exist")
    written = [path, names_file(path)] if path.suffix == ".npy" else [path]
    for file in written:
        if file.exists() and not options.replace:
            raise ConsoleError(f"{file} already exists: choose another name, or --replace it")


def layer_choice(layers: Sequence[str], pooling: str | None) -> LayerChoice | None:
    """Blocks of `--layers` and their poolings; None for the pooled features of the tasks. Raises ConsoleError."""
    words = [word for given in layers for word in given.split(",") if word]
    if words in ([], [LAST]):
        return None
    if words != [ALL] and not all(word.isdecimal() and int(word) for word in words):
        raise ConsoleError(f"--layers {','.join(layers)}: numbers of blocks from 1, or {ALL}, or {LAST}")
    poolings = tuple(_one_of(LAYER_POOLINGS, name, "--pooling") for name in (pooling or "").split("+") if name)
    return LayerChoice(blocks=() if words == [ALL] else tuple(map(int, words)), poolings=poolings)


def _pooled(card: BackboneCard, pooling: str | None) -> BackboneCard:
    """Card with another pooling; its features are stored separately."""
    if pooling is None:
        return card
    return card.model_copy(update={"pooling": _one_of(get_args(Pooling), pooling, "--pooling")})


def _sources(
    session: Session, images: Sequence[str], splits: tuple[str, ...]
) -> tuple[ImageFiles | DatasetSplits, ...]:
    """Images and datasets in the order of the command line; adjacent files are one source."""
    found: list[ImageFiles | DatasetSplits] = []
    for name in images:
        source = _source(session, name, splits)
        last = found[-1] if found else None
        if isinstance(source, ImageFiles) and isinstance(last, ImageFiles):
            found[-1] = ImageFiles(files=last.files + source.files, names=last.names + source.names)
        else:
            found.append(source)
    if splits and not any(isinstance(source, DatasetSplits) for source in found):
        raise ConsoleError(f"--split {splits[0]}: files and folders have no splits, datasets have")
    return tuple(found)


def _source(session: Session, name: str, splits: tuple[str, ...]) -> ImageFiles | DatasetSplits:
    path = expand_user(name)
    is_dataset = name in session.tasks.datasets
    if is_dataset and path.exists():
        raise ConsoleError(f"{name} is a dataset and also a path: write ./{name} for the path")
    if is_dataset:
        return _dataset(session, name, splits)
    if path.is_dir():
        return _folder(session, name, path)
    if path.is_file():
        return ImageFiles(files=(str(path.absolute()),), names=(name,))
    if path.exists():
        raise ConsoleError(f"{name} is a pipe or a device, not a file or folder")
    if os.sep in name:
        raise ConsoleError(f"{name}: no such file or folder")
    raise UnknownName("image, folder or dataset", name, suggest(name, session.tasks.datasets))


def _dataset(session: Session, name: str, splits: tuple[str, ...]) -> DatasetSplits:
    card = session.tasks.dataset(name)
    state = presence(card, session.data_root)
    if state.status != "present":
        advice = f"run `{fetch_data(name)}`" if card.download == "automatic" else state.advice
        raise MissingInputs(f"the data of {name} are {state.status}: {advice}")
    return DatasetSplits(card=card, splits=splits)


def _folder(session: Session, name: str, folder: Path) -> ImageFiles:
    """All image files below a folder, by path; other files are counted in a notification. Raises MissingInputs
    without any image.
    """
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if not is_leftover(one))
        files += [Path(place, one) for one in names if not is_leftover(one)]
    chosen = sorted(file for file in files if is_image_name(file.name))
    special = next((file for file in chosen if not file.is_file()), None)
    if special is not None:
        raise ConsoleError(f"{special} is not a file but a pipe, a device or a broken link: remove it")
    if not chosen:
        raise MissingInputs(f"{name}: no images in this folder, by the suffixes of its {counted(len(files), 'file')}")
    others = Counter(file.suffix.lower() or "no ending" for file in files if not is_image_name(file.name))
    if others:
        kinds = ", ".join(f"{count} {ending}" for ending, count in others.most_common(4))
        session.notify(f"{name}: {counted(others.total(), 'file is', 'files are')} skipped, not images ({kinds})")
    relative = tuple(f"{name.rstrip('/')}/{file.relative_to(folder).as_posix()}" for file in chosen)
    return ImageFiles(files=tuple(str(file.absolute()) for file in chosen), names=relative)


Choice = TypeVar("Choice", bound=str)


def _one_of(allowed: tuple[Choice, ...], given: str, option: str) -> Choice:
    chosen = next((value for value in allowed if value == given), None)
    if chosen is None:
        raise ConsoleError(f"{option} {given}: choose {', '.join(allowed)}")
    return chosen
