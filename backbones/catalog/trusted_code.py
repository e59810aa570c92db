"""Trust in code that defines architectures, and its import such that the hashed bytes are the bytes that run. No torch.

Cards may come from others, and an architecture may be a function of any file or package, e.g. `subprocess:getoutput`.
Trust is therefore given by the user of this machine, in a list of digests, and never by a card. Plug-ins are trusted by
their installation.

Python uses `__pycache__` when its recorded date and size match, independent of the module's content, and a file can
change between hashing and importing. Code outside of the installed packages is therefore read once, compared by
digest with the user's list, and compiled from those bytes; so is every module
that it imports from outside, also later. Compiled modules outside of the installed packages are refused.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import stat
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import platformdirs

from backbones.io.errors import WeightsError
from backbones.io.files import expand_user, own_opener
from backbones.io.plugins import BACKBONES, DATASETS, PROTOCOLS

PACKAGE_FOLDERS = ("site-packages", "dist-packages")
OWN_PACKAGES = ("backbones", "tasks", "ssl_console")
LOADED: list[Path] = []
"""The user's files that this process has run, in order."""


def is_code(architecture: str) -> bool:
    """Whether an architecture is `module:function` or `file.py:function`, not one of timm's."""
    return ":" in architecture


def code_file(architecture: str) -> Path | None:
    """The file of `/path/to/file.py:function`; None for a function of an installed package."""
    place = architecture.rpartition(":")[0]
    return expand_user(place) if place.endswith(".py") else None


ENVIRONMENT_VARIABLE = "SSL_CONSOLE_TRUSTED_CODE"
SERVED_VARIABLE = "SSL_CONSOLE_SERVED"
"""Set in consoles that are served to a browser."""


def code_digest(architecture: str) -> str:
    """SHA-256 of the file that defines the function; it is not run. Raises WeightsError when there is none."""
    path = code_place(architecture)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def code_place(architecture: str) -> Path:
    """File that defines the function. Raises WeightsError when there is none."""
    return code_file(architecture) or _module_file(architecture)


def trust(architecture: str) -> None:
    """Add the function's file in its present state to the user's list. Raises WeightsError, OSError."""
    if os.environ.get(SERVED_VARIABLE):
        raise WeightsError("code is trusted in a terminal, not in a browser: `ssl-console add backbone --trust-code`")
    _put_on_list(code_digest(architecture), architecture)


def _put_on_list(digest: str, name: str) -> None:
    path = trusted_list()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8", opener=own_opener) as file:
        file.write(f"{digest}  {name}\n")


def check_trust(architecture: str, digest_in_card: str | None) -> None:
    """Raise WeightsError unless the function may be run."""
    if comes_with_plug_in(architecture):
        return
    trusted = digest_in_card in {line.partition(" ")[0] for line in trusted_lines()}
    if trusted and code_digest(architecture) == digest_in_card:
        return
    raise _refusal(code_file(architecture) or architecture, changed=trusted)


def _refusal(place: Path | str, *, changed: bool) -> WeightsError:
    state = "has changed since it was trusted" if changed else "is not on your list of trusted code"
    return WeightsError(
        f"{place} {state}: review it, then repeat `ssl-console add backbone` with --trust-code (and --replace)"
    )


@dataclass(frozen=True)
class CodeTrust:
    """Code that may run: files whose content is on the user's list."""

    add: bool = False
    """Add files that are not on the list instead of refusing them: the user trusts what this code imports."""
    expected: Mapping[Path, str] = field(default_factory=dict)
    """Required digests of certain files, in addition to the list."""

    def source(self, path: Path) -> bytes:
        """Content of a file that may run. Raises WeightsError for a file that may not, or cannot be read."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
        digest = hashlib.sha256(content).hexdigest()
        if self.expected.get(path.resolve(), digest) != digest:
            raise _refusal(path, changed=True)
        listed = trusted_lines()
        if digest not in {line.partition(" ")[0] for line in listed}:
            if not self.add:
                known = any(line.partition(" ")[2].strip().startswith(str(path)) for line in listed)
                raise _refusal(path, changed=known)
            _put_on_list(digest, str(path))
        return content


OTHERS = ((stat.S_IWOTH, ("everyone", "o")), (stat.S_IWGRP, ("its group", "g")))
"""Permission bits, the users with write permission, and their letter for chmod."""


def writable_by_others(path: Path) -> list[str]:
    """Sentences about the file and its parent folders that other users can write to."""
    found = []
    for place in (path, *path.absolute().parents):
        state = place.stat()
        writers = () if state.st_mode & stat.S_ISVTX else OTHERS
        who, letter = next((other for bit, other in writers if state.st_mode & bit), ("", ""))
        if who:
            found.append(f"{place} can be written by {who}: chmod {letter}-w {place}")
        elif state.st_uid not in (os.geteuid(), 0):
            found.append(f"{place} belongs to another user, who can change it")
    return found


def comes_with_plug_in(architecture: str) -> bool:
    """Whether the function belongs to a package that was installed as a plug-in."""
    if code_file(architecture) is not None:
        return False
    packages = {
        entry.module.partition(".")[0]
        for group in (BACKBONES, DATASETS, PROTOCOLS)
        for entry in entry_points(group=group)
    }
    return architecture.partition(":")[0].partition(".")[0] in packages


def trusted_list() -> Path:
    """The user's list: one digest and its origin per line."""
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    try:
        return Path(given) if given else platformdirs.user_config_path("ssl-console") / "trusted-code"
    except RuntimeError as error:  # a user without a home folder
        raise WeightsError(f"no folder for the list of trusted code: set HOME or {ENVIRONMENT_VARIABLE}") from error


def trusted_lines() -> list[str]:
    """Lines of the user's list; empty if there is none."""
    try:
        return trusted_list().read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _module_file(architecture: str) -> Path:
    """Source file of a module, found without importing it or its packages."""
    first, *rest = architecture.rpartition(":")[0].split(".")
    try:
        found = find_spec(first)
    except ValueError:
        found = None
    if found is None or found.origin is None or not found.has_location:
        raise WeightsError(f"{architecture}: no file for module {first}")
    if not rest:
        return Path(found.origin)
    place = Path(found.origin).parent.joinpath(*rest)
    return place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")


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
    """Finder that delegates to Python's finders, and loads modules outside of the installed packages by digest.

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
    except BaseException:  # otherwise a later import would find the unfinished module
        sys.modules.pop(name, None)
        raise
    return module
