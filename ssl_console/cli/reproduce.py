"""`reproduce`: run a result again from its own specification, and compare."""

from __future__ import annotations

import time

from ssl_console.candidates import folders_of_key
from ssl_console.cli import output
from ssl_console.cli.follow import follow_runs
from ssl_console.cli.session import Session
from ssl_console.cli.show import record_of
from ssl_console.cli.why import as_document, between
from ssl_console.difference import Difference
from ssl_console.errors import ConsoleError, ExitCode, OperationFailed
from ssl_console.planning import new_run_id
from ssl_console.predictions import RunOutputs
from ssl_console.requests import submit
from ssl_console.result import ResultRecord
from ssl_console.run import RunSpec


def reproduce(session: Session, name: str, *, fresh: bool, within: float, as_json: bool) -> ExitCode:
    """Queue the run again under an id of its own, follow it, and say whether the number is the same.

    `within` is in the unit of the score. Raises ConsoleError when the result cannot be found.
    """
    before = record_of(session, name)
    spec = _spec_again(session, before, fresh=fresh)
    submit(session.workspace, spec.run_id, spec.model_dump_json(indent=2).encode())
    if not as_json:
        output.say(f"{before.result.run_id} is run again as {spec.run_id}")
    code = follow_runs(session, [spec.run_id], spec.devices, as_json=as_json)
    if code is not ExitCode.DONE:
        return code
    after = RunOutputs(session.workspace).record(spec.run_id)
    if after is None:
        raise OperationFailed(f"{session.workspace.run(spec.run_id).result} cannot be read, so nothing was compared")
    return _verdict(between(session, before, after), within, as_json=as_json)


def _spec_again(session: Session, before: ResultRecord, *, fresh: bool) -> RunSpec:
    """The run's own specification under a new id: no card that has changed since has a part in it."""
    from pydantic import ValidationError

    path = session.workspace.run(before.result.run_id).spec
    try:
        spec = RunSpec.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise ConsoleError(f"{path} is not there or cannot be read, so nobody knows what to repeat") from error
    taken = [folder_id for folder_id, _ in folders_of_key(session.workspace, before.result.key)]
    run_id = new_run_id(before.result.key, [before.result.run_id, *taken])
    return spec.model_copy(update={"run_id": run_id, "created": time.time(), "fresh": fresh, "devices": ()})


def _verdict(found: Difference, within: float, *, as_json: bool) -> ExitCode:
    repeated = found.same_key and abs(found.moved) <= within
    exactly = found.same_key and found.first.metrics == found.second.metrics
    if as_json:
        output.json_line({"event": "reproduced", "repeated": repeated, "exactly": exactly, **as_document(found)})
    else:
        word = "repeated exactly" if exactly else "repeated" if repeated else "NOT repeated"
        was, now = found.first.result.value, found.second.result.value
        output.lines([f"{word}: {was:.4f} then, {now:.4f} now. {found.sentence}"])
    return ExitCode.DONE if repeated else ExitCode.RUN_FAILED
