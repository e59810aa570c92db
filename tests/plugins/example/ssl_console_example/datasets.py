"""The dataset `stripes`: its card, the layout of its data, and the module that reads them."""

from __future__ import annotations

from pathlib import Path

from tasks.datasets.layouts import Layout

CARDS = Path(__file__).parent / "cards" / "datasets"
LAYOUTS = {"stripes": Layout(arguments={"images": int})}
READERS = {"stripes": "ssl_console_example.stripes"}
