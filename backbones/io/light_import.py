"""Import timm and torchvision without torch's compiler, which nothing here uses.

Few lines load the compiler, 1.8 s of CPU time and 150 MB in every worker: torchvision's `ops/roi_align.py` asks for a
function of `torch._dynamo.utils` that it calls in deterministic mode only; its `tv_tensors` and timm's
`models/naflexvit.py` keep the compiler out of functions with `torch.compiler.disable`. While these modules are imported
they get what they need at once: the function looks itself up when it is called, and the decorator leaves its function
as it is. Only this project's own programs import them so, and where such a line is gone nothing changes.
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
    """Finds the modules, and imports them with `without_compiler`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of the modules; None for every other, and in programs of others."""
        if fullname not in NAMES or not _is_own_program():
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LightLoader(spec.loader)
        return spec


class LightLoader(Loader):
    """Loads a module as its own loader does, while the compiler is left out."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        with without_compiler():
            self._loader.exec_module(module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)


def install() -> None:
    """Import them like this from now on."""
    if not any(isinstance(finder, LightFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LightFinder())


def _is_own_program() -> bool:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name.partition(".")[0] in PROGRAMS


@contextmanager
def without_compiler() -> Iterator[None]:
    """While this lasts, what asks for the compiler while it is imported does not load it."""
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
    """Anything else that is asked for, by another version of torchvision or timm, is the compiler's own."""
    if name.startswith("__"):
        raise AttributeError(name)
    sys.modules.pop(UTILITIES, None)
    return getattr(import_module(UTILITIES), name)


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported  # noqa: PLC0415 - this is what takes long

    return bool(is_compile_supported(device_type))


def _left_as_it_is(fn: Callable[..., Any] | None = None, recursive: bool = True, **_options: object) -> Any:  # noqa: ANN401, ARG001 - as in torch
    """Stands in for `torch.compiler.disable`: there is no compiler that the function must be kept from."""
    return (lambda function: function) if fn is None else fn
