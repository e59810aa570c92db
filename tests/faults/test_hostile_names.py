"""Names that control terminals, spreadsheets, LaTeX, Markdown, markup or paths are output as text."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given

from ssl_console.analysis.export import to_csv, to_json, to_latex, to_markdown, to_text
from ssl_console.analysis.ranking import rank
from ssl_console.cli import run
from ssl_console.operations.backbone_cards import open_editor, open_pager
from ssl_console.operations.session import resolve_run
from ssl_console.system.errors import ConsoleError
from ssl_console.system.file_system import PathCompletion, complete_path
from ssl_console.system.safe_text import printable
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore
from tests.faults.inputs import FUZZ, NAMES
from tests.faults.scale import full
from tests.faults.tally import Tally
from tests.ssl_console.tui.filled import go_on, queue, result, spec
from tests.ssl_console.tui.terminal import a_console

GROUP = "hostile names"
FORMULA = re.compile("[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
LATEX = re.compile(
    r"\\(textbf|underline)\{|\\text(backslash|asciitilde|asciicircum)\{\}|\\[&%$#_{}]|\$\\(pm|dagger)\$|\$\^\{=\}\$"
    r"|\\,\{\\scriptsize|\\\\$|^\{\}|\\multicolumn\{\d+\}\{c\}"
)
"""All characters with a meaning in LaTeX that a row of the table may contain."""
NUMBERS = re.compile(r"-?\d[\d.]*\}*")
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
HOSTILE = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a\nb",
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31m",
    "[bold red]x[/]",
    "[@click=app.quit]x[/]",
    "=1+1",
    "$(touch x)",
    "`touch x`",
    "; touch x",
    "-x",
    "--help=x",
    "%s%n{0}",
    "\u202etxt.exe",
    "x" * 10_000,
    "nul\x00byte",
)


def exported(names: Sequence[str]) -> dict[str, str]:
    """A ranking of these backbones on these tasks, in every format."""
    found = [result(name, name, run_id=f"run{n}") for n, name in enumerate(names)]
    ranking = rank(found)
    formats = {"csv": to_csv, "latex": to_latex, "markdown": to_markdown, "json": to_json}
    return {"text": to_text(ranking), **{name: write(ranking) for name, write in formats.items()}}


def test_names_in_exports_are_text_in_every_format(tally: Tally) -> None:
    count = 0

    @FUZZ
    @given(NAMES, NAMES)
    def tried(first: str, second: str) -> None:
        nonlocal count
        count += 1
        check_exports(exported(list(dict.fromkeys((first, second)))))

    tried()
    tally.add("fuzzed names in exports: CSV, LaTeX, Markdown, JSON, text", count, "no formula, command, cell or escape")


def check_exports(texts: dict[str, str]) -> None:
    rows = list(csv.reader(io.StringIO(texts["csv"], newline="")))
    assert len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        assert not FORMULA.match(cell.lstrip()) or NUMBERS.fullmatch(cell.replace("e", "").replace("-", "")), cell
    legend = r"\par{\footnotesize"
    table = [line for line in texts["latex"].splitlines() if not line.startswith(legend)]
    grouped = any(line.startswith(r"\cmidrule") for line in table)  # the head has two lines and rules between
    assert len(table) == len(rows) + 6 + 2 * grouped
    for line in table[3:-2]:
        if line == r"\midrule" or line.startswith(r"\cmidrule"):
            continue
        bare = LATEX.sub("", line.replace(r"\S{}", ""))  # the sign for a paragraph
        assert not re.search(r"[\\$%#_^~]", bare), line
        assert not line.startswith(("[", "*")), line
    lines = texts["markdown"].partition("\n\n")[0].splitlines()  # the legend is below the table
    assert len(lines) == len(rows) + 1
    assert len({len(re.findall(r"(?<!\\)\|", line.replace(r"\\", ""))) for line in lines}) == 1
    assert not any("<" in line.replace("&lt;", "") for line in lines)
    assert len(json.loads(texts["json"])["rows"]) == len(rows) - 1
    for text in texts.values():
        assert not STEERING.search(text)


def test_rows_of_a_latex_table_are_no_arguments_of_the_line_before() -> None:
    lines = exported(["[5pt]", "*", "b"])["latex"].splitlines()
    assert [line[:6] for line in lines if line.startswith("{}")] == ["{}*", "{}[5pt]"] or all(
        not line.startswith(("[", "*")) for line in lines
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_run_is_never_looked_up_outside_of_the_workspace(name: str) -> None:
    with pytest.raises(Exception, match=r"run") as raised:
        resolve_run(name, ["abc123", "abd456"])
    assert type(raised.value).__name__ in ("UnknownName", "ConsoleError")


OF_RUNS = (("show",), ("logs",), ("events",), ("cancel",), ("retry",))
OTHERS = (
    ("plan", "-t", "knn/digits", "-b"),
    ("plan", "-b", "demo/random", "-t"),
    ("rank", "--suite"),
    ("data", "check"),
    ("weights", "fetch"),
    ("cache", "why", "demo/random"),
    ("add", "backbone"),
    ("add", "dataset"),
    ("compare", "demo/random"),
)


@pytest.mark.slow
def test_names_on_the_command_line_end_in_a_sentence_and_touch_nothing(
    workspace: Workspace,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tally: Tally,
) -> None:
    monkeypatch.chdir(tmp_path)
    ResultStore(workspace).add([result("demo/mae", "knn/digits", run_id="abc123")])
    before = _files(tmp_path)
    tried = 0
    for verb in (*OF_RUNS, *OTHERS):
        for name in HOSTILE if verb in OF_RUNS and (full() or verb == OF_RUNS[0]) else HOSTILE[::6]:
            if "\x00" in name:  # impossible on a command line
                continue
            code = run([*verb, "--", name] if name.startswith("-") else [*verb, name])
            captured = capfd.readouterr()
            assert code in (0, 1, 2, 3), (verb, name[:40], captured.err[-500:])
            assert "Traceback" not in captured.err, (verb, name[:40])
            assert not STEERING.search(captured.err + captured.out), (verb, name[:40])
            tried += 1
    assert {path for path in _files(tmp_path) - before if "supervisor" not in str(path)} == set()
    tally.add("hostile names given to verbs of the command line", tried, "a sentence and an exit code; nothing written")


def _files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")}


MARKUP = "[@click=app.quit]quit[/] [bold red]red[/] \x1b]0;title\x07 \u202eback a\nb [/] [not closed"


@pytest.mark.slow
def test_the_console_shows_hostile_titles_names_and_messages_as_text(workspace: Workspace, tally: Tally) -> None:
    for number, title in enumerate((MARKUP, "x" * 10_000, "=cmd|' /C calc'!A0 \\write18{id}")):
        card = {
            "title": title,
            "architecture": "test_resnet",
            "weights": {"kind": "random", "seed": number},
            "facts": {"method": title, "note": title, "paper": title},
        }
        (workspace.backbones / f"odd-{number}.toml").write_text(tomli_w.dumps(card))
        (workspace.tasks / f"odd-{number}.toml").write_text(
            tomli_w.dumps({"title": title, "reader": "digits", "classes": 10, "protocols": ["knn"], "note": title})
        )
    ResultStore(workspace).add(
        [result(name, f"knn/{name}", run_id=f"odd{n}") for n, name in enumerate((MARKUP, "y" * 10_000, "demo/mae"))]
    )
    queue(workspace, "waits", "demo/random", "knn/digits")
    odd = spec("named", "demo/random", "knn/digits")
    odd = odd.model_copy(update={"backbone": odd.backbone.model_copy(update={"name": MARKUP, "title": MARKUP})})
    folder = workspace.run("named")
    folder.path.mkdir()
    folder.spec.write_text(odd.model_dump_json())
    go_on(workspace, "goes", "demo/simclr", "knn/digits", done=40)
    with workspace.run("goes").events(1).open("a") as file:
        for event in (
            {"kind": "phase", "name": MARKUP, "total": 10, "unit": MARKUP},
            {"kind": "warning", "message": MARKUP},
        ):
            file.write(json.dumps({**event, "time": 1.0}) + "\n")
    keys = (
        "1",
        "2",
        "3",
        "4",
        "f1",
        "escape",
        "1",
        ":",
        "odd",
        "enter",
        "escape",
        "2",
        "down",
        "enter",
        "escape",
        "3",
        "enter",
    )
    with a_console(workspace, environment={"PYTHONPATH": str(Path(__file__).parents[2])}) as console:
        console.until_shown("demo/mae")
        for key in keys:
            console.press(key)
            console.until_quiet(0.4)
            assert console.exit_code is None, f"{key}: {console.tail}"
        written = bytes(console.written)
        assert b"\x1b]0;title" not in written
        assert "\u202e".encode() not in written
        for key in ("escape", "escape", "q"):  # separately: an escape followed at once by a letter is another key
            console.press(key)
            console.watch(0.5)
        assert console.until_ended() == 0, console.scrollback
    assert printable(MARKUP).startswith("[@click=app.quit]quit[/] [bold red]red[/]")
    tally.add("hostile titles, names and messages on every screen of the console", len(keys), "text, and it goes on")


HOMELESS = "~no-such-user/x"


def test_a_home_that_does_not_exist_is_a_path_that_is_not_found(
    workspace: Workspace, capfd: pytest.CaptureFixture[str], tmp_path: Path, tally: Tally
) -> None:
    card = {
        "title": "x",
        "architecture": "test_resnet",
        "weights": {"kind": "file", "path": HOMELESS},
        "facts": {"method": "none"},
    }
    (workspace.backbones / "homeless.toml").write_text(tomli_w.dumps(card))
    verbs = (
        ("backbones",),
        ("add", "dataset", HOMELESS),
        ("add", "backbone", HOMELESS),
        ("features", "demo/random", HOMELESS, "-o", str(tmp_path / "out.npz")),
        ("watch", HOMELESS),
        ("run", "-b", "homeless", "-t", "knn/digits"),
    )
    for verb in verbs:
        code = run(list(verb))
        words = capfd.readouterr()
        assert code == (0 if verb == ("backbones",) else 2 if "features" in verb or "watch" in verb else 3), words.err
        assert (HOMELESS if len(verb) > 1 else "homeless") in words.err + words.out, verb
        assert "Traceback" not in words.err, verb
    assert complete_path(HOMELESS) == PathCompletion(HOMELESS)
    tally.add("paths below the home of an unknown user, typed or in a card", len(verbs), "named; not found")


def test_a_log_in_the_pager_has_no_escape_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    log, seen = tmp_path / "log.1.txt", tmp_path / "seen"
    log.write_bytes(b"loss \x1b[31m0.5\x1b[0m\n\x1b]52;c;cm0gLXJm\x07copied \xff\n")
    pager = tmp_path / "pager"
    pager.write_text(f'#!/bin/sh\ncat "$1" > {seen}\nbasename "$1" >> {seen}\n')
    pager.chmod(0o700)
    monkeypatch.setenv("PAGER", str(pager))
    open_pager(log)
    assert seen.read_text() == "loss 0.5\ncopied \ufffd\nlog.1.txt\n"
    tally.add("logs with escape sequences in a pager that passes them on", 1, "text")


@pytest.mark.parametrize(("command", "reason"), [("'", "No closing quotation"), ("/nowhere/editor", "No such file")])
def test_an_editor_or_pager_that_cannot_be_started_is_named(
    command: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    for name, start in (("EDITOR", open_editor), ("PAGER", open_pager)):
        monkeypatch.setenv(name, command)
        (tmp_path / "file").touch()
        with pytest.raises(ConsoleError, match=rf"\${name} \({command}\) cannot be started: {reason}"):
            start(tmp_path / "file")


def test_names_on_disk_that_a_terminal_cannot_show_are_not_completed(tmp_path: Path, tally: Tally) -> None:
    names = [b"run\x1b]0;title\x07", b"run\xff", "run\u202egnp".encode(), b"run-1"]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    assert complete_path(f"{tmp_path}/r") == PathCompletion(f"{tmp_path}/run-1", ("run-1",))
    tally.add("names on disk that control a terminal, at the completion of paths", len(names) - 1, "not offered")
