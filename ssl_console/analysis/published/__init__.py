"""Published numbers, shipped as data, for comparison with own measurements."""

from __future__ import annotations

from ssl_console.analysis.published.agreement import PUBLISHED, differences, unmarked, with_published
from ssl_console.analysis.published.tables import (
    PublishedColumn,
    PublishedTable,
    all_published,
    column_of,
    published,
    references,
    tables,
)

__all__ = [
    "PUBLISHED",
    "PublishedColumn",
    "PublishedTable",
    "all_published",
    "column_of",
    "differences",
    "published",
    "references",
    "tables",
    "unmarked",
    "with_published",
]
