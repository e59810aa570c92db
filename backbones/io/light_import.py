"""Import timm and torchvision, and use torch, without its compiler, which nothing here uses.

A few lines load the compiler, 1.8 s of CPU time and 150 MB in every worker: torchvision's `ops/roi_align.py`
imports a function of `torch._dynamo.utils` that it calls in deterministic mode only; its `tv_tensors` and timm's
`models/naflexvit.py` keep the compiler out of functions with `torch.compiler.disable`. While these modules are
imported they get replacements: the function is looked up when it is called, and the decorator returns its function
unchanged. In torch itself, optimizers and the shapes of the meta device load the compiler at their first call, only to
exclude functions from it (`_disable_dynamo`) or to break its graph: here they do so where it is loaded already.
Only this project's own programs import them in this way, and versions without such a line are unaffected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any

PROGRAMS = frozenset({"ssl_console", "backbones", "tasks"})
COMPILER, UTILITIES = "torch._dynamo", "torch._dynamo.utils"
EXCLUSION, OPTIMIZER = "torch._compile", "torch.optim.optimizer"
NAMES = frozenset({"timm", "torchvision", "torchvision.tv_tensors", EXCLUSION, OPTIMIZER})
STEP = frozenset({"torch", COMPILER, "_dynamo", "graph_break", "is_grad_enabled", "set_grad_enabled", "defaults"})
STEP |= {"cast", "Optimizer"}
"""Names in the code around an optimizer's step that `_with_gradients` replaces; with others, torch's own is kept."""


class LightFinder(MetaPathFinder):
    """Finder of these modules that imports them with `without_compiler`."""

    def __init__(self, *, any_program: bool = False) -> None:
        self._any_program = any_program

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of one of the modules; None for every other, and in other programs."""
        if fullname not in NAMES or not (self._any_program or _is_own_program()):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LOADERS.get(fullname, LightLoader)(spec.loader)
        return spec


class WrappedLoader(Loader):
    """Loader that wraps a module's own loader."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)


class LightLoader(WrappedLoader):
    """Loader that leaves out the compiler."""

    def exec_module(self, module: ModuleType) -> None:
        with without_compiler():
            super().exec_module(module)


class ExclusionLoader(WrappedLoader):
    """Loader of `torch._compile`, whose `_disable_dynamo` then loads no compiler."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        exclude = getattr(module, "_disable_dynamo", None)
        if exclude is not None:
            vars(module)["_disable_dynamo"] = partial(_excluded, exclude)


class OptimizerLoader(WrappedLoader):
    """Loader of `torch.optim.optimizer`, where a step then loads no compiler."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        wrap = getattr(module, "_use_grad_for_differentiable", None)
        codes = [one for one in getattr(getattr(wrap, "__code__", None), "co_consts", ()) if isinstance(one, CodeType)]
        if wrap is not None and len(codes) == 1 and STEP.issuperset(codes[0].co_names):
            vars(module)["_use_grad_for_differentiable"] = partial(_with_gradients, wrap)


LOADERS = {EXCLUSION: ExclusionLoader, OPTIMIZER: OptimizerLoader}


def install(*, any_program: bool = False) -> None:
    """Import these modules in this way from now on, in a program of this project or in any."""
    if any_program or not any(isinstance(finder, LightFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LightFinder(any_program=any_program))


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


def _excluded(
    exclude: Callable[..., Any], fn: Callable[..., Any] | None = None, recursive: bool = True
) -> Callable[..., Any]:
    """Replacement of torch's `_disable_dynamo`: until the compiler is loaded, the function itself is called."""
    if fn is None:
        return partial(_excluded, exclude, recursive=recursive)
    excluded = exclude(fn, recursive)

    @wraps(fn)
    def inner(*args: object, **kwargs: object) -> Any:  # noqa: ANN401 - what the function returns
        return (excluded if COMPILER in sys.modules else fn)(*args, **kwargs)

    return inner


def _with_gradients(wrap: Callable[..., Any], step: Callable[..., Any]) -> Callable[..., Any]:
    """Replacement of torch's `_use_grad_for_differentiable`: gradients in a step only if it is to be recorded."""
    import torch  # noqa: PLC0415 - the console imports this module, and no torch

    compiled = wrap(step)

    @wraps(step)
    def inner(*args: Any, **kwargs: object) -> Any:  # noqa: ANN401 - as torch has it
        if COMPILER in sys.modules:
            return compiled(*args, **kwargs)
        with torch.set_grad_enabled(args[0].defaults["differentiable"]):
            return step(*args, **kwargs)

    return inner


def _left_as_it_is(fn: Callable[..., Any] | None = None, recursive: bool = True, **_options: object) -> Any:  # noqa: ANN401, ARG001 - as in torch
    """Replacement of `torch.compiler.disable` that returns the function unchanged."""
    return (lambda function: function) if fn is None else fn
