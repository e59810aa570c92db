"""`python -m ssl_console` is the `ssl-console` command, also in a folder that holds a `tasks.py` of the user's."""

import os
import sys


def _leave_out_current_folder() -> None:
    """Python puts the current folder first; there, only a checkout of this project is meant."""
    here = os.getcwd()  # noqa: PTH109 - the folder may hold a pathlib.py, too
    project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if not sys.flags.safe_path and sys.path and sys.path[0] in {"", here} and here != project:
        del sys.path[0]


_leave_out_current_folder()

from ssl_console.cli import main  # noqa: E402 - nothing of the user's folder is imported before

if __name__ == "__main__":
    main()
