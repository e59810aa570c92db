"""The dataset `stripes`: its card, and the reader with its targets."""

from __future__ import annotations

from pathlib import Path

from tasks.plugin_api import Layout

CARDS = Path(__file__).parent / "cards" / "datasets"
LAYOUTS = {"stripes": Layout(reader="ssl_console_example.stripes:read", targets=("labels",), arguments={"images": int})}
