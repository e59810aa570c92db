"""A disk that can be filled or made read-only: a small file system in memory, mounted for one test."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ssl_console.workspace_fixture import eventually

PAGE = 4096
MOUNTED_UNTIL_END_OF_INPUT = """
mount -t tmpfs -o "$1" ssl-console-faults "$2" || exit
echo mounted
read -r line
umount --lazy "$2"
"""


@dataclass(frozen=True)
class Disk:
    """One mounted file system."""

    root: Path

    @property
    def filler(self) -> Path:
        """File that occupies the space."""
        return self.root / "filler"

    def leave_pages(self, count: int) -> None:
        """Fill it except for a number of pages. Every non-empty file takes at least one."""
        self.make_room()
        with self.filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE))
            except OSError:
                file.truncate(max(0, file.tell() - count * PAGE))

    def make_room(self) -> None:
        """Remove the filler."""
        self.filler.unlink(missing_ok=True)

    def remount(self, *, readonly: bool) -> None:
        """Refuse all writing, or allow it again; waits until no file is open for writing."""
        command = ["mount", "-o", f"remount,{'ro' if readonly else 'rw'}", str(self.root)]
        eventually(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, "remounted")


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Refuse in the context what this process writes beyond a number of bytes of any file (RLIMIT_FSIZE)."""
    _, most = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def a_disk(root: Path, megabytes: int) -> Iterator[Disk | None]:
    """A new file system of that size at `root`; None if it cannot be mounted.

    A process in a session of its own mounts it and removes it, also when this process is interrupted or killed.
    """
    root.mkdir(parents=True)
    command = ["sh", "-c", MOUNTED_UNTIL_END_OF_INPUT, "sh", f"size={megabytes}m,mode=0700", str(root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as mount:
        assert mount.stdout is not None
        mounted = mount.stdout.readline() == b"mounted\n"
        try:
            yield Disk(root) if mounted else None
        finally:
            mount.communicate()
    assert mount.returncode == 0 or not mounted
