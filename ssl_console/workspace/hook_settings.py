"""`[hooks]` and `[notifications]` of config.toml: notifications of failed runs and of the end of the queue."""

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
    """Validate a web address without a login."""
    if VARIABLE.match(address):
        return address
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an http or https address, or one from an environment variable, ${NAME}")
    if parts.password and not VARIABLE.fullmatch(parts.password):
        raise ValueError("a password belongs in an environment variable: write ${NAME} in its place")
    return address


def _without_secrets(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Validate headers without literal secrets."""
    for name, value in headers.items():
        if name.lower() in SECRET_HEADERS and not VARIABLE.search(value):
            raise ValueError(f"{name} contains a secret, which belongs in an environment variable: write ${{NAME}}")
    return headers


class HookSettings(BaseModel):
    """`[hooks]`. `${NAME}` in the webhook and in headers is replaced by an environment variable of the supervisor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = ()
    """Program and arguments; it receives one JSON object on standard input."""
    webhook: Annotated[str, AfterValidator(_without_login)] | None = None
    """Address to which the object is posted."""
    headers: Annotated[Mapping[str, str], AfterValidator(_without_secrets)] = Field(default_factory=dict)
    """Further headers of the post."""
    events: tuple[HookEvent, ...] = ("run-failed", "queue-ended")
    timeout_s: float = Field(10.0, gt=0, le=600)
    """Seconds after which the command is killed, or the request cancelled."""


class NotificationSettings(BaseModel):
    """`[notifications]`: sequences that an open app sends to its terminal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    terminal: Literal["none", "bell", "osc9", "osc777"] = "none"
    """The bell, or a desktop notification of iTerm2, kitty and WezTerm (OSC 9) or of urxvt, foot and VTE (OSC 777)."""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`text` with its variables replaced. Raises KeyError with the name of an unset one."""
    return VARIABLE.sub(lambda match: environment[match[1]], text)
