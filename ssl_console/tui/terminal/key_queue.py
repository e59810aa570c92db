"""Sequential handling of keys, however fast they arrive: a slow link delivers a whole word at once. Textual
dispatches every key immediately to the widget that has the focus at that time. A word typed after `/` would be
interpreted as keys of the table, and enter in a dialog that is not mounted yet would find no widgets.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol, TypeVar, runtime_checkable

from textual import events
from textual.app import App
from textual.widget import Widget

Result = TypeVar("Result")
PATIENCE_S = 1.0
"""Maximum wait for a screen to be ready in seconds; longer ones would be noticed."""


@runtime_checkable
class KeyListener(Protocol):
    """A widget that is notified of every key pressed while it has the focus."""

    def note_key(self) -> None:
        """Handle the notification of a key."""
        ...


class QueuedKeysApp(App[Result]):
    """An app that handles a key only after the previous one has been handled completely."""

    async def on_event(self, event: events.Event) -> None:
        """Run the action of the key, or pass it to an input, before the next key is handled."""
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        await self._screen_is_ready()
        focused = self.focused
        if isinstance(focused, KeyListener):
            focused.note_key()
        typed = focused is not None and focused.check_consume_key(event.key, event.character)
        if not typed and await self._does(event.key):
            return
        await super().on_event(event)
        if typed and focused is not None:
            await _processed(focused)

    async def _does(self, key: str) -> bool:
        return await self._check_bindings(key, priority=True) or await self._check_bindings(key)

    async def _screen_is_ready(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.screen._mounted_event.wait(), PATIENCE_S)


async def _processed(widget: Widget) -> None:
    """Wait until the widget has processed its messages."""
    done = asyncio.Event()
    if widget.call_later(done.set):
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), PATIENCE_S)
