"""Default workspace folder. Needs neither torch nor numpy."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

ENVIRONMENT_VARIABLE = "SSL_CONSOLE_WORKSPACE"


def workspace_folder(given: Path | str | None = None) -> Path:
    """`given`, else the environment variable, else the platform's user data folder.

    Raises RuntimeError for a user without a home folder.
    """
    chosen = given or os.environ.get(ENVIRONMENT_VARIABLE) or platformdirs.user_data_path("ssl-console")
    return Path(chosen).expanduser().absolute()
