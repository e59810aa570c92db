"""Other users of this machine: accounts that could open a local port, and owners of open connections."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FIRST_PERSON, NOBODY = 1000, 65_534
"""Range of user ids that Linux distributions assign to regular accounts (and the id of the account `nobody`)."""
NO_LOGIN = ("nologin", "false", "sync")
CONNECTIONS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
OWNER_COLUMN = 7


def user_name(uid: int) -> str:
    """Login name of a user id; the number where no such account exists."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"


def other_users() -> list[str]:
    """Names of the users, other than this process's own and root, that can log in here or have a running process."""
    people = {
        entry.pw_uid
        for entry in pwd.getpwall()
        if FIRST_PERSON <= entry.pw_uid < NOBODY and Path(entry.pw_shell).name not in NO_LOGIN
    }
    active = {uid for uid in _process_owners() if FIRST_PERSON <= uid < NOBODY}
    return sorted(user_name(uid) for uid in (people | active) - {os.geteuid()})


def _process_owners() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield folder.stat().st_uid


def connection_owner(local_port: int, remote_port: int) -> int | None:
    """User id of the local process that has connected `local_port` to `remote_port`; None if unknown."""
    for table in CONNECTIONS:
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if [int(end.rpartition(":")[2], 16) for end in fields[1:3]] == [local_port, remote_port]:
                    return int(fields[OWNER_COLUMN])
    return None
