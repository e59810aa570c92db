"""Every key of the console, in one table: it makes the key map, the footer and the help.

Only keys that every terminal and tmux pass on: letters, digits, space, enter, escape, tab, arrows, paging, F1.
`[keys]` in config.toml gives any of them another key by its id: `"plan.tick" = "t"`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual.binding import Binding, BindingType

Scope = str


@dataclass(frozen=True)
class Key:
    """One key."""

    name: str
    """With the scope before it, its id in config.toml."""
    keys: str
    """Comma-separated; the first is the one that is shown."""
    action: str
    label: str
    """What the footer says."""
    help: str
    footer: bool = True
    priority: bool = False
    """Works before the focused widget is asked."""
    changes: bool = False
    """Changes something in the workspace, so it is not there with `--readonly`."""


APP = (
    Key("plan", "1", "mode('plan')", "Plan", "What has been measured, what could be; choose and launch", footer=False),
    Key("live", "2", "mode('live')", "Live", "The runs: progress, curves, logs, devices", footer=False),
    Key("rankings", "3", "mode('rankings')", "Rankings", "The ranking tables", footer=False),
    Key("compare", "4", "mode('compare')", "Compare", "Two or more backbones side by side", footer=False),
    Key("result", "5", "mode('result')", "Result", "Everything about one result", footer=False),
    Key("training", "6", "mode('training')", "Training", "Watched trainings: transfer against step", footer=False),
    Key(
        "add-backbone",
        "B",
        "add_backbone",
        "add",
        "Add a checkpoint of your own as a backbone",
        footer=False,
        changes=True,
    ),
    Key("help", "f1,question_mark", "help", "help", "What the keys do here"),
    Key("palette", "colon,ctrl+p", "command_palette", "find", "Find any action, backbone, task or run"),
    Key("theme", "T", "next_theme", "theme", "Another theme: dark, light, and those of the terminal", footer=False),
    Key("redraw", "ctrl+l", "redraw", "redraw", "Draw all again, if something else wrote over it", footer=False),
    Key("back", "escape", "out", "back", "Step out one layer", footer=False),
    Key("quit", "q", "quit", "quit", "Leave the console; runs go on"),
    Key("interrupt", "ctrl+c", "quit", "quit", "Leave from anywhere, while typing too", footer=False, priority=True),
)

TABLE = (
    Key("up", "up,k", "up", "up", "One row up", footer=False),
    Key("down", "down,j", "down", "down", "One row down", footer=False),
    Key("left", "left", "left", "left", "One column to the left", footer=False),
    Key("right", "right", "right", "right", "One column to the right", footer=False),
    Key("page-up", "pageup", "page_up", "page up", "A screenful up", footer=False),
    Key("page-down", "pagedown", "page_down", "page down", "A screenful down", footer=False),
    Key("first", "home,g", "first", "first", "The first row", footer=False),
    Key("last", "end,G", "last", "last", "The last row", footer=False),
)

TEXT = (
    Key("up", "up,k", "scroll_up", "up", "One line up", footer=False),
    Key("down", "down,j", "scroll_down", "down", "One line down", footer=False),
    Key("page-up", "pageup", "page_up", "page up", "A screenful up", footer=False),
    Key("page-down", "pagedown", "page_down", "page down", "A screenful down", footer=False),
    Key("left", "left", "shift(-16)", "left", "Long lines back to the right", footer=False),
    Key("right", "right", "shift(16)", "right", "The rest of long lines", footer=False),
    Key("first", "home,g", "scroll_home", "top", "The beginning", footer=False),
    Key("last", "end,G", "scroll_end", "end", "The end", footer=False),
)

PLAN = (
    Key("tick", "space", "tick", "tick", "Tick the cell under the cursor, or take the tick away"),
    Key("launch", "enter,l", "launch", "launch", "See what would run, then start it", changes=True),
    Key("filter", "slash", "filter", "filter", "Show less: words and field:value, `dino params:<30 linear` say"),
    Key("tick-missing", "m", "tick_missing", "missing", "Tick everything shown that has no up-to-date result"),
    Key("tick-row", "r", "tick_row", "row", "Tick the backbone for every task shown"),
    Key("tick-column", "c", "tick_column", "column", "Tick the task for every backbone shown"),
    Key("suite", "s", "suite", "suite", "Show the tasks of one suite, or of all"),
    Key("untick", "u", "untick", "untick all", "Take every tick away", footer=False),
    Key("details", "d", "details", "result", "Open the result or the run under the cursor", footer=False),
)

FILTER = (
    Key("keep", "enter", "submit", "keep it", "Keep what was typed, and go back to what it has left"),
    Key("clear", "escape", "clear", "show all", "Away with the filter"),
)

LAUNCH = (
    Key("start", "enter", "start", "start", "Start the runs", changes=True),
    Key("again", "a", "again", "again", "Measure again what is already done, too"),
    Key("seeds", "s", "seeds", "seeds", "How many seeds: 1, 2, 3 or 5"),
    Key("preset", "p", "preset", "preset", "Parameters: default, or those of the paper"),
    Key("copy", "y", "copy", "copy", "Copy the command line that does the same"),
    Key("close", "escape", "close", "back", "Back without starting anything"),
)

LIVE = (
    Key("open", "enter", "open", "result", "Open the result of a finished run; of another one, its log"),
    Key("pane", "tab", "pane(1)", "next pane", "Curve, log, events, details, devices"),
    Key("cancel", "x", "cancel", "cancel", "Cancel the run", changes=True),
    Key("retry", "r", "retry", "retry", "Run it again", changes=True),
    Key("filter", "slash", "filter", "filter", "Show less: words and field:value, `state:failed` say"),
    Key("pause", "p", "pause", "pause", "Start nothing more, or go on; what runs is left alone", changes=True),
    Key("zoom", "z", "zoom", "zoom", "The pane alone on the screen, and back"),
    Key("pane-back", "shift+tab", "pane(-1)", "previous pane", "The pane before", footer=False),
    Key("sooner", "plus,equals_sign", "priority(1)", "sooner", "Raise the run's priority", footer=False, changes=True),
    Key("later", "minus", "priority(-1)", "later", "Lower the run's priority", footer=False, changes=True),
    Key(
        "stack", "D", "stack", "stack dump", "Where the worker is: its stacks go to the log", footer=False, changes=True
    ),
    Key("metric", "m", "metric", "metric", "Draw another metric", footer=False),
    Key("finished", "f", "finished", "finished", "Hide or show finished runs"),
)

RANKINGS = (
    Key("open", "enter", "open", "result", "Open the result under the cursor"),
    Key("sort", "s", "sort", "sort", "Sort by the column under the cursor; again: the other way round"),
    Key("mark", "space", "mark", "mark", "Mark the backbone for Compare"),
    Key("difference", "d", "difference", "difference", "How far own scores are from the published ones", footer=False),
    Key("export", "x", "export", "export", "Write this view to a file and to the clipboard"),
    Key("filter", "slash", "filter", "filter", "Show less: words and field:value, `dino params:<30 linear` say"),
    Key("columns", "c", "columns", "columns", "Choose the columns"),
    Key("intervals", "i", "intervals", "intervals", "Show the 95 % intervals"),
    Key("suite", "u", "suite", "suite", "The columns of one suite, or all"),
    Key("heat", "h", "heat", "heat", "Heat colours on or off", footer=False),
    Key("paper", "p", "paper", "paper", "Published numbers: beside own ones, all there are, or none", footer=False),
    Key("ranks", "r", "ranks", "certainty", "How certain the ranks are: intervals, ties, critical difference"),
    Key("missing", "m", "missing", "missing", "Rank complete rows, or over the tasks that all have", footer=False),
    Key("compare", "v", "compare", "compare", "Compare the marked backbones", footer=False),
    Key("apart", "w", "apart", "kept apart", "Why results of these tasks stand in other columns", footer=False),
)

EXPORT = (
    Key("markdown", "m", "write('markdown')", "Markdown", "Markdown"),
    Key("csv", "c", "write('csv')", "CSV", "CSV"),
    Key("latex", "l", "write('latex')", "LaTeX", "LaTeX (booktabs)"),
    Key("json", "j", "write('json')", "JSON", "JSON"),
    Key("svg", "s", "draw('svg')", "SVG", "The critical-difference picture of this view, as SVG"),
    Key("png", "p", "draw('png')", "PNG", "The same as PNG"),
    Key("scatter-svg", "S", "scatter('svg')", "scatter", "ImageNet accuracy against transfer, as SVG"),
    Key("scatter-png", "P", "scatter('png')", "scatter PNG", "The same as PNG", footer=False),
    Key("close", "escape", "close", "back", "Back"),
)

RANKS = (
    Key("missing", "m", "missing", "missing scores", "Complete rows, common tasks, or missing scores drawn"),
    Key("close", "escape,r", "close", "back", "Back"),
)

CHOOSER = (
    Key("toggle", "space", "pick", "choose", "Choose, or not"),
    Key("all", "a", "all", "all", "Choose all"),
    Key("none", "n", "none", "none", "Choose none"),
    Key("accept", "enter", "accept", "done", "Use the choice"),
    Key("close", "escape", "close", "back", "Back without a change"),
)

PICKER = (
    Key("accept", "enter", "accept", "choose", "Take it"),
    Key("close", "escape", "close", "back", "Back without a change"),
)

CONFIRM = (
    Key("yes", "y", "yes", "yes", "Do it"),
    Key("no", "n,escape", "no", "no", "Do not"),
)

COMPARE = (
    Key("open", "enter", "open", "result", "Open the result under the cursor", footer=False),
    Key("view", "tab,v", "view(1)", "next chart", "Transfer, cost, or curves"),
    Key("view-back", "shift+tab", "view(-1)", "previous chart", "The chart before", footer=False),
    Key("zoom", "z", "zoom", "zoom", "The chart alone on the screen, and back"),
    Key("choose", "c", "choose", "backbones", "Choose the backbones"),
    Key("task", "t", "task", "task", "The task whose curves are drawn"),
    Key("base", "b", "base", "base", "Differences to the backbone under the cursor"),
    Key("axis", "a", "axis", "axis", "Cost: parameters or images/s", footer=False),
)

RESULT = (
    Key("copy", "y", "copy", "copy command", "Copy the command that repeats it"),
    Key("copy-json", "Y", "copy_json", "copy JSON", "Copy the whole record as JSON", footer=False),
    Key("chart", "tab,v", "chart", "chart", "The calibration diagram, where it does not fit beside the text"),
    Key("next", "n", "step(1)", "next", "The next result of the list that it was opened from"),
    Key("previous", "p", "step(-1)", "previous", "The one before"),
    Key("again", "r", "repeat", "measure again", "Run it again with the same parameters", footer=False, changes=True),
)

TRAINING = (
    Key("next", "n", "step(1)", "next", "The next watched training"),
    Key("previous", "p", "step(-1)", "previous", "The one before"),
    Key("open", "enter", "open", "result", "Open the result of the checkpoint under the cursor"),
    Key("copy", "y", "copy", "copy command", "Copy the command that goes on watching", footer=False),
)

ADDING = (
    Key("add", "enter", "add", "add it", "Write the card", changes=True, priority=True),
    Key("close", "escape", "close", "back", "Back without writing anything"),
)

HELP = (Key("close", "escape,f1,question_mark,q", "close", "close", "Close the help"),)

KEYS: Mapping[Scope, tuple[Key, ...]] = {
    "app": APP,
    "table": TABLE,
    "text": TEXT,
    "plan": PLAN,
    "filter": FILTER,
    "launch": LAUNCH,
    "live": LIVE,
    "rankings": RANKINGS,
    "ranks": RANKS,
    "export": EXPORT,
    "chooser": CHOOSER,
    "picker": PICKER,
    "confirm": CONFIRM,
    "compare": COMPARE,
    "result": RESULT,
    "training": TRAINING,
    "adding": ADDING,
    "help": HELP,
}

TITLES: Mapping[Scope, str] = {
    "app": "Everywhere",
    "table": "In a table",
    "text": "In a text",
    "plan": "Plan",
    "filter": "While a filter is typed",
    "launch": "Launch",
    "live": "Live",
    "rankings": "Rankings",
    "ranks": "Certainty of the ranks",
    "export": "Export",
    "chooser": "Choosing several",
    "picker": "Choosing one",
    "confirm": "Confirming",
    "compare": "Compare",
    "result": "Result",
    "training": "Training",
    "adding": "Adding a backbone",
    "help": "Help",
}


def bindings(scope: Scope) -> list[BindingType]:
    """What a screen or widget of this scope binds."""
    return [
        Binding(
            key.keys,
            key.action,
            key.label,
            show=key.footer,
            priority=key.priority,
            tooltip=key.help,
            id=f"{scope}.{key.name}",
        )
        for key in KEYS[scope]
    ]


def changing_actions() -> frozenset[str]:
    """Names of the actions that `--readonly` takes away."""
    return frozenset(key.action.partition("(")[0] for keys in KEYS.values() for key in keys if key.changes)


def unknown_ids(chosen: Iterable[str]) -> list[str]:
    """Ids in a user's `[keys]` that no key has."""
    known = {f"{scope}.{key.name}" for scope, keys in KEYS.items() for key in keys}
    return sorted(set(chosen) - known)


_SHOWN: Mapping[str, str] = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "escape": "esc",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "shift+tab": "shift-tab",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "f1": "F1",
    "ctrl+p": "ctrl-p",
    "ctrl+c": "ctrl-c",
    "ctrl+l": "ctrl-l",
}


def shown(key: str) -> str:
    """A key as a person would write it."""
    return _SHOWN.get(key, key)
