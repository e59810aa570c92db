"""`doctor`: every check with its result and, for a failed one, the fix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from backbones.catalog.card import BackboneCard
from backbones.io.card_files import CardNameError
from ssl_console.cli.output import stdout
from ssl_console.operations.doctor import Check, DoctorContext, Verdict, examine_dataset
from ssl_console.operations.doctor import examine as examine_machine
from ssl_console.operations.session import Session
from ssl_console.system.command_hints import fetch_weights_command
from ssl_console.system.errors import ExitCode, MissingInputs
from ssl_console.workspace.paths import Workspace
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard

MARKS: dict[Verdict, str] = {"good": "ok  ", "note": "note", "bad": "BAD "}
NAME_COLUMNS = 13


def doctor(session: Session, *, as_json: bool) -> ExitCode:
    """Print all checks of the machine; 1 when something is bad."""
    subject = DoctorContext(
        workspace=Workspace.find(session.workspace_option),
        data_root=lambda: session.data_root,
        card_problems=lambda: [*session.backbones.problems, *session.tasks.problems],
        results=lambda: sum(1 for _ in session.store.stream()),
        suites=lambda: list(session.tasks.suites),
    )
    checks = list(_shown(examine_machine(subject), as_json=as_json))
    if as_json:
        stdout.document({"checks": [asdict(check) for check in checks]})
    return ExitCode.RUN_FAILED if any(check.verdict == "bad" for check in checks) else ExitCode.DONE


def examine(session: Session, names: Sequence[str], *, as_json: bool) -> ExitCode:
    """Examine backbones, tasks and datasets by name; 4 when one is unfit.

    Raises CardNameError for an unknown name, and MissingInputs for missing weights.
    """
    subjects = [subject for name in names for subject in _subjects(session, name)]
    found: dict[str, list[Check]] = {}
    for subject in subjects:
        if not as_json:
            stdout.lines([f"{'backbone' if isinstance(subject, BackboneCard) else 'dataset'} {subject.name}"])
        found[subject.name] = list(_shown(_checks(session, subject), as_json=as_json))
    if as_json:
        rows = [{"name": name, "checks": [asdict(check) for check in checks]} for name, checks in found.items()]
        stdout.document({"examined": rows})
    unfit = any(check.verdict == "bad" for checks in found.values() for check in checks)
    return ExitCode.REFUSED if unfit else ExitCode.DONE


def _subjects(session: Session, name: str) -> Sequence[BackboneCard | DatasetCard]:
    """The backbones of a name or glob; else the datasets of a task, dataset or glob. Raises CardNameError."""
    try:
        return session.backbones.select([name])
    except CardNameError as error:
        datasets = _datasets(session.tasks, name)
        if not datasets:
            raise error from None
        return datasets


def _datasets(tasks: TaskCatalog, name: str) -> Sequence[DatasetCard]:
    if name in tasks.datasets:
        return [tasks.datasets[name]]
    try:
        return list({spec.dataset: tasks.dataset(spec.dataset) for spec in tasks.select([name])}.values())
    except CardNameError:
        return []


def _checks(session: Session, subject: BackboneCard | DatasetCard) -> Iterator[Check]:
    if isinstance(subject, DatasetCard):
        yield from examine_dataset(subject, session.data_root)
        return
    state = session.weights.state(subject)
    if state.status != "present":
        advice = state.advice if subject.weights.kind == "file" else f"run `{fetch_weights_command(subject.name)}`"
        raise MissingInputs(f"the weights of {subject.name} are {state.status}: {advice}")
    for one in session.checker().examine(subject, thorough=True):
        yield Check(one.name, one.verdict, one.words)


def _shown(checks: Iterator[Check], *, as_json: bool) -> Iterator[Check]:
    for check in checks:
        if not as_json:
            stdout.lines([f"{MARKS[check.verdict]} {check.name:<{NAME_COLUMNS}} {check.words}"])
        yield check
