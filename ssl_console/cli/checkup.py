"""`doctor`: every check as it comes, and what to do about those that are not good."""

from __future__ import annotations

from dataclasses import asdict

from ssl_console.cli import output
from ssl_console.cli.session import Session
from ssl_console.doctor import Check, Subject, Verdict, examine
from ssl_console.errors import ExitCode

MARKS: dict[Verdict, str] = {"good": "ok  ", "note": "note", "bad": "BAD "}
NAME_COLUMNS = 11


def doctor(session: Session, *, as_json: bool) -> ExitCode:
    """Print all checks; 1 when something is bad."""
    subject = Subject(
        workspace=session.workspace,
        data_root=lambda: session.data_root,
        card_problems=lambda: [*session.backbones.problems, *session.tasks.problems],
        results=lambda: len(session.results()),
    )
    checks: list[Check] = []
    for check in examine(subject):
        checks.append(check)
        if not as_json:
            output.lines([f"{MARKS[check.verdict]} {check.name:<{NAME_COLUMNS}} {check.words}"])
    if as_json:
        output.document({"checks": [asdict(check) for check in checks]})
    return ExitCode.RUN_FAILED if any(check.verdict == "bad" for check in checks) else ExitCode.DONE
