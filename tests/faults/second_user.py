"""Another user of the local machine, created for a test and removed after it, who attempts what a colleague could."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stage import PATIENCE_S, ROOT

PREPARED = """
import json, os, sys
user, group, given = json.loads(sys.argv[1])
{imports}
os.setgroups([group]), os.setresgid(group, group, group), os.setresuid(user, user, user)
{script}
"""
needs_second_user = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("useradd") is None, reason="only root can make another user, with useradd"
)


@dataclass(frozen=True)
class SecondUser:
    """An account of this machine."""

    name: str
    uid: int
    gid: int

    def __call__(self, script: str, given: object = None, imports: str = "") -> Any:
        """Run Python as this user, with the value `given`; return its JSON output. Modules are imported as root
        first, as the user may not be allowed to read them."""
        request = json.dumps([self.uid, self.gid, given])
        done = subprocess.run(
            [sys.executable, "-P", "-c", PREPARED.format(imports=imports, script=script), request],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def second_user() -> Iterator[SecondUser]:
    """An account that exists within the context."""
    name = f"sslc-{secrets.token_hex(4)}"
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True, capture_output=True)
    try:
        entry = pwd.getpwnam(name)
        yield SecondUser(name, entry.pw_uid, entry.pw_gid)
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)


def open_parents(path: Path) -> None:
    """Make the parent folders, which pytest makes private, accessible to others."""
    for folder in path.parents:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
