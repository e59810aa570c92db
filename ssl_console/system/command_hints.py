"""Commands that messages suggest, quoted for pasting into a shell."""

from __future__ import annotations

import shlex


def fetch_weights_command(backbone: str) -> str:
    """Command that fetches the weights of a backbone."""
    return f"ssl-console weights fetch {shlex.quote(backbone)}"


def fetch_data(dataset: str) -> str:
    """Command that fetches a dataset."""
    return f"ssl-console data fetch {shlex.quote(dataset)}"


def examine(backbone: str) -> str:
    """Command that examines a backbone."""
    return f"ssl-console doctor {shlex.quote(backbone)}"


RUNS = "ssl-console runs"
RANK = "ssl-console rank"
RETRY_FAILED = "ssl-console retry --failed"
CANCEL_ALL = "ssl-console cancel --all"
