"""Inspect a checkpoint in a process of its own: `python -P -m backbones.inspection PATH [HINTS]` (`inspect_main`).

Starting is most of its work: torchvision and timm import torch's compiler, a third of the time, for a decorator and one
question. Nothing is compiled here, so that stand-ins answer both while they are imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Imports inside do without torch's compiler; whoever asks for it afterwards gets the real one."""
    if COMPILER in sys.modules:
        yield
        return
    compiler, utilities = ModuleType(COMPILER), ModuleType(f"{COMPILER}.utils")
    vars(compiler).update(disable=_disable, utils=utilities, __path__=[])
    vars(utilities).update(is_compile_supported=_is_compile_supported)
    sys.modules |= {COMPILER: compiler, utilities.__name__: utilities}
    try:
        yield
    finally:
        for module in (compiler, utilities):
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]


def _disable(function: Callable[..., Any] | None = None, *_: object, **__: object) -> Any:  # noqa: ANN401 - a decorator
    return function if function is not None else lambda decorated: decorated


def _is_compile_supported(_device: object) -> bool:
    return False


def main() -> int:
    """Import the inspection and run it."""
    with without_compiler():
        inspection = importlib.import_module("backbones.inspection.inspect_main")
    code: int = inspection.main(sys.argv[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
