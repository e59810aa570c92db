"""Top bar with tabs and status, and the line of keys at the bottom of every screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from textual import events
from textual.binding import ActiveBinding, Binding
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from ssl_console.tui.host import host
from ssl_console.tui.style.palette import draw, render_context
from ssl_console.tui.style.text import Line, Span, Tone, key_text, length

GAP = 2
"""Cells after a key's label in the footer."""
SPACIOUS_FIRST = (("  ", True), (" ", True), (" ", False))
"""Gap before a tab, and whether the tabs of other screens have titles, in order of preference."""


@dataclass(frozen=True)
class StatusText:
    """Text at the right end of the top bar."""

    text: str = ""
    tone: Tone = Tone.DIM


class TopBar(Widget):
    """Tabs at the left, status at the right."""

    DEFAULT_CSS = "TopBar { height: 1; background: $surface; }"

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode
        self._status: tuple[StatusText, ...] = ()
        self._tabs: list[tuple[int, int, str]] = []

    def show(self, status: tuple[StatusText, ...]) -> None:
        """Show a status."""
        if status != self._status:
            self._status = status
            self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is only one
        """The tabs and the status. On narrow screens tabs have smaller gaps, then other screens' tabs show only their
        keys.
        """
        right = tuple(Span(part.text, part.tone) for part in self._status)
        spans: list[Span] = []
        for gap, labels in SPACIOUS_FIRST:
            spans = self._titles(gap, labels=labels)
            if length(spans) + length(right) < self.size.width:
                break
        return draw(_spread(spans, right, self.size.width), self.size.width, render_context(self), self.rich_style)

    def _titles(self, gap: str, *, labels: bool) -> list[Span]:
        app = host(self)
        spans: list[Span] = [Span(" ")]
        self._tabs = []
        for entry in app.screens:
            here = entry.name == self._mode
            pressed = key_text(app.user_keys.get(f"app.{entry.name}", entry.number).partition(",")[0])
            text = f"{gap}{pressed} {entry.title}" if labels or here else f"{gap}{pressed}"
            start = length(spans)
            self._tabs.append((start, start + len(text), entry.name))
            spans.append(Span(text, Tone.TITLE if here else Tone.DIM))
        return spans

    def on_click(self, event: events.Click) -> None:
        """Open the screen of a clicked tab."""
        for start, end, mode in self._tabs:
            if start <= event.x < end:
                host(self).show_screen(mode)


class KeyLine(Widget):
    """Currently enabled keys: first those of the focused pane, last those of the app."""

    DEFAULT_CSS = "KeyLine { height: 1; background: $surface; }"

    def on_mount(self) -> None:
        """Redraw when the bindings change."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def on_unmount(self) -> None:
        """Stop redrawing."""
        self.screen.bindings_updated_signal.unsubscribe(self)

    async def on_click(self, event: events.Click) -> None:
        """Run the action of a clicked key; a click elsewhere shows the keys that do not fit."""
        bound = next((bound for start, end, bound in self._places() if start <= event.x < end), None)
        if bound is not None:
            await self.app.run_action(bound.binding.action, bound.node)
        elif not self.screen.is_modal:
            await self.run_action("app.more")

    def _changed(self, _screen: object) -> None:
        self.refresh()

    @property
    def visible_keys(self) -> list[Binding]:
        """The keys for which there is room."""
        left, right = self._fitting()
        return [bound.binding for bound in (*left, *right)]

    def _fitting(self) -> tuple[list[ActiveBinding], list[ActiveBinding]]:
        """Keys of the screen that fit next to those of the app, of which `:` is dropped first; and the latter."""
        here, everywhere = keys_of(self.screen)
        if 1 + length(key_spans([*here, *everywhere])) > self.size.width:
            everywhere = [bound for bound in everywhere if bound.binding.id != "app.palette"]
        room = self.size.width - length(key_spans(everywhere)) - 2
        ends = accumulate((length(key_spans([bound])) for bound in here), initial=1)
        fitting = [bound for bound, end in zip(here, islice(ends, 1, None), strict=True) if end <= room]
        return fitting, everywhere

    def _places(self) -> Iterator[tuple[int, int, ActiveBinding]]:
        """First cell of each visible key, and the cell after its label."""
        left, right = self._fitting()
        for first, bindings in ((1, left), (self.size.width - length(key_spans(right)), right)):
            start = first
            for bound in bindings:
                yield start, start + length(key_spans([bound])) - GAP, bound
                start += length(key_spans([bound]))

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is only one
        fitting, everywhere = self._fitting()
        left: list[Span] = [Span(" "), *key_spans(fitting)]
        if len(fitting) < len(keys_of(self.screen)[0]):
            left.append(Span(render_context(self).glyphs.ellipsis, Tone.DIM))
        line = _spread(left, key_spans(everywhere), self.size.width)
        return draw(line, self.size.width, render_context(self), self.rich_style)


def keys_of(screen: Screen[object]) -> tuple[list[ActiveBinding], list[ActiveBinding]]:
    """Bindings in the footer: those of the screen and its focused widget, and those of the app; without keys that the
    focused widget accepts as text.
    """
    here: dict[str, ActiveBinding] = {}
    everywhere: dict[str, ActiveBinding] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if not (binding.show and active.enabled):
            continue
        pane, sign = screen.focused, key_text(binding.key)
        if pane is None or not pane.check_consume_key(binding.key, sign if len(sign) == 1 else None):
            target = everywhere if (binding.id or "").startswith("app.") else here
            target.setdefault(binding.id or binding.action, active)
    return list(here.values()), list(everywhere.values())


def key_spans(bindings: Sequence[ActiveBinding]) -> tuple[Span, ...]:
    """Keys with their labels, each followed by a gap."""
    keys = (bound.binding for bound in bindings)
    pairs = ((Span(key_text(b.key), Tone.KEY), Span(f" {b.description}{' ' * GAP}", Tone.DIM)) for b in keys)
    return tuple(span for pair in pairs for span in pair)


def _spread(left: Sequence[Span], right: Sequence[Span], width: int) -> Line:
    """Left and right end of a line; if both do not fit, the right end is truncated."""
    gap = width - length(left) - length(right)
    return (*left, Span(" " * gap), *right) if gap >= 1 else tuple(left)
