"""`[hooks]` and `[notifications]` of config.toml: who is told that a run has failed or the queue has ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

HookEvent = Literal["run-failed", "queue-ended"]
VARIABLE = re.compile(r"\$\{(\w+)\}")
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


def _without_login(address: str) -> str:
    """Refuse what is no web address, or has a login in it."""
    if VARIABLE.match(address):
        return address
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an http or https address, or one that an environment variable holds, ${NAME}")
    if parts.password and not VARIABLE.fullmatch(parts.password):
        raise ValueError("a password belongs in an environment variable: write ${NAME} in its place")
    return address


def _without_secrets(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Refuse headers that carry a secret as it is."""
    for name, value in headers.items():
        if name.lower() in SECRET_HEADERS and not VARIABLE.search(value):
            raise ValueError(f"{name} carries a secret, which belongs in an environment variable: write ${{NAME}}")
    return headers


class HookSettings(BaseModel):
    """`[hooks]`. `${NAME}` in the webhook and in headers stands for an environment variable of the supervisor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = ()
    """Program and arguments; it reads one JSON object from its standard input."""
    webhook: Annotated[str, AfterValidator(_without_login)] | None = None
    """Address to which the object is posted."""
    headers: Annotated[Mapping[str, str], AfterValidator(_without_secrets)] = Field(default_factory=dict)
    """Further headers of the post."""
    events: tuple[HookEvent, ...] = ("run-failed", "queue-ended")
    timeout_s: float = Field(10.0, gt=0, le=600)
    """Seconds after which the command is killed, or the post given up."""


class NotificationSettings(BaseModel):
    """`[notifications]`: what an open terminal app sends to its terminal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    terminal: Literal["none", "bell", "osc9", "osc777"] = "none"
    """The bell, or a desktop notification as iTerm2, kitty and WezTerm (OSC 9) or urxvt, foot and VTE (OSC 777) show
    it."""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`text` with the variables that it names. Raises KeyError with the name of one that is not set."""
    return VARIABLE.sub(lambda match: environment[match[1]], text)
