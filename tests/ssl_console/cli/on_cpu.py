"""Built-in protocols that compute on the CPU whichever device a run has:
`$SSL_CONSOLE_PROTOCOLS=tests.ssl_console.cli.on_cpu`.

A worker can then be given a GPU that exists only in the driver's replacement (`tests/ssl_console/system/nvml.c`), and
counts the energy of this GPU.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks.catalog import protocols

if TYPE_CHECKING:
    from tasks.evaluation.result import Evaluation

NAMES = ("transferability-sample", "knn", "linear")
PROTOCOLS = tuple(replace(protocols._BUILT_IN[name], evaluation=__name__) for name in NAMES)


def evaluate_task(*positional: Any, device: str, **named: Any) -> Evaluation:
    """Evaluate as ever, on the CPU."""
    from tasks.evaluation import features  # noqa: PLC0415 - not for the declaration

    del device
    return features.evaluate_task(*positional, device="cpu", **named)
