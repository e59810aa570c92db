"""Import timm and torchvision without torch's compiler, which nothing here uses.

A few lines load the compiler, 1.8 s of CPU time and 150 MB in every worker: torchvision's `ops/roi_align.py`
imports a function of `torch._dynamo.utils` that it calls in deterministic mode only; its `tv_tensors` and timm's
`models/naflexvit.py` keep the compiler out of functions with `torch.compiler.disable`. While these modules are
imported they get replacements: the function is looked up when it is called, and the decorator returns its function
unchanged. Only this project's own programs import them in this way, and versions without such a line are unaffected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PROGRAMS = frozenset({"ssl_console", "backbones", "tasks"})
NAMES = frozenset({"timm", "torchvision", "torchvision.tv_tensors"})
UTILITIES = "torch._dynamo.utils"


class LightFinder(MetaPathFinder):
    """Finder of these modules that imports them with `without_compiler`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of one of the modules; None for every other, and in other programs."""
        if fullname not in NAMES or not _is_own_program():
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LightLoader(spec.loader)
        return spec


class LightLoader(Loader):
    """Loader that wraps a module's own loader and leaves out the compiler."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with without_compiler():
            self._loader.exec_module(module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)


def install() -> None:
    """Import these modules in this way from now on."""
    if not any(isinstance(finder, LightFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LightFinder())


def _is_own_program() -> bool:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name.partition(".")[0] in PROGRAMS


@contextmanager
def without_compiler() -> Iterator[None]:
    """Prevent imports inside the block from loading the compiler."""
    import torch.compiler  # noqa: PLC0415 - the console imports this module, and no torch

    if UTILITIES in sys.modules:
        yield
        return
    utilities = ModuleType(UTILITIES)
    vars(utilities).update(is_compile_supported=_is_compile_supported, __getattr__=_of_the_compiler)
    disable = torch.compiler.disable
    sys.modules[UTILITIES], torch.compiler.disable = utilities, _left_as_it_is
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if sys.modules.get(UTILITIES) is utilities:
            del sys.modules[UTILITIES]


def _of_the_compiler(name: str) -> object:
    """Fallback for other attributes, used by other versions of torchvision or timm: those of the compiler."""
    if name.startswith("__"):
        raise AttributeError(name)
    sys.modules.pop(UTILITIES, None)
    return getattr(import_module(UTILITIES), name)


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported  # noqa: PLC0415 - this is what takes long

    return bool(is_compile_supported(device_type))


def _left_as_it_is(fn: Callable[..., Any] | None = None, recursive: bool = True, **_options: object) -> Any:  # noqa: ANN401, ARG001 - as in torch
    """Replacement of `torch.compiler.disable` that returns the function unchanged."""
    return (lambda function: function) if fn is None else fn
