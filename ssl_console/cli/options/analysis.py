"""What rankings, comparisons and figures contain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SortColumn = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="COLUMN", help="A task, backbone, estimate, mean, mean_log_odds, mean_rank or win_rate."
    ),
]
FilterTerms = Annotated[
    str,
    typer.Option("--filter", metavar="TERMS", help="Rows and columns, e.g. 'family:dino score:linear/dtd>70 or mae'."),
]
Source = Annotated[
    str, typer.Option("--source", metavar="S", help="mine (measured here), paper (published), or both side by side.")
]
Intervals = Annotated[bool, typer.Option("--intervals", help="Confidence intervals of the ranks, and ties.")]
MissingScores = Annotated[
    str,
    typer.Option(
        "--missing", metavar="M", help="complete, common or (with --intervals) drawn: the rows and tasks included."
    ),
]
Optimism = Annotated[
    bool,
    typer.Option("--optimism", help="How much higher scores would be if settings were chosen on the test images."),
]
Shifts = Annotated[
    bool, typer.Option("--shifts", help="Scores of robustness tasks: a column for each shift, and the drop.")
]
Margins = Annotated[
    list[str] | None,
    typer.Option("--margin", metavar="METRIC=SIZE", help="Largest difference that counts as equal."),
]
AgainstPublished = Annotated[
    bool,
    typer.Option("--published", help="Own scores against the published ones of the same protocol; A may be a glob."),
]
OwnScore = Annotated[
    str | None,
    typer.Option("--with", metavar="SCORE", help="Own results with logme, rankme, ... or a protocol (knn) instead."),
]
MultiverseCard = Annotated[
    Path | None,
    typer.Option("--card", metavar="FILE", help="TOML file of poolings, blocks, heads and seeds to combine."),
]
MultiverseFigure = Annotated[
    Path | None,
    typer.Option("--figure", metavar="FILE", help="Also write the specification curve (.svg, .png or .pdf)."),
]
Figure = Annotated[
    Path | None, typer.Option("--figure", metavar="FILE", help="Write a figure (.svg, .png or .pdf) instead.")
]
