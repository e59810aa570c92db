"""Evaluation of backbones under all protocols of a multiverse, from stored features. A subprocess computes it; nothing
here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from backbones.catalog.card import BackboneCard
from backbones.io.card_files import check_card, is_glob, match
from backbones.io.subprocess_query import stream_module
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError, MissingInputs, OperationFailed
from tasks.datasets.presence import presence
from tasks.features.cache_report import entries
from tasks.features.manifest import layer_request_of
from tasks.features.requests import (
    MULTIVERSE,
    MULTIVERSE_REPORT,
    Advance,
    ExportWarning,
    Failed,
    MultiverseCard,
    MultiverseRequest,
    MultiverseResult,
    Phase,
)

Progress = Callable[[Phase | Advance], None]


def multiverse(
    session: Session, backbones: Sequence[str], dataset: str, card: MultiverseCard, progress: Progress
) -> MultiverseResult:
    """Scores of all protocols. `backbones` are names or globs; empty: all with stored features of every block.

    Raises ConsoleError for names and fewer than two backbones, MissingInputs for features, weights and data,
    OperationFailed.
    """
    request = multiverse_request(session, backbones, dataset, card)
    found: list[MultiverseResult | Failed] = []

    def take(line: str) -> None:
        report = MULTIVERSE_REPORT.validate_json(line)
        if isinstance(report, ExportWarning):
            session.notify(report.words)
        elif isinstance(report, Phase | Advance):
            progress(report)
        else:
            found.append(report)

    failure = stream_module(MULTIVERSE, given=request.model_dump_json(), take=take)
    if not found:
        raise OperationFailed(f"the subprocess of the multiverse failed: {failure or 'no output'}")
    if isinstance(found[0], Failed):
        error = MissingInputs if found[0].problem in {"data", "weights"} else OperationFailed
        raise error(found[0].words)
    return found[0]


def multiverse_request(
    session: Session, backbones: Sequence[str], dataset: str, card: MultiverseCard
) -> MultiverseRequest:
    """Input of the subprocess. Raises as `multiverse` does, without computing anything."""
    data = session.tasks.dataset(dataset)
    state = presence(data, session.data_root)
    if state.status != "present":
        raise MissingInputs(f"the data of {dataset} are {state.status}: {state.advice}")
    chosen = _backbones(session, backbones, dataset)
    if len(chosen) < 2:
        named = ", ".join(one.name for one in chosen) or "none"
        raise ConsoleError(
            f"a multiverse compares at least two backbones, and there is {named}: "
            f"`ssl-console run -b BACKBONE -t layers/{dataset}` stores features of every block"
        )
    workspace = session.workspace
    return MultiverseRequest(
        card=card,
        backbones=tuple(chosen),
        dataset=data,
        weights=str(workspace.weights),
        data=str(session.data_root),
        features=str(workspace.features),
        cache=str(workspace.cache),
    )


def _backbones(session: Session, wanted: Sequence[str], dataset: str) -> list[BackboneCard]:
    """Cards of the requested backbones; a glob, or none, selects among those with stored features of every block."""
    stored = {
        one.plan.backbone: None
        for one in entries(session.workspace.features)
        if one.plan and one.state == "complete" and one.plan.dataset == dataset and layer_request_of(one.plan.parts)
    }
    globs = [name for name in wanted if is_glob(name)] if wanted else ["*"]
    names = [name for name in wanted if not is_glob(name)]
    names += match(globs, sorted(stored), "backbone with stored features") if globs and stored else []
    return [session.backbones.get(name) for name in dict.fromkeys(names)]


def read_multiverse_card(path: Path) -> MultiverseCard:
    """The card of a file. Raises ConsoleError with the path and the wrong key."""
    found = check_card(path, MultiverseCard, path.stem)
    if isinstance(found, MultiverseCard):
        return found
    raise ConsoleError("; ".join(map(str, found)))
