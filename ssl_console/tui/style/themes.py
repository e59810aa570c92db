"""The console's two themes. All colours are among the 256 of terminals without true colour. SSH does not forward
COLORTERM, so most sessions have 256 colours; this choice makes both look the same.
"""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="console-dark",
    primary="#87afd7",
    secondary="#5f87af",
    accent="#d7af87",
    foreground="#d0d0d0",
    background="#121212",
    surface="#1c1c1c",
    panel="#262626",
    success="#87af87",
    warning="#d7af5f",
    error="#d7875f",
    dark=True,
    variables={
        "block-cursor-background": "#005f87",
        "block-cursor-foreground": "#ffffff",
        "input-cursor-background": "#d0d0d0",
        "border": "#444444",
        "border-blurred": "#303030",
        "scrollbar": "#444444",
        "scrollbar-background": "#121212",
        "muted": "#8a8a8a",
        "faint": "#585858",
        "row-background": "#262626",
        "ticked-background": "#3a3a3a",
    },
)

LIGHT = Theme(
    name="console-light",
    primary="#005f87",
    secondary="#0087af",
    accent="#875f00",
    foreground="#262626",
    background="#ffffff",
    surface="#eeeeee",
    panel="#e4e4e4",
    success="#005f00",
    warning="#875f00",
    error="#af0000",
    dark=False,
    variables={
        "block-cursor-background": "#005f87",
        "block-cursor-foreground": "#ffffff",
        "input-cursor-background": "#262626",
        "border": "#b2b2b2",
        "border-blurred": "#d0d0d0",
        "scrollbar": "#b2b2b2",
        "scrollbar-background": "#ffffff",
        "muted": "#6c6c6c",
        "faint": "#a8a8a8",
        "row-background": "#e4e4e4",
        "ticked-background": "#ffffd7",
    },
)
