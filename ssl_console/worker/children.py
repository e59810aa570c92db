"""The worker's own child processes: data loaders and whatever libraries start. None outlives its worker."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def bind_children() -> None:
    """Have the kernel kill forked children when this process dies, however it dies, and give us those whose parents
    have left them, so that `end_children` finds them too (Linux; elsewhere no effect).

    The kernel means the forking *thread's* death, so children of a passing thread are left to `end_children`.
    """
    if not sys.platform.startswith("linux"):
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    from_main_thread = False

    def note_the_thread() -> None:
        nonlocal from_main_thread
        from_main_thread = threading.current_thread() is threading.main_thread()

    def bind() -> None:
        if from_main_thread:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    os.register_at_fork(before=note_the_thread, after_in_child=bind)


def end_children() -> int:
    """Kill every descendant and wait a little for their end; how many there were."""
    with suppress(psutil.Error):
        children = psutil.Process().children(recursive=True)
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children, timeout=2)
        return len(children)
    return 0
