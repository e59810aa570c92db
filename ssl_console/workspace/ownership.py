"""Other users of this machine, and whether they could change a workspace: owners, permissions, symbolic links in its
path.

A file of another user is never trusted: settings contain shell lines that jobs run, and a link named like a log would
redirect writes to another file.

Other users are accounts that could open a local port, and owners of open connections.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from backbones.io.files import share_with_group
from ssl_console.system.errors import OperationFailed, user_name
from ssl_console.workspace.paths import Workspace

OWNERS_VARIABLE = "SSL_CONSOLE_TRUSTED_OWNERS"
"""Names or numbers of users, comma-separated, whose folders are trusted like the user's own, e.g. for mounts in
containers.
"""
SHARED_KEY, GROUP = "shared", "group"
ROOT = 0
UID_MAP, OVERFLOW_UID = Path("/proc/self/uid_map"), Path("/proc/sys/kernel/overflowuid")
EVERY_UID = 4_294_967_295
FIRST_PERSON, NOBODY = 1000, 65_534
"""Range of user ids that Linux distributions assign to regular accounts (and the id of the account `nobody`)."""
NO_LOGIN = ("nologin", "false", "sync")
CONNECTIONS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
OWNER_COLUMN = 7


@dataclass(frozen=True)
class OwnershipProblem:
    """Something that other users could change, and the command that fixes it."""

    words: str
    command: str

    def __str__(self) -> str:
        return f"{self.words}: {self.command}"


def check_ownership(workspace: Workspace) -> None:
    """Raise OperationFailed with the first problem and the number of others."""
    problems = list(ownership_problems(workspace))
    if problems:
        more = f" ({len(problems) - 1} more: `ssl-console doctor` lists them)" if len(problems) > 1 else ""
        raise OperationFailed(f"{problems[0]}{more}")


def ownership_problems(workspace: Workspace) -> Iterator[OwnershipProblem]:
    """Places in a workspace, and in the folders above it, that other users could change."""
    yield from problems_above(workspace.root, "--workspace")
    if not workspace.root.exists():
        return
    shared = is_shared(workspace)
    folders = (workspace.runs, workspace.supervisor, workspace.backbones, workspace.tasks, workspace.weights)
    for folder in (workspace.root, *folders, workspace.cache):
        if folder.exists():
            yield from _inside(folder, shared=shared)
    written = (workspace.results, workspace.supervisor_log, workspace.supervisor_state)
    locks = (workspace.supervisor / "lock", workspace.supervisor / "door", workspace.results.with_suffix(".lock"))
    for path in (workspace.config, *written, *locks):
        if path.exists() and not (path.is_file() or path.is_dir()):
            yield OwnershipProblem(f"{path} is a pipe or a device instead of a file", f"rm {quote(str(path))}")
    cards = (path for folder in (workspace.backbones, workspace.tasks) for path in folder.rglob("*.toml"))
    for path in (workspace.config, *cards):
        if path.exists():
            yield from _owned_file(path)
    for path in (*written, *locks):
        if path.is_symlink():
            yield OwnershipProblem(
                f"{path} is a symbolic link to which the console would write", f"rm {quote(str(path))}"
            )


def is_shared(workspace: Workspace) -> bool:
    """Whether the workspace's owner has set `shared = "group"` in settings that only the owner can write."""
    if not workspace.config.is_file():
        return False
    import tomllib  # noqa: PLC0415 - most workspaces have no settings, and the first picture waits for this

    try:
        state, root = workspace.config.stat(), workspace.root.stat()
        content = tomllib.loads(workspace.config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    private = state.st_uid == root.st_uid and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return private and content.get(SHARED_KEY) == GROUP


def check_owner(workspace: Workspace) -> None:
    """Raise OperationFailed for a member of a shared workspace: members have read access only."""
    try:
        owner = workspace.root.stat().st_uid
    except FileNotFoundError:
        return
    if owner != os.geteuid() and os.geteuid() != ROOT and not _in_list(owner):
        raise OperationFailed(
            f"{workspace.root} belongs to {user_name(owner)}: only the owner can start, cancel and remove its runs; "
            "read it with `runs`, `rank` or `--readonly`, measure in your own workspace (--workspace)"
        )


def share_if_wanted(workspace: Workspace) -> None:
    """Give the group read access to what this process writes, where the owner shares the workspace."""
    if is_shared(workspace):
        share_with_group()


def make_private(workspace: Workspace) -> None:
    """Make an existing root private, where it is empty or already a workspace and not shared."""
    root = workspace.root
    state = root.stat()
    ours = state.st_uid == os.geteuid() and stat.S_IMODE(state.st_mode) & 0o077
    if ours and (workspace.supervisor.is_dir() or not any(root.iterdir())) and not is_shared(workspace):
        root.chmod(0o700)


def problems_above(root: Path, option: str) -> Iterator[OwnershipProblem]:
    """Problems of the parent folders of the path that an option names, with and without the links in it."""
    folders = dict.fromkeys((*root.parents, *root.resolve().parents))
    for folder in folders:
        try:
            state = folder.stat()
        except OSError:
            continue
        if not _trusted(state.st_uid):
            yield OwnershipProblem(
                f"{folder} belongs to {user_name(state.st_uid)}, who can replace {root}",
                f"choose another {option}, or trust that user: export {OWNERS_VARIABLE}={user_name(state.st_uid)}",
            )
        elif not state.st_mode & stat.S_ISVTX and (who := _writers(state)):
            yield _writable(folder, who, f", and {root} replaced")


def _inside(folder: Path, *, shared: bool) -> Iterator[OwnershipProblem]:
    state = folder.stat()
    if state.st_uid != os.geteuid() and not _in_list(state.st_uid):
        member = shared and state.st_gid in {os.getegid(), *os.getgroups()}
        if not member:
            words = f"{folder}: it belongs to {user_name(state.st_uid)}, whose workspace this is"
            yield OwnershipProblem(words, "choose another --workspace")
    elif (who := _writers(state)) and not (shared and who.letter == "g"):
        yield _writable(folder, who, "")


def _owned_file(path: Path) -> Iterator[OwnershipProblem]:
    state = path.stat()
    owner = path.parent.stat().st_uid if path.parent.name else os.geteuid()
    if state.st_uid not in {os.geteuid(), owner} and not _trusted(state.st_uid):
        words = f"{path} belongs to {user_name(state.st_uid)}"
        yield OwnershipProblem(words, f"check its content, then: cp {quote(str(path))} x && mv x {quote(str(path))}")
    elif who := _writers(state):
        yield _writable(path, who, "")


@dataclass(frozen=True)
class _Writers:
    """Users besides the owner with write access to something."""

    words: str
    letter: str
    """Letter for chmod."""


def _writers(state: os.stat_result) -> _Writers | None:
    if state.st_mode & stat.S_IWOTH:
        return _Writers("every user of this machine", "o")
    if not state.st_mode & stat.S_IWGRP:
        return None
    try:
        group = grp.getgrgid(state.st_gid)
        members = {*group.gr_mem, *(entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == state.st_gid)}
        name, others = group.gr_name, members - {user_name(os.geteuid()), user_name(ROOT)}
    except KeyError:  # an unknown group may have any members
        name, others = str(state.st_gid), set() if state.st_gid == os.getegid() else {"unknown members"}
    if not others:
        return None
    names = ", ".join(sorted(others)[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return _Writers(f"its group {name} ({names})", "g")


def _writable(path: Path, who: _Writers, effect: str) -> OwnershipProblem:
    letter = "go" if who.letter == "o" else who.letter
    return OwnershipProblem(f"{path} can be written by {who.words}{effect}", f"chmod {letter}-w {quote(str(path))}")


def _trusted(uid: int) -> bool:
    """Whether a parent folder of this user is trusted: the user's own, root's, and those of users named in the
    environment. In a user namespace that does not map the machine's root, root appears as the overflow user.
    """
    if uid in (os.geteuid(), ROOT) or _in_list(uid):
        return True
    with suppress(OSError, ValueError):
        mapped = any(int(line.split()[2]) == EVERY_UID for line in UID_MAP.read_text().splitlines())
        return not mapped and uid == int(OVERFLOW_UID.read_text())
    return False


def _in_list(uid: int) -> bool:
    return bool({str(uid), user_name(uid)} & set(os.environ.get(OWNERS_VARIABLE, "").split(",")))


def other_users() -> list[str]:
    """Names of the users, other than this process's own and root, that can log in here or have a running process."""
    people = {
        entry.pw_uid
        for entry in pwd.getpwall()
        if FIRST_PERSON <= entry.pw_uid < NOBODY and Path(entry.pw_shell).name not in NO_LOGIN
    }
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            owner = process.stat().st_uid
            people |= {owner} if FIRST_PERSON <= owner < NOBODY else set()
    return sorted(user_name(uid) for uid in people - {os.geteuid()})


def connection_owner(local_port: int, remote_port: int) -> int | None:
    """User id of the local process that has connected `local_port` to `remote_port`; None if unknown."""
    for table in CONNECTIONS:
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if [int(end.rpartition(":")[2], 16) for end in fields[1:3]] == [local_port, remote_port]:
                    return int(fields[OWNER_COLUMN])
    return None
