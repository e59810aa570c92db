"""`completion`: scripts for bash, zsh and fish, and their candidates. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssl_console.cli.command_group import expand_options
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError

SCRIPTS = {
    "bash": """_ssl_console() {
    local IFS=$'\\n'
    COMPREPLY=($(ssl-console complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _ssl_console ssl-console
""",
    "zsh": """#compdef ssl-console
_ssl_console() {
    local -a found
    found=("${(@f)$(ssl-console complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -a found; else _files; fi
}
compdef _ssl_console ssl-console
""",
    "fish": """function __ssl_console
    set -l found (ssl-console complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
    if test -n "$found"; printf '%s\\n' $found; else; __fish_complete_path (commandline -ct); end
end
complete -c ssl-console -f -a '(__ssl_console)'
""",
}
"""Each calls `ssl-console complete`, and falls back to files where there are no candidates."""
PLACES = {
    "bash": '~/.bashrc: eval "$(ssl-console completion bash)"',
    "zsh": '~/.zshrc, after compinit: eval "$(ssl-console completion zsh)"',
    "fish": "~/.config/fish/config.fish: ssl-console completion fish | source",
}

Names = Callable[[Session], Iterable[str]]


def completion(shell: str) -> None:
    """Print the script of a shell. Raises ConsoleError for another one."""
    if shell not in SCRIPTS:
        raise ConsoleError(f"{shell}: unknown shell; available: {', '.join(SCRIPTS)}")
    stdout.say(f"# in {PLACES[shell]}")
    stdout.data(SCRIPTS[shell])


def complete(root: Any, session: Session, words: Sequence[str]) -> None:  # noqa: ANN401 - typer's classes are private
    """Print the candidates for the last word, one per line. `root` is the command tree."""
    stdout.lines(candidates(root, session, words))


def candidates(root: Any, session: Session, words: Sequence[str]) -> list[str]:  # noqa: ANN401 - as above
    """Candidates that begin with the last of `words`, the arguments after the program's name."""
    *before, begun = expand_options(words or ("",))
    place = _walk(root, _Place(root, session), before)
    if begun.startswith("-"):
        found: Iterable[str] = _options(place.command)
    elif place.option is not None:
        found = _names(place.option, place.session)
    elif hasattr(place.command, "commands"):
        found = (name for name, one in place.command.commands.items() if not one.hidden)
    else:
        found = _names(_argument(place.command, place.arguments), place.session)
    return sorted({word for word in found if word.startswith(begun)})


@dataclass(frozen=True)
class _Place:
    """Position in the command tree after the words before the last one."""

    command: Any
    session: Session
    option: Any = None
    """Option whose value comes next; None if there is none."""
    arguments: int = 0


def _walk(root: Any, place: _Place, words: Sequence[str]) -> _Place:  # noqa: ANN401 - as above
    for word in words:
        if place.option is not None:
            # --workspace and --cards determine where names are looked up
            session, name = place.session, place.option.name
            if place.command is root and name == "workspace":
                session = Session(Path(word), session.card_folders)
            elif place.command is root and name == "cards":
                session = Session(session.workspace_option, (*session.card_folders, Path(word)))
            place = replace(place, option=None, session=session)
        elif word.startswith("-"):
            place = replace(place, option=_option(place.command, word))
        elif hasattr(place.command, "commands"):
            place = replace(place, command=place.command.commands.get(word, place.command))
        else:
            place = replace(place, arguments=place.arguments + 1)
    return place


def _option(command: Any, word: str) -> Any:  # noqa: ANN401 - as above
    """The option of this name, if it takes a value that is not given yet."""
    if "=" in word:
        return None
    options = (one for one in command.params if word in one.opts)
    return next((one for one in options if not getattr(one, "is_flag", False)), None)


def _options(command: Any) -> Iterable[str]:  # noqa: ANN401 - as above
    yield "--help"
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield from (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--"))


def _argument(command: Any, place: int) -> Any:  # noqa: ANN401 - as above
    """The argument at a position; the last one where it takes several values."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    if place < len(arguments):
        return arguments[place]
    return arguments[-1] if arguments and arguments[-1].nargs == -1 else None


def _names(parameter: Any, session: Session) -> Iterable[str]:  # noqa: ANN401 - as above
    """Names for a parameter, by its metavar; none for files, numbers and the like."""
    if parameter is None:
        return
    called = f"{parameter.metavar or ''}"
    by_option = BY_OPTION.get(parameter.name) if parameter.param_type_name == "option" else None
    for kind in (by_option,) if by_option else BY_METAVAR.get(called, ()):
        yield from kind(session)


def _backbones(session: Session) -> Iterable[str]:
    return session.backbones.cards


def _own_backbones(session: Session) -> Iterable[str]:
    root = session.workspace.backbones
    return (path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.toml"))


def _tasks(session: Session) -> Iterable[str]:
    from tasks.catalog.protocols import suitable_protocols

    for dataset in session.tasks.datasets.values():
        yield from (f"{protocol}/{dataset.name}" for protocol in suitable_protocols(dataset))
    yield from (card.name for card in session.tasks.task_cards.values())


def _datasets(session: Session) -> Iterable[str]:
    return session.tasks.datasets


def _runs(session: Session) -> Iterable[str]:
    return (folder.run_id for folder in session.workspace.run_folders())


def _presets(_session: Session) -> Iterable[str]:
    from tasks.catalog.protocols import PROTOCOLS

    return {preset for protocol in PROTOCOLS.values() for preset in protocol.presets}


def _protocols(_session: Session) -> Iterable[str]:
    from tasks.catalog.protocols import PROTOCOLS

    return PROTOCOLS


BY_OPTION: Mapping[str, Names] = {
    "backbone": _backbones,
    "task": _tasks,
    "suite": lambda session: session.tasks.suites,
    "data": _datasets,
    "against": _backbones,
    "like": _backbones,
    "rung": _protocols,
    "target": _protocols,
    "goal": lambda _session: ("accuracy", "speed", "memory"),
    "preset": _presets,
    "devices": lambda _session: ("cpu", "cuda"),
    "precision": lambda _session: ("float32", "bfloat16", "float16"),
    "devices_per_run": lambda _session: ("auto",),
    "share": lambda _session: ("free-memory", "idle", "never"),
    "source": lambda _session: ("mine", "paper", "both"),
}
BY_METAVAR: Mapping[str, tuple[Names, ...]] = {
    "BACKBONE": (_backbones,),
    "A": (_backbones,),
    "B": (_backbones, lambda _session: ("published",)),
    "NAME": (_own_backbones,),
    "TASK": (_tasks, _datasets),
    "DATASET": (_datasets,),
    "IMAGE|FOLDER|DATASET": (_datasets,),
    "BACKBONE|TASK": (_backbones, _tasks),
    "RUN": (_runs,),
    "RESULT": (_runs,),
    "RESULT1": (_runs,),
    "RESULT2": (_runs,),
    "SHELL": (lambda _session: SCRIPTS,),
}
