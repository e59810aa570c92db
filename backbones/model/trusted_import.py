"""Import of the user's code such that the hashed bytes are the bytes that run.

Python uses `__pycache__` when its recorded date and size match, independent of the module's content, and a file can
change between hashing and importing. Code outside of the installed packages is therefore read once, compared by
digest with the user's list (`backbones.catalog.trusted_code`), and compiled from those bytes; so is every module
that it imports from outside, also later. Compiled modules outside of the installed packages are refused.
"""

from __future__ import annotations

import linecache
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from backbones.catalog.trusted_code import CodeTrust
from backbones.io.errors import WeightsError

PACKAGE_FOLDERS = ("site-packages", "dist-packages")
OWN_PACKAGES = ("backbones", "tasks", "ssl_console")
LOADED: list[Path] = []
"""The user's files that this process has run, in order."""


@lru_cache(maxsize=8)
def installed_folders(search_path: tuple[str, ...]) -> tuple[Path, ...]:
    """Folders of the standard library, of packages installed on a search path, and of this project."""
    own = [str(Path(__file__).parents[2] / name) for name in OWN_PACKAGES]
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    given = [entry for entry in search_path if Path(entry).name in PACKAGE_FOLDERS]
    return tuple(Path(path).resolve() for path in (*own, *paths, *given))


def is_installed(path: Path) -> bool:
    """Whether a file belongs to the Python environment, which is trusted."""
    return any(path.resolve().is_relative_to(folder) for folder in installed_folders(tuple(sys.path)))


class TrustedLoader(Loader):
    """Loader that runs the source that it has hashed."""

    def __init__(self, path: Path, trust: CodeTrust) -> None:
        self.path, self.trust = path, trust

    def create_module(self, _: ModuleSpec) -> ModuleType | None:
        """Use a plain module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module. Raises WeightsError for a file that is not trusted in its present state."""
        source = self.trust.source(self.path)
        LOADED.append(self.path)
        lines = source.decode(errors="replace").splitlines(keepends=True)
        linecache.cache[str(self.path)] = (
            len(source),
            None,
            lines,
            str(self.path),
        )  # for tracebacks and the module inspect
        exec(compile(source, self.path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - trusted by digest


class TrustedFinder(MetaPathFinder):
    """Finder that delegates to Python's finders, and loads modules that are not installed by digest.

    It applies to imports of the thread that loads the user's code, and to every later import from the folders of such
    code.
    """

    def __init__(self) -> None:
        self.trust: CodeTrust = CodeTrust()
        self.folders: set[Path] = set()
        self._loading = threading.local()

    @contextmanager
    def loading(self, trust: CodeTrust) -> Iterator[None]:
        """Load the user's code in this thread inside the block."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        before, self.trust = getattr(self._loading, "now", False), trust
        self._loading.now = True
        try:
            yield
        finally:
            self._loading.now = before

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of the module. Raises ImportError for one that is neither installed nor source code."""
        finders = (finder for finder in sys.meta_path if finder is not self)
        found = next((spec for finder in finders if (spec := finder.find_spec(fullname, path, target))), None)
        if found is None or found.origin is None or not found.has_location:
            return found
        origin = Path(found.origin)
        loading = getattr(self._loading, "now", False)
        if not (loading or self._is_below(origin)) or is_installed(origin):
            return found
        if not isinstance(found.loader, SourceFileLoader):
            raise ImportError(f"{origin} is compiled code outside of the installed packages: install it with pip")
        self.folders.add(origin.resolve().parent)
        found.loader, found.cached = TrustedLoader(origin, self.trust), None
        return found

    def _is_below(self, origin: Path) -> bool:
        return any(origin.resolve().is_relative_to(folder) for folder in self.folders)


FINDER = TrustedFinder()


def load_file(name: str, path: Path, trust: CodeTrust) -> ModuleType:
    """Load a Python file as the module `name`. Raises WeightsError for code that is not trusted."""
    specification = spec_from_file_location(name, path, loader=TrustedLoader(path, trust))
    if specification is None:
        raise WeightsError(f"{path} is not a Python file")
    FINDER.folders.add(path.resolve().parent)
    module = module_from_spec(specification)
    sys.modules[name] = module
    try:
        TrustedLoader(path, trust).exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
