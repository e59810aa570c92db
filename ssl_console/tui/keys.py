"""Table of all keys of the console, the source of the key map, the footer and the help. A screen declares its keys in
its own file, and they are added when it is imported; all others are listed here. Only keys that every terminal and
tmux transmit: letters, digits, space, enter, escape, tab, arrows, paging, F1. `[keys]` in config.toml gives any of
them another key by its id: `"plan.tick" = "t"`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
    """Text in the footer."""
    help: str
    footer: bool = True
    priority: bool = False
    """Handled before the focused widget."""
    changes: bool = False
    """Whether it changes the workspace, and is disabled by `--readonly`."""


APP = (
    Key(
        "add-backbone",
        "B",
        "add_backbone",
        "add",
        "Add a checkpoint of your own as a backbone",
        footer=False,
        changes=True,
    ),
    Key("add-dataset", "A", "add_dataset", "add data", "Add a dataset of your own", footer=False, changes=True),
    Key("help", "f1,question_mark", "help", "help", "Show the keys of this screen"),
    Key("palette", "colon,ctrl+p", "command_palette", "find", "Find any action, backbone, task or run"),
    Key("more", "full_stop", "more", "more", "Show the keys that are not in the footer, and run one of them"),
    Key("storage", "U", "storage", "disk", "Disk space of runs, logs, caches and weights", footer=False),
    Key("theme", "T", "theme", "theme", "Choose the colour theme", footer=False),
    Key(
        "edit",
        "e",
        "edit",
        "edit",
        "Open card, suite, log or settings in $EDITOR or $PAGER",
        footer=False,
        changes=True,
    ),
    Key("undo", "u", "undo", "undo", "Undo the last mark, hidden column or cancellation", footer=False),
    Key("jump", "J", "jump", "jump", "Show a letter on every pane and column; the next key moves there", footer=False),
    Key("redraw", "ctrl+l", "redraw", "redraw", "Redraw the whole screen", footer=False),
    Key("back", "escape", "out", "back", "Leave the innermost layer: dialog, filter, zoom", footer=False),
    Key("quit", "q", "quit", "quit", "Quit; runs continue"),
    Key("interrupt", "ctrl+c", "quit", "quit", "Quit from anywhere, even while typing", footer=False, priority=True),
)

TABLE = (
    Key("up", "up,k", "up", "up", "One row up", footer=False),
    Key("down", "down,j", "down", "down", "One row down", footer=False),
    Key("left", "left,h", "left", "left", "One column to the left", footer=False),
    Key("right", "right,l", "right", "right", "One column to the right", footer=False),
    Key("first-column", "0", "first_column", "first column", "The first column", footer=False),
    Key("last-column", "dollar_sign", "last_column", "last column", "The last column", footer=False),
    Key("page-up", "pageup", "page_up", "page up", "A screenful up", footer=False),
    Key("page-down", "pagedown", "page_down", "page down", "A screenful down", footer=False),
    Key("first", "home,g", "first", "first", "The first row", footer=False),
    Key("last", "end,G", "last", "last", "The last row", footer=False),
    Key(
        "next-hit",
        "n",
        "hit(1)",
        "next match",
        "The next match of the last filter, also after it was cleared",
        footer=False,
    ),
    Key("previous-hit", "N", "hit(-1)", "previous match", "The previous match of the last filter", footer=False),
)

TEXT = (
    Key("up", "up,k", "scroll_up", "up", "One line up", footer=False),
    Key("down", "down,j", "scroll_down", "down", "One line down", footer=False),
    Key("page-up", "pageup", "page_up", "page up", "A screenful up", footer=False),
    Key("page-down", "pagedown", "page_down", "page down", "A screenful down", footer=False),
    Key("left", "left", "shift(-16)", "left", "Scroll left along long lines", footer=False),
    Key("right", "right", "shift(16)", "right", "Scroll right along long lines", footer=False),
    Key("first", "home,g", "scroll_home", "top", "The beginning", footer=False),
    Key("last", "end,G", "scroll_end", "end", "The end", footer=False),
)

CHART = (
    Key("left", "left,h", "move(-1)", "earlier", "Move to an earlier part of a magnified chart"),
    Key("right", "right,l", "move(1)", "later", "Move to a later part of a magnified chart"),
    Key("whole", "0", "whole", "whole", "Draw the whole horizontal axis"),
)

FILTER = (
    Key("keep", "enter", "submit", "keep", "Keep the filter, and return to the table"),
    Key("clear", "escape", "clear", "clear", "Clear filter"),
)

EXPLAINED = Key("help", "f1,question_mark", "app.help", "help", "Help on this dialog, with its keys")
"""Of every dialog: keys of the app do not reach dialogs."""
EXPLAINED_WHILE_TYPING = replace(EXPLAINED, keys="f1")
"""Of dialogs in which text is typed."""

LAUNCH = (
    Key("start", "enter", "start", "start", "Start the runs", changes=True),
    Key("again", "a", "again", "again", "Also repeat finished runs"),
    Key("seeds", "s", "seeds", "seeds", "Type the seeds, e.g. 0-9; a digit opens the input"),
    Key("preset", "p", "preset", "preset", "Parameters: default, or those of the paper"),
    Key("launcher", "l", "launcher", "launcher", "Launcher: processes on this machine, or cluster jobs"),
    Key("share", "i", "share", "share", "GPUs in use by others: require free memory, only own runs, or no other use"),
    Key("devices", "d", "devices", "devices per run", "Number of devices that compute the features of one run"),
    Key("copy", "y", "copy", "copy", "Copy the equivalent command line"),
    Key("fetch", "w", "fetch", "fetch", "Fetch missing weights and data", changes=True),
    Key("override", "o", "override", "override", "Also run refused backbones, after a confirmation", changes=True),
    EXPLAINED,
    Key("close", "escape", "close", "back", "Go back without starting anything"),
)

SEEDS = (
    Key("accept", "enter", "accept", "done", "Use these seeds", priority=True),
    EXPLAINED_WHILE_TYPING,
    Key("close", "escape", "close", "back", "Go back without a change"),
)

EXPORT = (
    Key("markdown", "m", "write('markdown')", "Markdown", "Markdown"),
    Key("csv", "c", "write('csv')", "CSV", "CSV"),
    Key("latex", "l", "write('latex')", "LaTeX", "LaTeX (booktabs)"),
    Key("json", "j", "write('json')", "JSON", "JSON"),
    Key("svg", "s", "draw('svg')", "SVG of the table", "This view with its heat colours, as SVG"),
    Key("pdf", "f", "draw('pdf')", "PDF", "The same, as PDF"),
    Key("png", "p", "draw('png')", "PNG", "The same, as PNG"),
    Key(
        "diagram-svg", "d", "diagram('svg')", "critical difference", "Critical-difference diagram of this view, as SVG"
    ),
    Key("diagram-png", "D", "diagram('png')", "as PNG", "The same, as PNG"),
    Key("scatter-svg", "S", "scatter('svg')", "scatter", "ImageNet accuracy against transfer, as SVG"),
    Key("scatter-png", "P", "scatter('png')", "as PNG", "The same, as PNG"),
    Key("marked", "a", "marked", "all or marked", "All rows of the view, or only the marked ones"),
    EXPLAINED,
    Key("close", "escape", "close", "back", "Back"),
)

RANKS = (
    Key(
        "missing",
        "m",
        "missing",
        "missing scores",
        "Treatment of missing scores: complete rows, common tasks, or drawn",
    ),
    EXPLAINED,
    Key("close", "escape,r", "close", "back", "Back"),
)

SEARCHED = (
    Key("up", "up", "move('up')", "up", "One row up", footer=False, priority=True),
    Key("down", "down", "move('down')", "down", "One row down", footer=False, priority=True),
    Key("page-up", "pageup", "move('page_up')", "page up", "A screenful up", footer=False, priority=True),
    Key("page-down", "pagedown", "move('page_down')", "page down", "A screenful down", footer=False, priority=True),
)
"""Keys that move in a list with a search line, as letters narrow the list."""

MORE = (
    Key("run", "enter", "run", "run", "Run the highlighted action", priority=True),
    EXPLAINED,
    Key("close", "escape,full_stop", "close", "back", "Go back without running an action"),
    *SEARCHED,
)

CHOOSER = (
    Key("toggle", "space", "pick", "select", "Select or deselect the highlighted option", priority=True),
    Key("all", "asterisk", "all", "all", "Select all listed options, or none of them", priority=True),
    Key("accept", "enter", "accept", "done", "Accept the selection", priority=True),
    EXPLAINED_WHILE_TYPING,
    Key("close", "escape", "close", "back", "Go back without a change"),
    *SEARCHED,
)

PICKER = (
    Key("accept", "enter", "accept", "choose", "Choose the highlighted option", priority=True),
    EXPLAINED_WHILE_TYPING,
    Key("close", "escape", "close", "back", "Go back without a change"),
    *SEARCHED,
)

CONFIRM = (
    Key("yes", "y", "yes", "yes", "Confirm"),
    EXPLAINED,
    Key("no", "n,escape", "no", "no", "Decline"),
)

ADDING = (
    Key("add", "enter", "add", "add it", "Write the card", changes=True, priority=True),
    EXPLAINED_WHILE_TYPING,
    Key("close", "escape", "close", "back", "Go back without writing anything"),
)

NAMING = (
    Key("accept", "enter", "accept", "done", "Use the name", priority=True),
    EXPLAINED_WHILE_TYPING,
    Key("close", "escape", "close", "back", "Go back without a change"),
)

VIEWS = (*PICKER, Key("remove", "delete", "remove", "remove", "Remove the highlighted view", priority=True))

IMAGES = (
    Key(
        "copy", "y", "copy", "copy paths", "Copy paths of the images that only the first backbone classifies correctly"
    ),
    EXPLAINED,
    Key("close", "escape", "close", "back", "Back"),
)

STAGES = (
    Key("next", "enter", "next_stage", "run next", "Run the next step on all of these backbones", changes=True),
    Key(
        "all",
        "a",
        "all_stages",
        "run all",
        "Run step after step until the answer is certain; again: stop after this one",
        changes=True,
    ),
    Key("refresh", "r", "refresh", "refresh", "Read the results again", footer=False),
    Key("copy", "y", "copy", "copy command", "Copy the equivalent command line; --json gives the same numbers"),
)
"""Of dialogs that run stage after stage."""

LADDER = (
    *STAGES,
    Key("presets", "p", "presets", "presets", "Presets of the rungs: those of the suite, default, or small"),
    EXPLAINED,
    Key("close", "escape,L", "close", "back", "Back"),
)

JUDGE = (
    *STAGES,
    Key("margin", "m", "margin", "margin", "Largest difference that does not matter, in points"),
    EXPLAINED,
    Key("close", "escape,V", "close", "back", "Back"),
)

RACE = (
    *STAGES,
    Key("goal", "f", "goal", "goal", "Goal: accuracy, or speed or memory among the nearly best"),
    Key("hours", "t", "hours", "hours", "Time budget"),
    EXPLAINED,
    Key("close", "escape,R", "close", "back", "Back"),
)

LEDGER = (
    Key("copy", "y", "copy", "copy command", "Copy the equivalent command line; --json gives the same numbers"),
    Key("scatter", "s", "scatter", "scatter", "Write a scatter plot of published against own scores, as SVG"),
    EXPLAINED,
    Key("close", "escape,p", "close", "back", "Back"),
)

PATH = (Key("complete", "tab", "complete", "complete", "Complete the path, or go to the next field", priority=True),)

JUMP = (EXPLAINED, Key("close", "escape", "close", "back", "Go back without a jump"))

PALETTE = (EXPLAINED_WHILE_TYPING,)

PANEL = (EXPLAINED, Key("close", "escape,q", "close", "close", "Close the panel"))

HELP = (Key("close", "escape,f1,question_mark,q", "close", "close", "Close the help"),)

KEYS: dict[Scope, tuple[Key, ...]] = {
    "app": APP,
    "table": TABLE,
    "text": TEXT,
    "chart": CHART,
    "filter": FILTER,
    "launch": LAUNCH,
    "seeds": SEEDS,
    "ranks": RANKS,
    "export": EXPORT,
    "more": MORE,
    "chooser": CHOOSER,
    "picker": PICKER,
    "confirm": CONFIRM,
    "adding": ADDING,
    "naming": NAMING,
    "views": VIEWS,
    "images": IMAGES,
    "ladder": LADDER,
    "judge": JUDGE,
    "race": RACE,
    "ledger": LEDGER,
    "path": PATH,
    "jump": JUMP,
    "palette": PALETTE,
    "panel": PANEL,
    "help": HELP,
}

TITLES: dict[Scope, str] = {
    "app": "Everywhere",
    "table": "In a table",
    "text": "In text",
    "chart": "In a chart",
    "filter": "While a filter is typed",
    "launch": "Launch",
    "seeds": "Typing seeds",
    "ranks": "Rank confidence intervals",
    "export": "Export",
    "more": "More keys",
    "chooser": "Choosing several",
    "picker": "Choosing one",
    "confirm": "Confirming",
    "adding": "Adding a backbone or a dataset",
    "naming": "Naming",
    "views": "Saved views",
    "images": "Images on which backbones disagree",
    "ladder": "The ladder of a dataset",
    "judge": "Judging a backbone",
    "race": "Choosing a backbone",
    "ledger": "Published scores",
    "path": "While a path is typed",
    "jump": "Jumping",
    "palette": "Finding",
    "panel": "In a panel",
    "help": "Help",
}


def declare(scope: Scope, title: str, keys: tuple[Key, ...]) -> None:
    """Add a scope to the table, or replace it."""
    KEYS[scope], TITLES[scope] = keys, title


def bindings(scope: Scope, keys: tuple[Key, ...] | None = None) -> list[BindingType]:
    """Textual's bindings of a scope, of its keys in the table unless they are given."""
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
        for key in (KEYS[scope] if keys is None else keys)
    ]


def changing_actions() -> frozenset[str]:
    """Names of the actions that `--readonly` disables."""
    return frozenset(key.action.partition("(")[0] for keys in KEYS.values() for key in keys if key.changes)


RETIRED = frozenset({"compare.task"})
"""Ids of earlier versions without an action, which are accepted in a user's settings."""


def unknown_ids(chosen: Iterable[str]) -> list[str]:
    """Ids in a user's `[keys]` that are not in the table."""
    return sorted(set(chosen) - known_ids() - RETIRED)


def known_ids() -> frozenset[str]:
    """Ids of all actions: scope and name, e.g. `plan.tick`."""
    return frozenset(f"{scope}.{key.name}" for scope, keys in KEYS.items() for key in keys)
