"""Whose code may make an architecture. Needs no torch.

A card may be anybody's, and its architecture may be a function of any file or package: `subprocess:getoutput`, say. So
trust is given by the user of this machine, on a list of digests, and never by a card. Plug-ins were installed as such.
"""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from backbones.io.errors import WeightsError
from backbones.io.plugins import BACKBONES, DATASETS, PROTOCOLS


def is_code(architecture: str) -> bool:
    """Whether an architecture's name is `module:function` or `file.py:function`, not one of timm's."""
    return ":" in architecture


def code_file(architecture: str) -> Path | None:
    """The file of `/path/to/file.py:function`; None for a function of an installed package."""
    place = architecture.rpartition(":")[0]
    return Path(place).expanduser() if place.endswith(".py") else None


ENVIRONMENT_VARIABLE = "SSL_CONSOLE_TRUSTED_CODE"
SERVED_VARIABLE = "SSL_CONSOLE_SERVED"
"""Set in consoles that are shown in a browser."""


def code_digest(architecture: str) -> str:
    """SHA-256 of the file that the function stands in, which is not run. Raises WeightsError when there is none."""
    path = code_file(architecture) or _module_file(architecture)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def trust(architecture: str) -> None:
    """Put the function's file, as it is now, on the user's list. Raises WeightsError, OSError."""
    if os.environ.get(SERVED_VARIABLE):
        raise WeightsError("code is trusted in a terminal, not in a browser: `ssl-console add backbone --trust-code`")
    line = f"{code_digest(architecture)}  {architecture}\n"
    path = trusted_list()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8", opener=_private) as file:
        file.write(line)


def check_trust(architecture: str, digest_in_card: str | None) -> None:
    """Raises WeightsError unless the function may be run: see above."""
    if comes_with_plug_in(architecture):
        return
    trusted = digest_in_card in _trusted()
    if trusted and code_digest(architecture) == digest_in_card:
        return
    state = "has changed since it was trusted" if trusted else "was never trusted by you"
    raise WeightsError(
        f"{code_file(architecture) or architecture} {state}: look at it, then repeat `ssl-console add backbone` with "
        "--trust-code"
    )


def comes_with_plug_in(architecture: str) -> bool:
    """Whether the function is of a package that was installed as a plug-in."""
    if code_file(architecture) is not None:
        return False
    packages = {
        entry.module.partition(".")[0]
        for group in (BACKBONES, DATASETS, PROTOCOLS)
        for entry in entry_points(group=group)
    }
    return architecture.partition(":")[0].partition(".")[0] in packages


def trusted_list() -> Path:
    """The user's list: a digest and what it was given for on each line."""
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(given) if given else platformdirs.user_config_path("ssl-console") / "trusted-code"


def _trusted() -> set[str]:
    try:
        lines = trusted_list().read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {line.partition(" ")[0] for line in lines}


def _module_file(architecture: str) -> Path:
    """Where a module's source lies, found without importing it or what it is in."""
    first, *rest = architecture.rpartition(":")[0].split(".")
    try:
        found = find_spec(first)
    except ValueError:
        found = None
    if found is None or found.origin is None or not found.has_location:
        raise WeightsError(f"{architecture}: there is no file of a module {first}")
    if not rest:
        return Path(found.origin)
    place = Path(found.origin).parent.joinpath(*rest)
    return place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
