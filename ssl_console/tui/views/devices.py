"""Devices as lines: figures with their histories, and the processes that hold memory. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssl_console.tui.data.devices import DeviceSample, DeviceUser, DeviceView
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap

GIGABYTE = 1024.0
WIDEST_HISTORY = 30
"""Maximum number of cells, of `STEP_S` seconds each."""
NARROWEST_HISTORY = 4
ENOUGH_HISTORY = 8
"""Minimum number of cells of every history before devices' titles are shown."""
HOTTEST_C = 100.0
NEARLY_FULL = 0.95


@dataclass(frozen=True)
class _Figure:
    """One figure of a device: its head, its text, its value in a sample, and the value at which a bar is full."""

    head: str
    text: Callable[[DeviceView], str]
    value: Callable[[DeviceSample], float | None]
    full: Callable[[DeviceView], float | None]


def device_lines(devices: Sequence[DeviceView], glyphs: Glyphs, width: int) -> list[Line]:
    """Figures and histories of the devices, problems, and the processes that hold memory."""
    if not devices:
        return [line(Span(" no device readings yet", Tone.DIM))]
    table = _Table.of(devices, glyphs, width)
    lines = [table.heads(), *map(table.row, devices)]
    lines += [] if table.title else _titles(devices, width)
    for device in devices:
        lines += [line(Span(f"   {text}", Tone.WARN)) for text in wrap(device.problem, width - 4) if device.problem]
    return [*lines, *_holders(devices, glyphs)]


def header_lines(devices: Sequence[DeviceView], glyphs: Glyphs, width: int, most: int) -> list[Line]:
    """One line per device, at most `most` lines; the last one contains the number of further devices."""
    table = _Table.of(devices, glyphs, width)
    if len(devices) <= most:
        return [table.row(device) for device in devices]
    rest = len(devices) - most + 1
    return [*map(table.row, devices[: most - 1]), line(Span(f" and {rest} more in the devices pane", Tone.DIM))]


