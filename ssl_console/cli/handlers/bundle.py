"""`bundle`, `verify` and `import`: export of results to one file, its verification, and its import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backbones.io.card_files import match
from backbones.io.errors import counted
from ssl_console.cli.output import stdout
from ssl_console.operations.bundle.archive import NotABundle
from ssl_console.operations.bundle.import_results import Imported, NotVerified, import_bundle
from ssl_console.operations.bundle.verify import Report, check
from ssl_console.operations.bundle.write import bundle as write_bundle
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError, ExitCode, OperationFailed
from ssl_console.workspace.result import Result
from tasks.datasets.card import DatasetCard
from tasks.datasets.manifest import Manifest, known_manifest

SHOWN = 20
MEGABYTE = 2**20


def bundle(
    session: Session, path: Path, suite: str | None, backbones: Sequence[str], tasks: Sequence[str], *, as_json: bool
) -> None:
    """Write the selected results. Raises ConsoleError when there are none, or the file already exists."""
    columns = None if suite is None else [(spec.name, spec.variant) for spec in session.tasks.select(suite=suite)]
    results = _picked(session.results(), columns, backbones, tasks)
    if not results:
        raise ConsoleError("no results match: `ssl-console results` lists the available ones")
    if path.exists():
        raise ConsoleError(f"{path} already exists: choose another name, a bundle never replaces a file")
    if not path.absolute().parent.is_dir():
        raise ConsoleError(f"{path}: folder {path.absolute().parent} does not exist")

    def manifest(card: DatasetCard) -> Manifest | None:
        return known_manifest(card, session.data_root, session.workspace.cache)

    done = write_bundle(path, session.workspace, results, columns, manifest, session.badge_sources)
    if as_json:
        document = {"path": str(done.path), "sha256": done.digest, "results": done.results, "bytes": done.bytes}
        stdout.document({**document, "left_out": list(done.left_out)})
        return
    stdout.lines([f"{done.results} results in {done.path} ({done.bytes / MEGABYTE:.1f} MB), digest {done.digest}"])
    if done.left_out:
        stdout.say(f"skipped, because their run folders are missing: {', '.join(done.left_out)}")


def verify(path: Path, *, as_json: bool) -> ExitCode:
    """Check a bundle: 0 when everything agrees, 1 when something does not. Raises ConsoleError for a missing file."""
    if not path.is_file():
        raise ConsoleError(f"{path}: file not found")
    try:
        report = check(path, (lambda _line: None) if as_json else stdout.say)
    except NotABundle as error:
        raise OperationFailed(str(error)) from error
    if as_json:
        stdout.document(_document(report))
    else:
        _show(report)
    return ExitCode.DONE if report.agrees else ExitCode.RUN_FAILED


def import_results(session: Session, path: Path, *, take_conflicting: bool, dry_run: bool, as_json: bool) -> ExitCode:
    """Import a bundle: 0 when every result is present afterwards, 1 when some were skipped or the bundle does not
    verify.

    Raises ConsoleError for a missing file, OperationFailed for an untrustworthy one.
    """
    if not path.is_file():
        raise ConsoleError(f"{path}: file not found")
    try:
        done = import_bundle(
            path,
            session.workspace,
            (lambda _line: None) if as_json else stdout.say,
            take_conflicting=take_conflicting,
            dry_run=dry_run,
        )
    except (NotABundle, NotVerified) as error:
        raise OperationFailed(str(error)) from error
    if as_json:
        stdout.document(_import_document(done, dry_run=dry_run))
    else:
        _show_import(done, dry_run=dry_run)
    left_out = [one for one in (*done.of("conflict"), *done.of("unusable")) if not one.taken]
    return ExitCode.RUN_FAILED if left_out else ExitCode.DONE


def _show_import(done: Imported, *, dry_run: bool) -> None:
    notable = [one for one in done.results if one.words and one.fate != "here"]
    for one in notable[:SHOWN]:
        title = f"{one.result.backbone} on {one.result.task}, seed {one.result.seed}"
        stdout.lines([f"{title}: {one.words}{'' if one.taken else ' (left out)'}"])
    if len(notable) > SHOWN:
        stdout.lines([f"... and {len(notable) - SHOWN} more"])
    taken = sum(one.taken for one in done.results)
    counts = [
        f"{counted(taken, 'result')} {'would be ' if dry_run else ''}imported",
        f"{len(done.of('here'))} already present",
    ]
    counts += [f"{len(done.of('conflict'))} in conflict"] if done.of("conflict") else []
    counts += [f"{len(done.of('unusable'))} unusable"] if done.of("unusable") else []
    stdout.lines([f"{done.path}: {', '.join(counts)}"])
    if any(one.fate == "conflict" and not one.taken for one in done.results):
        stdout.say("--take-conflicting also imports those, as further runs of the same measurement")


def _import_document(done: Imported, *, dry_run: bool) -> dict[str, object]:
    rows = [
        {
            "run_id": one.run_id or None,
            "run_id_there": one.result.run_id,
            "backbone": one.result.backbone,
            "task": one.result.task,
            "seed": one.result.seed,
            "key": one.result.key,
            "value": one.result.value,
            "fate": one.fate,
            "imported": one.taken and not dry_run,
            "words": one.words,
        }
        for one in done.results
    ]
    return {"path": str(done.path), "sha256": done.digest, "made_by": done.made_by, "dry_run": dry_run, "results": rows}


def _picked(
    results: Sequence[Result],
    columns: Sequence[tuple[str, str]] | None,
    backbones: Sequence[str],
    tasks: Sequence[str],
) -> list[Result]:
    found = [one for one in results if columns is None or (one.task, one.variant) in set(columns)]
    if backbones:
        chosen = set(match(backbones, dict.fromkeys(one.backbone for one in found), "backbone with results"))
        found = [one for one in found if one.backbone in chosen]
    if tasks:
        names = set(match(tasks, dict.fromkeys(one.task for one in found), "task with results"))
        found = [one for one in found if one.task in names]
    return found


def _show(report: Report) -> None:
    for problem in report.problems[:SHOWN]:
        stdout.lines([f"{problem.file}: {problem.what}"])
    if len(report.problems) > SHOWN:
        stdout.lines([f"... and {len(report.problems) - SHOWN} more"])
    counts = (
        f"{report.files} files, {report.scores} scores of {report.results} results and {report.tables} tables were "
        "checked"
    )
    if report.not_counted:
        stdout.say(
            f"not recomputed, because they have no per-sample predictions: {', '.join(report.not_counted[:SHOWN])}"
        )
    verdict = "all agree" if report.agrees else f"{len(report.problems)} do NOT agree"
    stdout.lines([f"{report.path}: {counts}: {verdict}"])


def _document(report: Report) -> dict[str, object]:
    return {
        "path": str(report.path),
        "agrees": report.agrees,
        "problems": [{"file": one.file, "what": one.what} for one in report.problems],
        "files": report.files,
        "results": report.results,
        "scores": report.scores,
        "not_counted": report.not_counted,
        "tables": report.tables,
    }