@dataclass(frozen=True)
class _Table:
    """Common widths for all devices: of names, texts and histories."""

    name: int
    figures: tuple[tuple[_Figure, int, int], ...]
    """Each figure with the widths of its text and of its history."""
    title: int
    """0 if there is no room for titles."""
    glyphs: Glyphs

    @classmethod
    def of(cls, devices: Sequence[DeviceView], glyphs: Glyphs, width: int) -> _Table:
        """Widths for these devices on lines of `width` cells; on narrow screens only load has a history."""
        name = max((len(device.name) for device in devices), default=6)
        texts = {figure.head: max((len(figure.text(one)) for one in devices), default=0) for figure in _FIGURES}
        present = [figure for figure in _FIGURES if texts[figure.head]]
        room = width - name - 1 - sum(texts[figure.head] + 2 for figure in present)
        drawn = present if room >= len(present) * (NARROWEST_HISTORY + 1) else present[:2]
        drawn = drawn if room >= len(drawn) * (NARROWEST_HISTORY + 1) else present[:1]
        title = max((len(device.title) for device in devices if device.utilisation is not None), default=0) + 2
        title = title if room - title >= len(present) * (ENOUGH_HISTORY + 1) else 0
        cells = min(WIDEST_HISTORY, (room - title) // max(1, len(drawn)) - 1)
        cells = cells if cells >= NARROWEST_HISTORY else 0
        return cls(name, tuple((one, texts[one.head], cells if one in drawn else 0) for one in present), title, glyphs)

    def heads(self) -> Line:
        """The names of the figures."""
        spans = [Span(f" {'device':<{self.name}}", Tone.DIM)]
        for figure, text, history in self.figures:
            spans.append(Span("  " + fit(figure.head, text + (history + 1 if history else 0)), Tone.DIM))
        return tuple(spans)

    def row(self, device: DeviceView) -> Line:
        """The figures of a device; its title where there is room."""
        spans = [Span(f" {device.name:<{self.name}}", Tone.STRONG)]
        for figure, width, cells in self.figures:
            text, tone = figure.text(device), _tone(figure, device)
            spans.append(Span("  " + text.rjust(width), tone))
            history = sparkline(figure, device, cells, self.glyphs)
            spans += [Span(" " + history, Tone.BUSY)] if cells else []
        shown = device.title if self.title or device.utilisation is None else ""
        return (*spans, Span(f"  {shown}", Tone.DIM)) if shown else tuple(spans)


def sparkline(figure: _Figure, device: DeviceView, cells: int, glyphs: Glyphs) -> str:
    """The last `cells` samples as bars from 0 to the full value, newest at the right; blank without a sample."""
    samples = device.history[-cells:] if cells else ()
    values = [figure.value(sample) for sample in samples]
    full = figure.full(device) or max((value for value in values if value is not None), default=0.0)
    bars, steps = "", glyphs.steps
    for value in values:
        level = None if value is None or full <= 0 else int(value / full * len(steps))
        bars += " " if level is None else steps[max(0, min(len(steps) - 1, level))]
    return bars.rjust(cells)


def _tone(figure: _Figure, device: DeviceView) -> Tone:
    """Warning tone if memory is nearly full."""
    share = (device.memory_used_mb or 0.0) / device.memory_total_mb if device.memory_total_mb else 0.0
    return Tone.WARN if figure is _MEMORY and share > NEARLY_FULL else Tone.PLAIN


def _amount(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.0f} {unit}"


def _memory(device: DeviceView) -> str:
    if device.memory_used_mb is None or not device.memory_total_mb:
        return ""
    return f"{device.memory_used_mb / GIGABYTE:.1f}/{device.memory_total_mb / GIGABYTE:.0f} GB"


def _power(device: DeviceView) -> str:
    if device.power_w is None:
        return ""
    limit = f"/{device.power_limit_w:.0f}" if device.power_limit_w else ""
    return f"{device.power_w:.0f}{limit} W"


_MEMORY = _Figure("memory", _memory, lambda sample: sample.memory_used_mb, lambda device: device.memory_total_mb)
_FIGURES = (
    _Figure(
        "load", lambda device: _amount(device.utilisation, "%"), lambda sample: sample.utilisation, lambda _: 100.0
    ),
    _MEMORY,
    _Figure(
        "temp",
        lambda device: _amount(device.temperature_c, "°C"),
        lambda sample: sample.temperature_c,
        lambda _: HOTTEST_C,
    ),
    _Figure("power", _power, lambda sample: sample.power_w, lambda device: device.power_limit_w),
)


def _titles(devices: Sequence[DeviceView], width: int) -> list[Line]:
    """Each title, and the devices that have it."""
    by_title: dict[str, list[str]] = {}
    for device in devices:
        if device.utilisation is not None and device.title:
            by_title.setdefault(device.title, []).append(device.name)
    texts = (f"{title}: {', '.join(names)}" for title, names in by_title.items())
    return [line(Span(f" {part}", Tone.DIM)) for text in texts for part in wrap(text, width - 2)]


def _holders(devices: Sequence[DeviceView], glyphs: Glyphs) -> list[Line]:
    """Processes that hold memory, by device, the largest first."""
    held = [(device, user) for device in devices for user in sorted(device.users, key=lambda user: -user.memory_mb)]
    if not held:
        return []
    name = max(6, *(len(device.name) for device in devices))
    users = max(4, *(len(user.user) for _, user in held))
    head = f" {'device':<{name}}  {'memory':>8}  {'pid':>8}  {'user':<{users}}  process"
    return [(), line(Span(head, Tone.DIM)), *(_holder(device, user, name, users, glyphs) for device, user in held)]


def _holder(device: DeviceView, user: DeviceUser, name: int, users: int, glyphs: Glyphs) -> Line:
    memory = f"{user.memory_mb / GIGABYTE:.1f} GB" if user.memory_mb else glyphs.none
    facts = f" {device.name:<{name}}  {memory:>8}  {user.pid:>8}  "
    owner = Span(fit(user.user or glyphs.none, users), Tone.GOOD if user.ours else Tone.WARN)
    role = user.role or ("worker" if user.ours else "")
    mark = "ours: " if user.ours else ""
    return line(Span(facts), owner, Span(f"  {mark}{role}", Tone.PLAIN if user.ours else Tone.DIM))
